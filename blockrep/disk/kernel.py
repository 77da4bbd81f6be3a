"""Tell the kernel of a table that was written, and wait until everybody can see it.

BLKPG changes one partition at a time and leaves alone what stays, so that another partition of the
disk may be in use; BLKRRPART, which reads the table again, refuses then, and knows only the kinds
of table that the kernel was built with.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockrep.disk import sysfs
from blockrep.disk.device import BLKFLSBUF
from blockrep.disk.partition import Partition, Table, TableKind
from blockrep.errors import BlockrepError, DeviceBusy, DeviceIO, DiskState
from blockrep.programs import run_program

BLKPG = 0x1269
ADD, DELETE, RESIZE = 1, 2, 3
CONTAINER_BYTES = 1024  # as much of an extended partition as the kernel itself shows
UDEV_SOCKET = Path("/run/udev/control")
POLL_S = 0.02

Span = tuple[int, int]  # start and length in bytes


class _BlkpgPartition(ctypes.Structure):
    """`struct blkpg_partition` of linux/blkpg.h."""

    _fields_ = (
        ("start", ctypes.c_longlong),
        ("length", ctypes.c_longlong),
        ("pno", ctypes.c_int),
        ("devname", ctypes.c_char * 64),
        ("volname", ctypes.c_char * 64),
    )


class _BlkpgArgument(ctypes.Structure):
    """`struct blkpg_ioctl_arg` of linux/blkpg.h."""

    _fields_ = (
        ("op", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("datalen", ctypes.c_int),
        ("data", ctypes.c_void_p),
    )


def tell_kernel(path: Path, table: Table, *, timeout_s: float = 30) -> None:
    """Make the kernel's partitions of the disk those of `table`; nothing to do for an image file.

    Returns when sysfs shows them, their nodes exist, udev is done if it runs, and their page caches
    are empty. Errors are `DeviceBusy` and `DeviceIO`; the table on the disk stands in any case, so
    both say `RESUMABLE`: the same call again, or a reboot, finishes it.
    """
    name = sysfs.block_name(path)
    if name is None or sysfs.is_partition(name):
        return
    wanted = {part.number: _kernel_span(part, table) for part in table.partitions}
    with _opened(path) as fd:
        _change(fd, path, name, wanted)
    _wait(path, name, wanted, timeout_s)
    for part in sysfs.partitions_of(name):
        _drop_cache(part.path)


def _kernel_span(part: Partition, table: Table) -> Span:
    """The kernel shows only the first sectors of a container, lest somebody make a filesystem
    in it."""
    if table.kind is TableKind.MBR and part.is_extended and not part.is_logical:
        return part.start_bytes, min(part.length_bytes, max(table.sector_bytes, CONTAINER_BYTES))
    return part.start_bytes, part.length_bytes


def _change(fd: int, path: Path, name: str, wanted: dict[int, Span]) -> None:
    """Delete, shrink, grow, add: in this order nothing ever overlaps, which the kernel refuses."""
    before = {p.number: (p.start_bytes, p.length_bytes) for p in sysfs.partitions_of(name)}
    kept = {n for n, span in before.items() if n in wanted and wanted[n][0] == span[0]}
    for number in sorted(before.keys() - kept):
        _blkpg(fd, path, DELETE, number, before[number])
    resized = [n for n in sorted(kept) if wanted[n] != before[n]]
    for number in sorted(resized, key=lambda n: wanted[n][1] > before[n][1]):
        _blkpg(fd, path, RESIZE, number, wanted[number])
    for number in sorted(wanted.keys() - kept):
        _blkpg(fd, path, ADD, number, wanted[number])


def _blkpg(fd: int, path: Path, operation: int, number: int, span: Span) -> None:
    part = _BlkpgPartition(start=span[0], length=span[1], pno=number)
    argument = _BlkpgArgument(
        op=operation, datalen=ctypes.sizeof(part), data=ctypes.addressof(part)
    )
    try:
        fcntl.ioctl(fd, BLKPG, argument)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _not_told(
                DeviceBusy, path, f"partition {number} is in use as it was before"
            ) from error
        why = f"partition {number}: {os.strerror(error.errno or 0)}"
        raise _not_told(DeviceIO, path, why) from error


def _wait(path: Path, name: str, wanted: dict[int, Span], timeout_s: float) -> None:
    limit = time.monotonic() + timeout_s
    while not _is_visible(name, wanted):
        if time.monotonic() > limit:
            raise _not_told(DeviceIO, path, f"its partitions did not appear in {timeout_s:.0f} s")
        time.sleep(POLL_S)
    if UDEV_SOCKET.exists():
        left = max(1, int(limit - time.monotonic()))
        run_program(["udevadm", "settle", f"--timeout={left}"], timeout_s=left + 5)


def _is_visible(name: str, wanted: dict[int, Span]) -> bool:
    found = sysfs.partitions_of(name)
    if {part.number: (part.start_bytes, part.length_bytes) for part in found} != wanted:
        return False
    return all(sysfs.block_name(part.path) == part.name for part in found)


def _drop_cache(path: Path) -> None:
    """A partition's page cache is its own: writes through the whole disk do not reach it."""
    with _opened(path) as fd:
        if stat.S_ISBLK(os.fstat(fd).st_mode):
            fcntl.ioctl(fd, BLKFLSBUF, 0)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _not_told(DeviceIO, path, os.strerror(error.errno or 0)) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _not_told(kind: type[BlockrepError], path: Path, why: str) -> BlockrepError:
    return kind(
        f"the new partition table is on {path}, but the kernel could not be told: {why}",
        hint=f"stop what uses the disk, then run `partx -u {path}`; a reboot does it too",
        state=DiskState.RESUMABLE,
    )
