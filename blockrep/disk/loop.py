"""A part of a disk as a device of its own, for programs that know no offset.

The kernel takes it away when the last descriptor closes, also that of a process that was killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from blockrep.errors import DeviceIO

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_READ_ONLY = 1
LO_FLAGS_AUTOCLEAR = 4
MAX_TRIES = 100


@contextlib.contextmanager
def loop_device(
    path: Path, start_bytes: int, length_bytes: int, *, read_only: bool, sector_bytes: int
) -> Iterator[Path]:
    """The node of a loop device over these bytes of a device or file; `DeviceIO` if there is none.

    What is written to it is on the disk when its writer has flushed it.
    """
    mode = os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
    try:
        backing = os.open(path, mode)
        try:
            fd, node = _configure(backing, start_bytes, length_bytes, read_only, sector_bytes)
        finally:
            os.close(backing)
    except OSError as error:
        raise DeviceIO(f"cannot make a loop device of {path}: {error.strerror}") from error
    try:
        yield node
    finally:
        os.close(fd)


def _configure(
    backing: int, start_bytes: int, length_bytes: int, read_only: bool, sector_bytes: int
) -> tuple[int, Path]:
    """Bind a free loop device; another process may be quicker, then the next one is tried."""
    flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
    info = struct.pack("5Q4I176x", 0, 0, 0, start_bytes, length_bytes, 0, 0, 0, flags)
    config = struct.pack("II", backing, sector_bytes) + info + bytes(64)
    mode = os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR)
    for _ in range(MAX_TRIES):
        with Path("/dev/loop-control").open("rb") as control:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        node = Path(f"/dev/loop{number}")
        fd = os.open(node, mode)
        try:
            fcntl.ioctl(fd, LOOP_CONFIGURE, config)
            return fd, node
        except OSError as error:
            os.close(fd)
            if error.errno != errno.EBUSY:
                raise
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
