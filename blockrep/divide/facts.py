"""What the survey of a whole disk finds: a fact per partition, for the layout to plan with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blockrep.disk.area import find_area
from blockrep.disk.device import Device
from blockrep.disk.filesystems import identify
from blockrep.disk.superblock import Superblock
from blockrep.disk.swap import parse_swap
from blockrep.disk.table import Table, TableKind
from blockrep.divide.host import Host
from blockrep.divide.layout import BARE_FILESYSTEM, FsKind, PartitionFacts
from blockrep.divide.summary import DivideRequest
from blockrep.divide.survey import (
    judge_cleanliness,
    judge_host,
    read_superblock,
    repair_host,
)
from blockrep.errors import (
    AlreadyDivided,
    BlockrepError,
    FilesystemUnsupported,
    TableDamaged,
)
from blockrep.native import Filesystem

SWAP_HEADER_BYTES = 64 << 10
ONLY_EXT = "what can be divided is a disk with a partition table, or an ext2, ext3 or ext4"


@dataclass(frozen=True, slots=True)
class Survey:
    """`places` are (start, length) in bytes by partition number, 0 for a bare filesystem.

    `anchor` is the last ext filesystem: it can hold the lock of a plan that shrinks nothing.
    """

    facts: Mapping[int, PartitionFacts]
    places: Mapping[int, tuple[int, int]]
    anchor: int | None

    def open_host(self, device: Device, number: int) -> Host:
        """The filesystem of a partition as a host; it was judged by the survey."""
        start, length = self.places[number]
        superblock = read_superblock(device, start, length)
        if superblock is None:
            raise FilesystemUnsupported(f"partition {number} holds no ext filesystem")
        judge_cleanliness(superblock)
        return Host(start, superblock)


def survey_disk(device: Device, table: Table, request: DivideRequest) -> Survey:
    """Judge every partition; with --fsck the ext filesystems are repaired first.

    Only a filesystem that has to change is judged strictly: which one that is, the layout decides
    from the facts, so every ext filesystem that could have to shrink is measured.
    """
    if table.kind is TableKind.NONE:
        places = {BARE_FILESYSTEM: (0, device.size_bytes)}
        if find_area(device, table):
            raise AlreadyDivided(f"{device.path} is divided already")
        if read_superblock(device, 0, device.size_bytes) is None:
            content = identify(device.path, 0, device.size_bytes)
            if held := content.type or " and ".join(content.ambivalent):
                raise FilesystemUnsupported(
                    f"{device.path} holds {held}, which cannot be divided", hint=ONLY_EXT
                )
            raise TableDamaged(
                f"{device.path} has neither a partition table nor an ext filesystem",
                hint="make a partition table first, for example with sfdisk",
            )
    else:
        places = {
            p.number: (p.start_bytes, p.length_bytes) for p in table.partitions if not p.is_extended
        }
    facts = {n: _fact(device, n, place, request) for n, place in places.items()}
    exts = [n for n in sorted(places, key=lambda n: places[n]) if facts[n].kind is FsKind.EXT]
    return Survey(facts, places, exts[-1] if exts else None)


def _fact(
    device: Device, number: int, place: tuple[int, int], request: DivideRequest
) -> PartitionFacts:
    start, length = place
    found = identify(device.path, start, length)
    superblock = read_superblock(device, start, length)
    if found.ambivalent:
        # An ext superblock may be the leftover of what was there before: not ours to decide.
        return PartitionFacts(FsKind.OTHER, name=" or ".join(found.ambivalent))
    if superblock is not None and found.type in ("ext2", "ext3", "ext4", "ext4dev", ""):
        return _ext_fact(device, superblock, start, length, request)
    if found.type in ("swap", "swsuspend"):
        parse_swap(device.read(start, min(length, SWAP_HEADER_BYTES)))
        return PartitionFacts(FsKind.SWAP)
    return PartitionFacts(FsKind.OTHER if found.type else FsKind.EMPTY, name=found.type)


def _ext_fact(
    device: Device, superblock: Superblock, start: int, length: int, request: DivideRequest
) -> PartitionFacts:
    """Strict with what may have to shrink; what lies below the divider may be in any state."""
    try:
        return _measure_ext(device, superblock, start, length, request)
    except BlockrepError:
        if start + length > request.first_bytes:
            raise
        return PartitionFacts(FsKind.OTHER)


def _measure_ext(
    device: Device, superblock: Superblock, start: int, length: int, request: DivideRequest
) -> PartitionFacts:
    judge_host(device, superblock, length)
    if request.fsck:
        repair_host(device, start, length)
        superblock = read_superblock(device, start, length) or superblock
    judge_cleanliness(superblock)
    with Filesystem.open(str(device.path), start) as filesystem:
        minimum = filesystem.minimum_blocks() * superblock.block_bytes
    size = superblock.blocks * superblock.block_bytes
    return PartitionFacts(FsKind.EXT, minimum, superblock.block_bytes, size, superblock.kind)
