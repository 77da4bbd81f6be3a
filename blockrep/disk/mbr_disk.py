"""A DOS table on a device: the MBR and the chain of EBRs that starts in the extended partition."""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.disk import mbr
from blockrep.disk.partition import (
    FIRST_LOGICAL,
    Partition,
    Source,
    Table,
    TableKind,
    find_layout_fault,
)
from blockrep.errors import TableDamaged, TableUnsupported

DYNAMIC_DISK_TYPE = 0x42


@dataclass(frozen=True, slots=True)
class Ebr:
    """One record of the chain, as it is read or as it is to be.

    `link` is relative to the start of the extended partition, `logical` to the record itself.
    """

    lba: int
    logical: mbr.Slot
    link: mbr.Slot
    sector: bytes


@dataclass(frozen=True, slots=True)
class MbrOnDisk:
    """Everything that the kernel reads of a DOS table."""

    sector: bytes
    chain: tuple[Ebr, ...]
    table: Table


def read_mbr(source: Source, end_bytes: int | None = None) -> Table:
    """The table, if its chain ends, and its partitions lie on the disk and do not overlap.

    With `end_bytes` the chain ends where it first leaves what lies before.
    """
    found = read_mbr_sectors(source, end_bytes)
    if fault := find_layout_fault(found.table) or _find_record_fault(source, found):
        raise TableDamaged(f"{source.path}: {fault}")
    return found.table


def read_mbr_sectors(source: Source, end_bytes: int | None = None) -> MbrOnDisk:
    """The table with its records; `TableDamaged` if the chain is broken. Layout is not judged."""
    sector = source.read(0, source.sector_bytes)
    slots = mbr.parse_slots(sector)
    _check_slots(source, slots)
    container = next((slot for slot in slots if slot.is_used and slot.is_extended), None)
    chain = _walk_chain(source, container, end_bytes) if container else ()
    return MbrOnDisk(sector, chain, _to_table(source, sector, slots, chain))


def _check_slots(source: Source, slots: tuple[mbr.Slot, ...]) -> None:
    for number, slot in enumerate(slots, 1):
        if slot.count and not slot.type:
            raise TableDamaged(f"{source.path}: partition {number} of the MBR has no type")
        if slot.is_used and slot.type == DYNAMIC_DISK_TYPE:
            raise TableUnsupported(f"{source.path} is a dynamic disk of Windows")
    if sum(slot.is_used and slot.is_extended for slot in slots) > 1:
        raise TableUnsupported(f"{source.path} has more than one extended partition")


def _walk_chain(source: Source, container: mbr.Slot, end_bytes: int | None) -> tuple[Ebr, ...]:
    """Follow the links. Each record is visited once, so that a loop cannot hold us."""
    chain: list[Ebr] = []
    seen: set[int] = set()
    lba: int | None = container.start
    while lba is not None:
        if lba in seen:
            raise TableDamaged(f"{source.path}: the chain of logical partitions runs in a circle")
        if len(chain) >= mbr.MAX_LOGICALS:
            raise TableDamaged(
                f"{source.path}: there are more than {mbr.MAX_LOGICALS} logical partitions"
            )
        seen.add(lba)
        ebr = _read_ebr(source, lba)
        if ebr is None:
            if chain:
                raise TableDamaged(
                    f"{source.path}: the chain of logical partitions breaks at sector {lba}"
                )
            break
        chain.append(ebr)
        lba = _next_lba(source, container, ebr)
        if lba is not None and end_bytes is not None and lba * source.sector_bytes >= end_bytes:
            break
    return tuple(chain)


def _read_ebr(source: Source, lba: int) -> Ebr | None:
    """The record at `lba`, or None where there is none (an extended partition never used)."""
    if (lba + 1) * source.sector_bytes > source.size_bytes:
        raise TableDamaged(f"{source.path}: the chain of logical partitions leaves the disk")
    sector = source.read(lba * source.sector_bytes, source.sector_bytes)
    if not mbr.has_magic(sector):
        return None
    slots = mbr.parse_slots(sector)
    used = [slot for slot in slots if slot.count]
    data = [slot for slot in used if not slot.is_extended]
    links = [slot for slot in used if slot.is_extended]
    odd_flag = any(slot.flag not in (0, 0x80) for slot in used)
    if len(data) > 1 or len(links) > 1 or odd_flag or any(not slot.type for slot in used):
        raise TableDamaged(
            f"{source.path}: the record of a logical partition in sector {lba} is garbage"
        )
    return Ebr(lba, data[0] if data else mbr.EMPTY, links[0] if links else mbr.EMPTY, sector)


def _next_lba(source: Source, container: mbr.Slot, ebr: Ebr) -> int | None:
    if not ebr.link.is_used:
        return None
    if ebr.link.start >= container.count:
        raise TableDamaged(
            f"{source.path}: the chain of logical partitions leaves the extended partition"
        )
    return container.start + ebr.link.start


def _to_table(
    source: Source, sector: bytes, slots: tuple[mbr.Slot, ...], chain: tuple[Ebr, ...]
) -> Table:
    size = source.sector_bytes
    parts = [
        _to_partition(number, 0, slot, size) for number, slot in enumerate(slots, 1) if slot.is_used
    ]
    logicals = [ebr for ebr in chain if ebr.logical.is_used]
    parts += [
        _to_partition(number, ebr.lba, ebr.logical, size)
        for number, ebr in enumerate(logicals, FIRST_LOGICAL)
    ]
    return Table(
        kind=TableKind.MBR,
        sector_bytes=size,
        disk_bytes=source.size_bytes,
        disk_id=mbr.parse_disk_id(sector),
        partitions=tuple(parts),
        first_usable_bytes=size,
        usable_end_bytes=min(source.size_bytes // size, mbr.MAX_SECTOR + 1) * size,
        raw=sector,
    )


def _to_partition(number: int, base_lba: int, slot: mbr.Slot, sector_bytes: int) -> Partition:
    return Partition(
        number=number,
        start_bytes=(base_lba + slot.start) * sector_bytes,
        length_bytes=slot.count * sector_bytes,
        type=f"{slot.type:x}",
        attributes=slot.flag,
    )


def _find_record_fault(source: Source, found: MbrOnDisk) -> str:
    """A record inside a partition would be overwritten by that partition's owner."""
    data = [part for part in found.table.partitions if not part.is_extended or part.is_logical]
    for ebr in found.chain:
        at = ebr.lba * source.sector_bytes
        for part in data:
            if part.start_bytes <= at < part.end_bytes:
                return f"a record of the extended partition lies inside partition {part.number}"
    return ""
