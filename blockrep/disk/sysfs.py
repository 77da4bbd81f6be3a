"""What the kernel knows of a block device, from /sys/class/block. Works without a udev daemon."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

CLASS = Path("/sys/class/block")
SECTOR_BYTES = 512  # sysfs counts in these, whatever the device's own sectors are


@dataclass(frozen=True, slots=True)
class KernelPartition:
    """A partition as the kernel has it now. `path` is its node, which may not exist yet."""

    name: str
    number: int
    start_bytes: int
    length_bytes: int

    @property
    def path(self) -> Path:
        return node_path(self.name)


def block_name(path: Path) -> str | None:
    """The kernel's name of the device behind a path, or None if it is no block device."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISBLK(status.st_mode):
        return None
    link = Path(f"/sys/dev/block/{device_number(status.st_rdev)}")
    return link.resolve().name if link.exists() else None


def device_number(rdev: int) -> str:
    return f"{os.major(rdev)}:{os.minor(rdev)}"


def node_path(name: str) -> Path:
    return Path("/dev") / name.replace("!", "/")


def read_attribute(name: str, attribute: str) -> str:
    """One attribute file without its newline; empty where there is none."""
    try:
        return (CLASS / name / attribute).read_text(errors="replace").strip()
    except OSError:
        return ""


def read_number(name: str, attribute: str) -> int:
    text = read_attribute(name, attribute)
    return int(text) if text.isdecimal() else 0


def is_partition(name: str) -> bool:
    return (CLASS / name / "partition").exists()


def disk_of(name: str) -> str:
    """The disk that a partition belongs to."""
    return (CLASS / name).resolve().parent.name


def partitions_of(name: str) -> tuple[KernelPartition, ...]:
    """The partitions of a disk in number order."""
    try:
        below = [p.name for p in (CLASS / name).resolve().iterdir() if (p / "partition").exists()]
    except OSError:
        return ()
    found = [
        KernelPartition(
            name=part,
            number=read_number(part, "partition"),
            start_bytes=read_number(part, "start") * SECTOR_BYTES,
            length_bytes=read_number(part, "size") * SECTOR_BYTES,
        )
        for part in below
    ]
    return tuple(sorted(found, key=lambda part: part.number))


def names_below(folder: str, name: str) -> tuple[str, ...]:
    """The entries of `holders` or `slaves`, sorted."""
    try:
        return tuple(sorted(p.name for p in (CLASS / name / folder).iterdir()))
    except OSError:
        return ()
