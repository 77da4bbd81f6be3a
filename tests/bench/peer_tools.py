"""How other people's programs copy a disk to another machine, each with TLS where it has it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.ways import flush, run

CONNECTIONS = 4
SERVER_WAIT_S = 10


def make_certificates(folder: Path) -> None:
    """A CA and one certificate for both sides of 127.0.0.1, named as GnuTLS's users want it."""
    folder.mkdir()
    ca_key, ca = folder / "ca-key.pem", folder / "ca-cert.pem"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30)
    run("openssl", "req", "-x509", *new_key, "-keyout", ca_key, "-out", ca, "-subj", "/CN=bench")
    for side in ("server", "client"):
        key, asked = folder / f"{side}-key.pem", folder / f"{side}.csr"
        run("openssl", "req", *new_key, "-keyout", key, "-out", asked, "-subj", "/CN=127.0.0.1")
        names = folder / f"{side}.ext"
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        sign = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 30, "-extfile", names)
        run("openssl", "x509", "-req", "-in", asked, *sign, "-out", folder / f"{side}-cert.pem")


@dataclass(frozen=True)
class Copier:
    """Copies `source` to `target` over TLS on the loopback device."""

    source: Path
    target: Path
    certificates: Path

    def qemu_img(self) -> None:
        with self._server() as port:
            tls = f"tls-creds-x509,id=tls0,endpoint=client,dir={self.certificates}"
            target = f"driver=nbd,host=127.0.0.1,port={port},tls-creds=tls0"
            run("qemu-img", "convert", "-n", "-W", "--object", tls, "-f", "raw", self.source,
                "--target-image-opts", target)  # fmt: skip
        flush(self.target)

    def nbdcopy(self) -> None:
        with self._server() as port:
            uri = f"nbds://127.0.0.1:{port}?tls-certificates={self.certificates}"
            run("nbdcopy", "--flush", f"--connections={CONNECTIONS}", self.source, uri)
        flush(self.target)

    @contextlib.contextmanager
    def _server(self) -> Iterator[int]:
        """nbdkit serves the target; without caches' help for either side."""
        port = free_port()
        command = ["nbdkit", "--foreground", "--exit-with-parent", "--tls=require"]
        command += [f"--tls-certificates={self.certificates}", "--ipaddr=127.0.0.1"]
        command += [f"--port={port}", "file", str(self.target)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as server:
            try:
                wait_for_port(port)
                yield port
            finally:
                server.terminate()


def rsync(source: Path, target: Path) -> None:
    """Its comparison, as between two machines: over a pipe, without TLS."""
    run("rsync", "--inplace", "--no-whole-file", source, target)
    flush(target)


class Borg:
    """A repository in `folder`; encrypted and compressed as it is used for this."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "repository"
        home = folder / "home"
        home.mkdir(parents=True)
        self.environment = {
            **os.environ,
            "BORG_PASSPHRASE": "bench",
            "BORG_BASE_DIR": str(home),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        self._borg("init", "--encryption=repokey-blake2", str(self.repository))
        self.number = 0

    def create(self, source: Path) -> None:
        self.number += 1
        archive = f"{self.repository}::{self.number}"
        self._borg("create", "--compression=lz4", archive, str(source))
        os.sync()

    def _borg(self, *words: str) -> None:
        done = subprocess.run(
            ["borg", *words], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + SERVER_WAIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
