"""From one DOS table to the next, so that what is read is at every instant one of the two.

What the kernel reads is sector 0 and the chain of records (EBRs) that starts in the first sector of
the extended partition. One sector is written atomically, two are not. So:

- New records go to sectors that the current chain does not read, and are flushed. If after that
  only one sector of those that are read differs, sector 0 or a record that stays where it is, then
  writing it is the commit point.
- If several would have to change at once (say the extended partition grows and the record in its
  first sector changes), the whole chain is written a second time, into unused sectors before its
  first logical partition; sector 0 is switched to it, which makes every partition that holds data
  exactly the new one; the records are then written where they belong, and sector 0 is switched
  again. In between only the container, which holds nothing itself, starts some sectors later.
- Without room for that second chain the change is refused.

As everything starts from the chain that is read, a second run after a cut finishes the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from blockrep.disk import mbr
from blockrep.disk.mbr_disk import Ebr, MbrOnDisk, read_mbr_sectors
from blockrep.disk.partition import FIRST_LOGICAL, Partition, Source, Table
from blockrep.disk.writes import Stage, Write
from blockrep.errors import InternalError, TableDamaged, TableUnsupported
from blockrep.extents import Extent, subtract

MIB = 1 << 20
LINK_TYPE = 5


@dataclass(frozen=True, slots=True)
class Records:
    """Sector 0 and the chain, by sector number: all that the kernel reads."""

    sector: bytes
    chain: dict[int, bytes]


def mbr_stages(source: Source, old: Table, new: Table) -> tuple[Stage, ...]:
    """The writes that lead to `new`; none where it stands already.

    `TableDamaged` if the partitions on the device are neither those of `old` nor those of `new`,
    `TableUnsupported` if they cannot be said in an MBR or not be switched to in one instant.
    """
    found = read_mbr_sectors(source)
    if found.table == new:
        return ()
    if _data(found.table) not in (_data(old), _data(new)):
        raise TableDamaged(f"{source.path}: the MBR is neither the one before nor the one wanted")
    _check_limits(source, new)
    places = _place_records(found, new)
    final = _build(found, new, _container(new), places)
    current = Records(found.sector, {ebr.lba: ebr.sector for ebr in found.chain})
    if len(_changed(current, final)) <= 1:
        return _switch(current, final, source.sector_bytes)
    beside = _build_beside(source, found, old, new, set(final.chain))
    return (
        *_switch(current, beside, source.sector_bytes),
        *_switch(beside, final, source.sector_bytes),
    )


def _data(table: Table) -> tuple[Partition, ...]:
    """The partitions that hold something, which the container does not."""
    return tuple(p for p in table.partitions if p.is_logical or not p.is_extended)


def _logicals(table: Table) -> tuple[Partition, ...]:
    return tuple(p for p in table.partitions if p.is_logical)


def _container(table: Table) -> Partition | None:
    return next((p for p in table.partitions if p.is_extended and not p.is_logical), None)


def _check_limits(source: Source, new: Table) -> None:
    if any(part.end_bytes > mbr.MAX_SECTOR * new.sector_bytes for part in new.partitions):
        raise TableUnsupported(
            f"{source.path}: an MBR cannot name sectors past {mbr.MAX_SECTOR}",
            hint="convert the table to GPT first (`sgdisk -g`)",
        )
    logicals = _logicals(new)
    if len(logicals) > mbr.MAX_LOGICALS:
        raise TableUnsupported(
            f"{source.path}: more than {mbr.MAX_LOGICALS} logical partitions are not supported",
            hint="convert the table to GPT first (`sgdisk -g`)",
        )
    if [part.number for part in logicals] != list(
        range(FIRST_LOGICAL, FIRST_LOGICAL + len(logicals))
    ):
        raise InternalError("the logical partitions of the new table are not numbered in a row")


def _place_records(found: MbrOnDisk, new: Table) -> list[int]:
    """A sector for the record of each logical partition, in their order; the first is the
    container's first sector. Where a record can stay it stays, if the container does."""
    container, size = _container(new), new.sector_bytes
    if container is None:
        return []
    start = container.start_bytes // size
    before = _container(found.table)
    kept: dict[int, int] = {}
    if before is not None and before.start_bytes == container.start_bytes:
        kept = {ebr.lba + ebr.logical.start: ebr.lba for ebr in found.chain}
    places = [start]
    for part in _logicals(new)[1:]:
        first = part.start_bytes // size
        wishes = [kept.get(first, 0), first - MIB // size, first - 63, first - 1]
        place = next((w for w in wishes if w not in places and _is_free(w, start, new)), None)
        if place is None:
            raise TableUnsupported(
                f"there is no sector for the record of the logical partition {part.number}",
                hint="leave 1 MiB before each logical partition",
            )
        places.append(place)
    return places


def _is_free(lba: int, container_lba: int, table: Table) -> bool:
    at = lba * table.sector_bytes
    return lba > container_lba and not any(
        part.start_bytes <= at < part.end_bytes for part in _data(table)
    )


def _build(found: MbrOnDisk, new: Table, container: Partition | None, places: list[int]) -> Records:
    """Sector 0 and the chain for `new` with its records in `places`."""
    size = new.sector_bytes
    slots = list(mbr.parse_slots(found.sector))
    primaries = {part.number: part for part in new.partitions if not part.is_logical}
    for index, slot in enumerate(slots):
        part = primaries.get(index + 1)
        if part is not None and part.is_extended:
            part = container
        if part is not None:
            slots[index] = _slot(part, 0, size)
        elif slot.is_used:
            slots[index] = mbr.EMPTY
    sector = mbr.build_record(found.sector, tuple(slots), 0)
    if container is None:
        return Records(sector, {})
    return Records(sector, _build_chain(found, _logicals(new), container, places, size))


def _build_chain(
    found: MbrOnDisk,
    logicals: tuple[Partition, ...],
    container: Partition,
    places: list[int],
    size: int,
) -> dict[int, bytes]:
    there = {ebr.lba: ebr for ebr in found.chain}
    base = container.start_bytes // size
    chain = {}
    for index, lba in enumerate(places):
        logical = _slot(logicals[index], lba, size) if logicals else mbr.EMPTY
        link = mbr.EMPTY
        if index + 1 < len(places):
            after = places[index + 1]
            count = logicals[index + 1].end_bytes // size - after
            link = mbr.Slot(0, LINK_TYPE, after - base, count)
        chain[lba] = _build_ebr(there.get(lba), lba, logical, link)
    return chain


def _build_ebr(there: Ebr | None, lba: int, logical: mbr.Slot, link: mbr.Slot) -> bytes:
    """A record that says so already keeps its bytes. Programs differ in the type and the length
    that they give a link, and nobody reads them: what counts is where it points."""
    if there is not None:
        same_link = there.link.start == link.start and there.link.is_used == link.is_used
        if there.logical == logical and same_link:
            return there.sector
    return mbr.build_record(
        bytes(512) if there is None else there.sector,
        (logical, link, mbr.EMPTY, mbr.EMPTY),
        lba,
    )


def _slot(part: Partition, base_lba: int, size: int) -> mbr.Slot:
    start, count = part.start_bytes // size - base_lba, part.length_bytes // size
    if part.start_bytes % size or part.length_bytes % size or start < 0:
        raise InternalError(f"partition {part.number} does not consist of whole sectors")
    return mbr.Slot(part.attributes, int(part.type, 16), start, count)


def _changed(current: Records, wanted: Records) -> list[int]:
    """The sectors that the current chain reads and that are to say something else."""
    changed = [] if current.sector == wanted.sector else [0]
    return changed + [
        lba for lba, data in wanted.chain.items() if current.chain.get(lba, data) != data
    ]


def _switch(current: Records, wanted: Records, size: int) -> tuple[Stage, ...]:
    """First what nobody reads yet, then the one sector that makes it the table."""
    changed = _changed(current, wanted)
    if len(changed) > 1:
        raise InternalError("a DOS table would pass through a mixture of two tables")
    fresh = {lba: data for lba, data in wanted.chain.items() if lba not in current.chain}
    stages = []
    if fresh:
        writes = tuple(Write(lba * size, _pad(data, size)) for lba, data in sorted(fresh.items()))
        stages.append(Stage("records of the logical partitions", writes))
    for lba in changed:
        data = wanted.chain[lba] if lba else wanted.sector
        stages.append(Stage("partition table", (Write(lba * size, _pad(data, size)),)))
    return tuple(stages)


def _pad(data: bytes, size: int) -> bytes:
    return data.ljust(size, b"\0")


def _build_beside(
    source: Source, found: MbrOnDisk, old: Table, new: Table, final: set[int]
) -> Records:
    """The whole chain of `new` in sectors that neither the current nor the final one reads."""
    container, size = _container(new), new.sector_bytes
    logicals = _logicals(new)
    if container is None:
        raise InternalError("a table without an extended partition is one sector")
    count = max(1, len(logicals))
    first = container.start_bytes // size + 1
    end = min((part.start_bytes for part in logicals), default=container.end_bytes) // size
    taken = [Extent(lba, 1) for lba in final | {ebr.lba for ebr in found.chain}]
    for table in (old, new):
        taken += [Extent(p.start_bytes // size, p.length_bytes // size) for p in _data(table)]
    free = next(
        (e for e in subtract([Extent(first, end - first)], taken) if e.length >= count), None
    )
    if free is None:
        raise TableUnsupported(
            f"{source.path}: there is no room at the start of the extended partition to rewrite "
            "the chain of logical partitions safely",
            hint="convert the table to GPT first (`sgdisk -g`), or make the extended partition "
            "start 1 MiB before its first logical partition",
        )
    moved = replace(
        container,
        start_bytes=free.start * size,
        length_bytes=container.end_bytes - free.start * size,
    )
    return _build(found, new, moved, list(range(free.start, free.start + count)))
