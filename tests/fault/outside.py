"""What other people's programs say about a disk image: tables, filesystems, swap."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loops import as_disk, loop_device, mounted
from manifest import Manifest, debugfs_manifest, differences, read_manifest

from fault.sectors import SECTOR_BYTES, Disk

OUR_TYPES = {
    "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE40A5A",
    "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE4005E",
    "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE400F0",
    "da",
}
CONTAINERS = {"5", "f", "85"}
LOCK_BIT = 0x80000000
SUPERBLOCK_BYTES = 1024
GPT_ARRAY_BYTES = 16384
MOST_LOGICAL = 60


class Wrong(AssertionError):
    """A promise that does not hold in this state."""


@dataclass(frozen=True)
class Partition:
    start_bytes: int
    length_bytes: int
    type: str

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + self.length_bytes


@dataclass(frozen=True)
class TableView:
    """A table as sfdisk reads it; `text` is all of it, to compare with."""

    text: str
    partitions: tuple[Partition, ...]


@dataclass(frozen=True)
class Geometry:
    """Of an ext filesystem, from dumpe2fs: byte ranges count from the filesystem's start."""

    block_bytes: int
    blocks: int
    backups: tuple[int, ...]  # block numbers of the backup superblocks
    used: tuple[tuple[int, int], ...]  # (start, end) in bytes


def run(arguments: Sequence[str], timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )


def read_table(image: Path, sector_bytes: int = SECTOR_BYTES) -> TableView:
    """`Wrong` when sfdisk finds none, or has to take the backup, which the kernel would not."""
    with as_disk(image, sector_bytes) as disk:
        done = run(["sfdisk", "-J", str(disk)])
    if done.returncode or "primary GPT table is corrupt" in done.stderr:
        raise Wrong(f"sfdisk cannot read the table: {done.stderr.strip()}")
    table = json.loads(done.stdout)["partitiontable"]
    device = table.pop("device")
    parts = []
    for entry in table.get("partitions", ()):
        entry["node"] = entry["node"].removeprefix(device)
        start, length = entry["start"] * table["sectorsize"], entry["size"] * table["sectorsize"]
        if entry["type"] in OUR_TYPES:
            entry.pop("uuid", None)  # a new one in every run
        parts.append(Partition(start, length, str(entry["type"])))
    return TableView(json.dumps(table, sort_keys=True), tuple(parts))


def verify_table(image: Path, sector_bytes: int = SECTOR_BYTES) -> None:
    """Both copies of the table are whole, by sfdisk and, for GPT, by sgdisk."""
    with as_disk(image, sector_bytes) as disk:
        done = run(["sfdisk", "--verify", str(disk)])
        if done.returncode:
            raise Wrong(f"sfdisk --verify: {done.stdout}{done.stderr}")
        if "label: gpt" not in run(["sfdisk", "-d", str(disk)]).stdout:
            return
        done = run(["sgdisk", "-v", str(disk)])
    if "No problems found" not in done.stdout:
        raise Wrong(f"sgdisk -v: {done.stdout}{done.stderr}")


def read_geometry(image: Path, start_bytes: int, length_bytes: int) -> Geometry:
    with loop_device(image, start_bytes, length_bytes, read_only=True) as device:
        text = run(["dumpe2fs", str(device)]).stdout
    block_bytes = _number(text, "Block size")
    blocks = _number(text, "Block count")
    backups = re.findall(r"Backup superblock at (\d+)", text)
    free = sorted(_free_ranges(text, block_bytes))
    if sum(last + 1 - first for first, last in free) != _number(text, "Free blocks"):
        raise Wrong("dumpe2fs lists other free blocks than it counts")
    used, at = [], SUPERBLOCK_BYTES if block_bytes == 1024 else 0
    for first, last in free:
        if first * block_bytes > at:
            used.append((at, first * block_bytes))
        at = (last + 1) * block_bytes
    used.append((at, blocks * block_bytes))
    return Geometry(block_bytes, blocks, tuple(int(b) for b in backups), tuple(used))


def _number(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    if found is None:
        raise Wrong(f"dumpe2fs shows no {name}")
    return int(found[1])


def _free_ranges(text: str, block_bytes: int) -> list[tuple[int, int]]:
    """First and last blocks; with clusters dumpe2fs prints the first block of the last one."""
    found = re.search(r"^Cluster size:\s+(\d+)", text, re.MULTILINE)
    more = int(found[1]) // block_bytes - 1 if found else 0
    ranges = []
    for line in re.findall(r"^  Free blocks: (.+)$", text, re.MULTILINE):
        for item in line.split(", "):
            first, _, last = item.strip().partition("-")
            if first:
                ranges.append((int(first), int(last or first) + more))
    return ranges


def check_filesystem(
    image: Path, start_bytes: int, length_bytes: int, wanted: Manifest | None, *, mountable: bool
) -> None:
    """`e2fsck -fn` is clean, the kernel mounts it, every file is as wanted. Read-only.

    `wanted` None: the content is known to be right already.
    """
    found = wanted
    with loop_device(image, start_bytes, length_bytes, read_only=True) as device:
        done = run(["e2fsck", "-fn", str(device)])
        if done.returncode:
            raise Wrong(f"e2fsck -fn says {done.returncode}: {done.stdout}{done.stderr}"[:2000])
        if mountable:
            try:
                with mounted(device) as root:
                    found = read_manifest(root) if wanted is not None else None
            except OSError as error:
                raise Wrong(f"cannot be mounted: {error}") from error
    if wanted is None or found is None:
        return
    if not mountable:
        found = debugfs_manifest(image, start_bytes)
    if differing := differences(wanted, found):
        raise Wrong("files differ:\n  " + "\n  ".join(differing))


def table_bytes(disk: Disk, sector_bytes: int) -> bytes:
    """All that decides what a table says: that of a GPT, or of an MBR with its chain."""
    ends = disk[: 2 * sector_bytes] + disk[-sector_bytes:]
    if disk[sector_bytes : sector_bytes + 8] == b"EFI PART":
        return ends + b"".join(_gpt_arrays(disk, sector_bytes))
    return ends + b"".join(_logical_sectors(disk))


def _gpt_arrays(disk: Disk, sector_bytes: int) -> Iterator[bytes]:
    for header in (disk[sector_bytes : 2 * sector_bytes], disk[-sector_bytes:]):
        at = struct.unpack_from("<Q", header, 72)[0] * sector_bytes
        yield disk[at : at + GPT_ARRAY_BYTES] if at < len(disk) else b""


def _logical_sectors(disk: Disk) -> Iterator[bytes]:
    """The sectors that describe logical partitions: a chain, at most as long as sfdisk follows."""
    container = _container_lba(disk[:SECTOR_BYTES])
    at = container
    for _ in range(MOST_LOGICAL):
        sector = disk[at * SECTOR_BYTES : (at + 1) * SECTOR_BYTES] if at else b""
        if not sector:
            return
        yield sector
        step = _container_lba(sector)
        at = container + step if step else 0


def _container_lba(sector: bytes) -> int:
    """Where the first entry of an MBR for an extended partition points to; 0 without one."""
    for entry in range(446, 510, 16):
        if f"{sector[entry + 4]:x}" in CONTAINERS:
            return int(struct.unpack_from("<I", sector, entry + 8)[0])
    return 0


def is_locked(superblock: bytes) -> bool:
    return bool(struct.unpack_from("<I", superblock, 0x60)[0] & LOCK_BIT)


def is_superblock(superblock: bytes) -> bool:
    return bool(superblock[0x38:0x3A] == b"\x53\xef")


def blocks_count(superblock: bytes) -> int:
    low = struct.unpack_from("<I", superblock, 0x04)[0]
    wide = struct.unpack_from("<I", superblock, 0x60)[0] & 0x80
    high = struct.unpack_from("<I", superblock, 0x150)[0] if wide else 0
    return int(low | high << 32)


def partition_identity(image: Path, part: Partition) -> str:
    """UUID and label of what is in a partition, for blkid."""
    done = run(
        ["blkid", "-p", "-o", "export", "-O", str(part.start_bytes), "-S", str(part.length_bytes),
         "-s", "UUID", "-s", "LABEL", "-s", "TYPE", str(image)]
    )  # fmt: skip
    return "\n".join(sorted(x for x in done.stdout.splitlines() if not x.startswith("DEVNAME")))
