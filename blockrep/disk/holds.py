"""Who holds a device: mounts, swap, what is built on it, loop devices, programs that write to it.

O_EXCL tells that a device is held, not by whom, and it cannot see a program that writes to it
without asking, nor a loop device on an image file. What is found here has a name and a way out.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from blockrep.disk import sysfs
from blockrep.errors import DeviceBusy

PROC = Path("/proc")
SYSTEM_MOUNTS = frozenset({"/", "/usr", "/var", "/boot"})


class HoldKind(StrEnum):
    MOUNT = "mount"
    SWAP = "swap"
    HOLDER = "holder"  # dm, md, bcache
    LOOP = "loop"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Hold:
    """`device` is what is held (the disk or a partition of it), `by` who holds it."""

    kind: HoldKind
    device: str
    by: str
    remedy: str

    @property
    def sentence(self) -> str:
        words = {
            HoldKind.MOUNT: f"{self.device} is mounted at {self.by}",
            HoldKind.SWAP: f"{self.device} is active swap",
            HoldKind.HOLDER: f"{self.device} is part of {self.by}",
            HoldKind.LOOP: f"{self.device} is attached to {self.by}",
            HoldKind.PROCESS: f"{self.device} is open for writing in {self.by}",
        }
        return words[self.kind]


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo: what is mounted where. `source` is a path or a word of its own."""

    number: str
    source: str
    target: str


def find_holds(path: Path) -> tuple[Hold, ...]:
    """Everything that holds a disk, its partitions, or an image file; empty if nothing does."""
    name = sysfs.block_name(path)
    if name is None:
        return (*_loops_on([path]), *_writers(path, {}))
    names = [name, *(part.name for part in sysfs.partitions_of(name))]
    nodes = {sysfs.read_attribute(n, "dev"): str(sysfs.node_path(n)) for n in names}
    found = [*_mounts_on(nodes), *_swaps_on(nodes)]
    for one in names:
        found += _holders_of(one)
    found += _loops_on([Path(node) for node in nodes.values()])
    found += _behind_loop(name)
    if not found:
        # Who mounts or stacks also has it open: only worth saying when nothing else explains it.
        found += _writers(path, nodes)
    return tuple(found)


def refuse_if_held(path: Path) -> None:
    """`DeviceBusy` that names everything that holds the device and says how to let go of it."""
    holds = find_holds(path)
    if not holds:
        return
    remedies = list(dict.fromkeys(hold.remedy for hold in holds))
    raise DeviceBusy(
        f"{path} is in use: " + "; ".join(hold.sentence for hold in holds),
        hint="first: " + "; ".join(remedies),
    )


def read_mounts() -> tuple[Mount, ...]:
    """/proc/self/mountinfo, in the order of mounting."""
    mounts = []
    for line in _read_lines(PROC / "self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) >= 5 and len(rest) >= 2:
            mounts.append(Mount(fields[2], _unescape(rest[1]), _unescape(fields[4])))
    return tuple(mounts)


def _mounts_on(nodes: dict[str, str]) -> Iterator[Hold]:
    """By device number, and by source for filesystems (btrfs) that have numbers of their own."""
    for mount in read_mounts():
        device = nodes.get(mount.number) or nodes.get(_number_of(mount.source))
        if device is not None:
            yield Hold(HoldKind.MOUNT, device, mount.target, _mount_remedy(mount.target))


def _mount_remedy(target: str) -> str:
    if target in SYSTEM_MOUNTS:
        return "start the rescue system, as this one runs from the disk"
    return f"`umount {target}`"


def _swaps_on(nodes: dict[str, str]) -> Iterator[Hold]:
    for line in _read_lines(PROC / "swaps")[1:]:
        source = _unescape(line.split()[0])
        device = nodes.get(_number_of(source))
        if device is not None:
            yield Hold(HoldKind.SWAP, device, "swap", f"`swapoff {device}`")


def _number_of(source: str) -> str:
    """The device number behind a path, or an empty string."""
    try:
        status = Path(source).stat()
    except (OSError, ValueError):
        return ""
    return sysfs.device_number(status.st_rdev) if stat.S_ISBLK(status.st_mode) else ""


def _holders_of(name: str) -> Iterator[Hold]:
    for holder in sysfs.names_below("holders", name):
        mapped = sysfs.read_attribute(holder, "dm/name")
        uuid = sysfs.read_attribute(holder, "dm/uuid")
        if uuid.startswith("CRYPT-"):
            remedy = f"`cryptsetup close {mapped}`"
        elif uuid.startswith("LVM-"):
            remedy = f"deactivate its volume group with `vgchange -an` ({mapped})"
        elif mapped:
            remedy = f"`dmsetup remove {mapped}`"
        elif holder.startswith("md"):
            remedy = f"`mdadm --stop /dev/{holder}`"
        else:
            remedy = f"stop {holder}"
        by = f"{mapped} ({holder})" if mapped else holder
        yield Hold(HoldKind.HOLDER, str(sysfs.node_path(name)), by, remedy)


def _loops_on(paths: list[Path]) -> Iterator[Hold]:
    for loop in sorted(sysfs.CLASS.glob("loop*")):
        backing = sysfs.read_attribute(loop.name, "loop/backing_file")
        for path in paths:
            if backing and _is_same(Path(backing), path):
                node = str(sysfs.node_path(loop.name))
                yield Hold(HoldKind.LOOP, str(path), node, f"`losetup -d {node}`")


def _behind_loop(name: str) -> Iterator[Hold]:
    """What holds the file or device that a loop device lies on, where both have the same bytes.

    The kernel lets a loop device be made of an image that somebody else writes to.
    """
    backing = sysfs.read_attribute(name, "loop/backing_file")
    if not backing:
        return
    here = _range_of(name)
    for hold in find_holds(Path(backing)):
        other = Path(hold.by).name
        is_loop = hold.kind is HoldKind.LOOP
        if not is_loop or (other != name and _overlap(here, _range_of(other))):
            yield hold


def _range_of(loop: str) -> tuple[int, int]:
    """Where in its file a loop device begins and ends."""
    start = sysfs.read_number(loop, "loop/offset")
    return start, start + sysfs.read_number(loop, "size") * sysfs.SECTOR_BYTES


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _is_same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return False


def _writers(path: Path, nodes: dict[str, str]) -> Iterator[Hold]:
    """Programs with a descriptor open for writing: best effort, needs root for those of others."""
    try:
        target = path.stat()
    except OSError:
        return
    for process in PROC.iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        device = _find_written(process, target, str(path), nodes)
        if device is not None:
            by = f"{_command_of(process)} (process {process.name})"
            yield Hold(HoldKind.PROCESS, device, by, f"end {by}")


def _find_written(
    process: Path, target: os.stat_result, path: str, nodes: dict[str, str]
) -> str | None:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:
        return None
    for descriptor in descriptors:
        try:
            status = descriptor.stat()
        except OSError:
            continue
        device = None
        if stat.S_ISBLK(status.st_mode):
            device = nodes.get(sysfs.device_number(status.st_rdev))
        elif (status.st_dev, status.st_ino) == (target.st_dev, target.st_ino):
            device = path
        if device is not None and _is_writable(process, descriptor.name):
            return device
    return None


def _is_writable(process: Path, descriptor: str) -> bool:
    for line in _read_lines(process / "fdinfo" / descriptor):
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def _command_of(process: Path) -> str:
    return "".join(_read_lines(process / "comm")) or "a program"


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def _unescape(text: str) -> str:
    """mountinfo and swaps write blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)
