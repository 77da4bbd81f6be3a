"""What of a disk is its first area, and which bytes of that are in use: what has to be read.

For a disk that nobody uses. Of an ext filesystem its bitmaps are believed if it was unmounted
cleanly; of swap there is only its header; everything else is read whole. What lies between the
partitions holds nothing, but for what is before the first one (the table, boot loaders) and in an
extended partition (the chain of its table).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from blockrep.chunks import BLOCK_BYTES
from blockrep.disk.area import find_area
from blockrep.disk.device import Device
from blockrep.disk.filesystems import identify
from blockrep.disk.holds import refuse_if_held
from blockrep.disk.superblock import Superblock
from blockrep.disk.swap import HIBERNATED, PAGE_SIZES, parse_swap
from blockrep.disk.table import Partition, Table, TableKind, read_table
from blockrep.disk.whole import refuse_partition
from blockrep.divide.interrupted import refuse_interrupted
from blockrep.divide.survey import judge_cleanliness, judge_host, read_superblock
from blockrep.errors import BlockrepError, FilesystemUnsupported, NotDivided, TableUnsupported
from blockrep.extents import Extent, intersect, normalise, round_down, round_up, scale, subtract
from blockrep.native import Filesystem
from blockrep.segment.epoch import MAX_PARTITIONS, Consistency, EpochPartition, PartitionKind

SWAP_HEADER_BYTES = 64 << 10
HEAD_BYTES = 32 << 10
SWAP_TYPES = ("swap", "swsuspend")


@dataclass(frozen=True, slots=True)
class FirstArea:
    """`used` is normal and in whole blocks of 4 KiB below `content_bytes`.

    `fingerprint` is of the table and of the heads of the partitions: who mounts a filesystem to
    write, or changes the table, changes it.
    """

    content_bytes: int
    used: tuple[Extent, ...]
    fingerprint: bytes
    partitions: tuple[EpochPartition, ...]
    disk_bytes: int
    sector_bytes: int

    @property
    def is_consistent(self) -> bool:
        return all(p.consistency is Consistency.NOT_IN_USE for p in self.partitions)


def survey_first_area(device: Device) -> FirstArea:
    """Read the tables and bitmaps of a divided disk that nobody uses.

    `DeviceBusy` names who holds it, `NotDivided`, `Interrupted`; `FilesystemUnsupported` for a
    hibernated system; errors of the table and of reading.
    """
    refuse_partition(device.path)
    refuse_if_held(device.path)
    device.drop_caches()
    refuse_interrupted(device)
    table = read_table(device)
    found = find_area(device, table)
    if found is None:
        raise NotDivided(f"{device.path} is not divided")
    content = min(round_up(found[1].first_end_bytes, BLOCK_BYTES), device.size_bytes)
    surveyed = [_survey(device, place) for place in _places(table, content)]
    if len(surveyed) > MAX_PARTITIONS:
        raise TableUnsupported(
            f"{device.path} has {len(surveyed)} partitions before the divider, at most "
            f"{MAX_PARTITIONS} can be replicated"
        )
    used = [Extent(0, BLOCK_BYTES), *_between(table, content)]
    for _, extents in surveyed:
        used += extents
    return FirstArea(
        content,
        tuple(_whole_blocks(used, content)),
        _fingerprint(device, table),
        tuple(partition for partition, _ in surveyed),
        device.size_bytes,
        device.sector_bytes,
    )


def _fingerprint(device: Device, table: Table) -> bytes:
    found = hashlib.sha256()
    for start in (0, *(p.start_bytes for p in table.partitions)):
        found.update(device.read(start, min(HEAD_BYTES, device.size_bytes - start)))
    return found.digest()


def _places(table: Table, content_bytes: int) -> list[Partition]:
    """The partitions of the first area by their place; a bare filesystem is number 0."""
    if table.kind is TableKind.NONE:
        return [Partition(0, 0, content_bytes, "")]
    below = [p for p in table.partitions if not p.is_extended and p.start_bytes < content_bytes]
    return sorted(below, key=lambda p: p.start_bytes)


def _between(table: Table, content_bytes: int) -> list[Extent]:
    """What is read although no partition has it: before the first one, inside an extended one."""
    parts = _places(table, content_bytes)
    first = min((p.start_bytes for p in table.partitions), default=0)
    containers = [Extent(p.start_bytes, p.length_bytes) for p in table.partitions if p.is_extended]
    data = [Extent(p.start_bytes, p.length_bytes) for p in parts]
    return [Extent(0, first), *subtract(containers, data)]


def _whole_blocks(extents: list[Extent], content_bytes: int) -> list[Extent]:
    outwards = []
    for start, length in extents:
        begin = round_down(start, BLOCK_BYTES)
        outwards.append(Extent(begin, round_up(start + length, BLOCK_BYTES) - begin))
    return intersect(normalise(outwards), [Extent(0, content_bytes)])


def _survey(device: Device, place: Partition) -> tuple[EpochPartition, list[Extent]]:
    """What a partition is, and what of it is in use."""
    start, length = place.start_bytes, place.length_bytes
    found = identify(device.path, start, length)
    superblock = read_superblock(device, start, length)
    whole = [Extent(start, length)]
    kind, clean, used = PartitionKind.OTHER, True, whole
    if found.ambivalent:
        pass  # an ext superblock among them may be the leftover of what was there before
    elif superblock is not None and found.type in ("ext2", "ext3", "ext4", "ext4dev", ""):
        kind, used = PartitionKind.EXT, _ext_used(device, superblock, start, length)
        clean = _is_clean(superblock)
    elif found.type in SWAP_TYPES:
        kind, used = PartitionKind.SWAP, _swap_used(device, start, length)
    elif found.type == "vfat":
        kind = PartitionKind.FAT
    consistency = Consistency.NOT_IN_USE if clean else Consistency.INCONSISTENT
    return EpochPartition(place.number, consistency, kind, start, length), used


def _is_clean(superblock: Superblock) -> bool:
    try:
        judge_cleanliness(superblock)
    except BlockrepError:
        return False
    return True


def _ext_used(device: Device, superblock: Superblock, start: int, length: int) -> list[Extent]:
    """What the bitmaps say, or everything where they may be behind the journal or are not known.

    Blocks before the filesystem's first one (its boot sector) are in no bitmap.
    """
    try:
        judge_host(device, superblock, length)
        judge_cleanliness(superblock)
        with Filesystem.open(str(device.path), start) as filesystem:
            used = filesystem.used()
    except BlockrepError:
        return [Extent(start, length)]
    return [Extent(start, BLOCK_BYTES), *scale(used, superblock.block_bytes, start)]


def _swap_used(device: Device, start: int, length: int) -> list[Extent]:
    """The header alone; what was swapped out is of no use to anybody."""
    head = device.read(start, min(length, SWAP_HEADER_BYTES))
    if any(head[page - 10 : page].startswith(HIBERNATED) for page in PAGE_SIZES):
        raise FilesystemUnsupported(
            f"a system is hibernated in the swap area at byte {start} of {device.path}",
            hint="start that system and shut it down instead of hibernating it",
        )
    try:
        swap = parse_swap(head)
    except FilesystemUnsupported:
        swap = None
    return [Extent(start, swap.page_bytes if swap else length)]
