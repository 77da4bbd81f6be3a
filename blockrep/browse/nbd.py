"""A disk, and each of its partitions, offered to NBD clients of this machine: read-only.

Whoever may open the socket is trusted to read, not to keep to the protocol: every length has a cap,
and what is no NBD ends its own connection and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from blockrep.browse.nbd_session import Export, Readable, Report, ignore, serve_client
from blockrep.browse.view import View
from blockrep.disk.partition import TableKind

__all__ = ["Export", "NbdServer", "exports_of"]

MAX_CONNECTIONS = 8
POLL_S = 0.2


def exports_of(view: View) -> tuple[Export, ...]:
    """The whole disk under the empty name, each partition of the first area under its number."""
    number = view.epoch.number
    whole = Export("", 0, view.size_bytes, f"epoch {number}, the whole disk")
    table = view.table()
    if table.kind is TableKind.NONE:
        return (whole,)
    inside = [p for p in table.partitions if p.end_bytes <= view.epoch.content_bytes]
    return whole, *(
        Export(str(p.number), p.start_bytes, p.length_bytes, f"epoch {number}, {p.name or p.type}")
        for p in inside
    )


class NbdServer:
    """Serves on a UNIX socket from `start` to `close`; the socket is only its owner's."""

    def __init__(
        self,
        path: Path,
        disk: Readable,
        exports: Sequence[Export],
        report: Report = ignore,
    ) -> None:
        self._path = path
        self._disk = disk
        self._exports = {export.name.encode(): export for export in exports}
        self._report = report
        self._stopped = threading.Event()
        self._room = threading.Semaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()
        self._clients: dict[threading.Thread, socket.socket] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._accept, name="nbd")

    def __enter__(self) -> NbdServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen; the socket exists when this returns."""
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(MAX_CONNECTIONS)
        self._listener.settimeout(POLL_S)
        self._thread.start()

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user connect than that of this process."""
        os.chown(self._path, uid, gid)

    def close(self) -> None:
        """End all connections and remove the socket."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        self._listener.close()
        self._path.unlink(missing_ok=True)
        with self._lock:
            clients = dict(self._clients)
            for client in clients.values():
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        for thread in clients:
            thread.join()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            client.settimeout(None)
            if not self._room.acquire(blocking=False):
                client.close()
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name="nbd-client")
            with self._lock:
                self._clients[thread] = client
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            serve_client(client, self._disk, self._exports, self._report)
        finally:
            with self._lock:
                # Under the lock: `close` must not touch a descriptor that is another's by then.
                self._clients.pop(threading.current_thread(), None)
                client.close()
            self._room.release()
