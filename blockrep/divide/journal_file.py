"""Where a log in a file may be: on storage that outlives a power cut, not on the disk itself."""

from __future__ import annotations

import os
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.disk.sysfs import block_name, partitions_of, read_attribute
from blockrep.errors import NoRoomForLog

VOLATILE = frozenset({"tmpfs", "ramfs", "devtmpfs", "squashfs", "overlay", "proc", "sysfs"})
MOUNTINFO = Path("/proc/self/mountinfo")


def check_journal_file(path: Path, device: Device) -> None:
    """`NoRoomForLog` when a log in `path` would not be there when it is needed."""
    folder = path.resolve().parent
    if path.exists():
        raise NoRoomForLog(f"{path} exists already", hint="name a new file")
    if not folder.is_dir():
        raise NoRoomForLog(f"there is no folder {folder}")
    status = folder.stat()
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    kind = _filesystem_kinds().get(number, "")
    if kind in VOLATILE:
        raise NoRoomForLog(
            f"{folder} is a {kind}: the log would be gone after a power cut",
            hint="name a file on a disk",
        )
    if number in _numbers_of(device.path):
        raise NoRoomForLog(f"{folder} is on {device.path} itself", hint="name another disk")


def _filesystem_kinds() -> dict[str, str]:
    """Type of filesystem by device number, of everything that is mounted."""
    kinds = {}
    for line in MOUNTINFO.read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        kinds[before.split()[2]] = after.split()[0]
    return kinds


def _numbers_of(path: Path) -> set[str]:
    name = block_name(path)
    if name is None:
        return set()
    names = [name, *(part.name for part in partitions_of(name))]
    return {read_attribute(n, "dev") for n in names}
