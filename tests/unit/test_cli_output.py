"""Output that is cut, full or unbuffered, with the installed command."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from blockrep.cli.failure import failure_text
from blockrep.errors import BlockrepError, DeviceBusy, DeviceUnsupported

PROGRAM = Path(sys.executable).with_name("blockrep")
LENGTH = 440_000
PIPE_BYTES = 65536
WRITER = f"""
import signal, sys
from blockrep.cli.main import _lenient
signal.signal(signal.SIGUSR1, lambda number, frame: None)
out = _lenient(sys.stdout)
out.write("x" * {LENGTH})
out.flush()
"""


def waiting_bytes(fd: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])


ENDING = """
import os, signal, sys
import blockrep.cli.main
from blockrep.cli.start import start

blockrep.cli.main.main = lambda: 0
code = start()
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    os.kill(os.getpid(), number)
sys.exit(code)
"""


def test_a_signal_after_the_end_changes_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ENDING], cwd=tmp_path, check=False, timeout=30)
    assert done.returncode == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_signal_never_shortens_the_output(unbuffered: str, tmp_path: Path) -> None:
    """A write that a signal cuts short is a short write, after which Python by itself goes on only
    if it buffers."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert child.stdout
    limit = time.monotonic() + 30
    while waiting_bytes(child.stdout.fileno()) < PIPE_BYTES and time.monotonic() < limit:
        time.sleep(0.02)
    child.send_signal(signal.SIGUSR1)
    time.sleep(0.1)
    assert len(child.communicate(timeout=30)[0]) == LENGTH
    assert child.returncode == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["inspect"], ["inspect", "--json"], ["show", "--json"]])
def test_a_full_disk_is_one_sentence(words: list[str], unbuffered: str, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    subprocess.run(["mke2fs", "-q", "-F", image, "8M"], check=True)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, words[0], image, *words[1:]],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == (60 if words[0] == "show" else 1)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("blockrep: ")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DeviceUnsupported("disk is read-only"), "blockrep: disk is read-only."),
        (DeviceUnsupported("it is read-only"), "blockrep: It is read-only."),
        (
            DeviceBusy("disk is in use", hint="first: `umount /mnt`"),
            "blockrep: disk is in use. First: `umount /mnt`.",
        ),
    ],
)
def test_a_name_keeps_its_case(error: BlockrepError, text: str) -> None:
    assert failure_text(error, disk="disk") == text
