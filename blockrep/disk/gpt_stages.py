"""From one GPT to the next, so that what is read is at every instant exactly one of the two.

The kernel believes the primary copy if its checksums hold, and falls back to the backup (Linux only
when told to on its command line; firmware and partitioning tools do by themselves). A header is one
sector, hence atomic; an entry array is many, hence not. So an array is only ever written where no
valid header points:

1. the backup: its array and header, in one go. Until it is whole its checksums fail, and the
   primary, untouched, is what everybody reads.
2. the new array in a gap that nothing uses. Nothing points there yet.
3. the primary header, one sector, now pointing there: the commit point.
4. the new array where the old one was. Nothing points there any more.
5. the primary header pointing there.
6. zeros over the gap.

Each is flushed before the next begins. Every stage starts from what the device holds, so running
the whole again after a cut at any place finishes it, in either direction.
"""

from __future__ import annotations

from blockrep.disk import gpt
from blockrep.disk.gpt_disk import GptCopy, to_table, try_copy
from blockrep.disk.partition import Source, Table
from blockrep.disk.writes import Stage, Write
from blockrep.errors import InternalError, TableDamaged, TableUnsupported
from blockrep.extents import Extent, subtract

SEARCH_SECTORS = 4096


def gpt_stages(source: Source, old: Table, new: Table, scratch: Extent | None) -> tuple[Stage, ...]:
    """The writes that lead to `new`; none where it stands already.

    `TableDamaged` if what is read is neither `old` nor `new`, `TableUnsupported` if there is no gap
    for the array. Both tables have the same header fields and differ in partitions only.
    """
    last_lba = source.size_bytes // source.sector_bytes - 1
    primary, _ = try_copy(source, gpt.PRIMARY_LBA)
    backup, _ = try_copy(source, last_lba)
    current = primary or backup
    if current is None or to_table(source, current) not in (old, new):
        raise TableDamaged(f"{source.path}: the GPT is neither the one before nor the one wanted")
    array = gpt.build_entries(current.header, current.array, new.partitions)
    if gpt.parse_entries(current.header, array) != new.partitions:
        raise InternalError("a partition of the new table cannot be written as it is")
    backup_stage = _backup_stage(source, primary, backup, array, last_lba)
    if primary is None:
        # The backup is all there is: it may not be touched before the primary is whole again.
        return (*_rebuild_primary(source, current, array, old.entries_lba), *backup_stage)
    primary_stages = _primary_stages(source, primary, array, old, new, scratch)
    return (*backup_stage, *primary_stages)


def _backup_stage(
    source: Source, primary: GptCopy | None, backup: GptCopy | None, array: bytes, last_lba: int
) -> tuple[Stage, ...]:
    sector_bytes = source.sector_bytes
    if backup is not None:
        header = gpt.with_array(backup.header, array, backup.header.entries_lba)
    elif primary is not None:
        header = gpt.with_array(
            gpt.mirror(primary.header, last_lba), array, last_lba - primary.header.array_sectors
        )
    else:
        raise ValueError("no copy of the GPT is whole")
    if header.entries_lba <= header.last_usable_lba:
        raise TableDamaged(f"{source.path}: there is no room for the backup of the GPT")
    if backup is not None and backup.array == array:
        return ()
    writes = (
        _array_write(array, header.entries_lba, sector_bytes),
        Write(last_lba * sector_bytes, gpt.build_header(header)),
    )
    return (Stage("backup of the partition table", writes),)


def _primary_stages(
    source: Source, primary: GptCopy, array: bytes, old: Table, new: Table, scratch: Extent | None
) -> tuple[Stage, ...]:
    home = old.entries_lba
    header = primary.header
    if header.entries_lba == home and primary.array == array:
        return ()
    if header.entries_lba != home:
        # Cut between stages 3 and 5: the array that is read is in the gap, its place is free.
        gap = Extent(header.entries_lba, header.array_sectors)
        if gap.start < home + header.array_sectors and home < gap.end:
            raise TableDamaged(f"{source.path}: the GPT entries lie across where they belong")
        return (*_settle(source, header, array, home), *_wipe(source, gap, old, new))
    gap = _find_gap(source, header, array, old, new, scratch)
    there = gpt.with_array(header, array, gap.start)
    return (
        Stage(
            "partition entries, beside the old ones",
            (_array_write(array, gap.start, source.sector_bytes),),
        ),
        Stage("partition table header", (_header_write(source, there),)),
        *_settle(source, header, array, home),
        *_wipe(source, gap, old, new),
    )


def _rebuild_primary(source: Source, backup: GptCopy, array: bytes, home: int) -> tuple[Stage, ...]:
    return _settle(source, gpt.mirror(backup.header, gpt.PRIMARY_LBA), array, home)


def _settle(source: Source, header: gpt.GptHeader, array: bytes, home: int) -> tuple[Stage, ...]:
    """The array where it belongs, and then the header that points there."""
    final = gpt.with_array(header, array, home)
    return (
        Stage("partition entries", (_array_write(array, home, source.sector_bytes),)),
        Stage("partition table header, final", (_header_write(source, final),)),
    )


def _wipe(source: Source, gap: Extent, old: Table, new: Table) -> tuple[Stage, ...]:
    """Leave no stale array behind; but a gap that is somebody's range by now is theirs."""
    gap_bytes = Extent(gap.start * source.sector_bytes, gap.length * source.sector_bytes)
    if subtract([gap_bytes], _taken(old, new)) != [gap_bytes]:
        return ()
    return (Stage("the gap", (Write(gap_bytes.start, bytes(gap_bytes.length)),)),)


def _find_gap(
    source: Source,
    header: gpt.GptHeader,
    array: bytes,
    old: Table,
    new: Table,
    scratch: Extent | None,
) -> Extent:
    """Sectors for the array, outside the partitions of both tables and everything of the GPT.

    Boards and old boot loaders keep code between the array and the first partition, so only
    sectors that hold zeros, or what we put there ourselves before a cut, are taken.
    """
    sector_bytes = source.sector_bytes
    home = Extent(header.entries_lba, header.array_sectors)
    start = 2 if home.start > 2 else home.end
    inside = Extent(start * sector_bytes, (header.last_usable_lba + 1 - start) * sector_bytes)
    home_bytes = Extent(home.start * sector_bytes, home.length * sector_bytes)
    for free in subtract([inside], [home_bytes, *_taken(old, new)]):
        first = -(-free.start // sector_bytes)
        found = _find_clear(source, Extent(first, free.end // sector_bytes - first), array)
        if found is not None:
            return found
    if scratch is None:
        raise TableUnsupported(
            f"{source.path}: there is no free gap of {len(array)} bytes between the partitions "
            "to rewrite the partition table safely",
            hint="make one: shrink or delete a partition that you do not need",
        )
    found = Extent(-(-scratch.start // sector_bytes), header.array_sectors)
    if found.end * sector_bytes > scratch.end:
        raise ValueError("the scratch range is too small for the partition entries")
    return found


def _find_clear(source: Source, free: Extent, array: bytes) -> Extent | None:
    """The first run in `free` that nobody's bytes are in, among its first sectors."""
    sector_bytes = source.sector_bytes
    parts = _split(array, sector_bytes)
    span = min(free.length, SEARCH_SECTORS)
    if span < len(parts):
        return None
    data = _split(source.read(free.start * sector_bytes, span * sector_bytes), sector_bytes)
    zeros = bytes(sector_bytes)
    for first in range(span - len(parts) + 1):
        found = data[first : first + len(parts)]
        if all(there in (zeros, ours) for there, ours in zip(found, parts, strict=True)):
            return Extent(free.start + first, len(parts))
    return None


def _split(data: bytes, sector_bytes: int) -> list[bytes]:
    """Whole sectors, the last one filled up with zeros."""
    return [
        data[at : at + sector_bytes].ljust(sector_bytes, b"\0")
        for at in range(0, len(data), sector_bytes)
    ]


def _taken(old: Table, new: Table) -> list[Extent]:
    return [
        Extent(part.start_bytes, part.length_bytes)
        for table in (old, new)
        for part in table.partitions
    ]


def _array_write(array: bytes, lba: int, sector_bytes: int) -> Write:
    whole = -(-len(array) // sector_bytes) * sector_bytes
    return Write(lba * sector_bytes, array.ljust(whole, b"\0"))


def _header_write(source: Source, header: gpt.GptHeader) -> Write:
    return Write(gpt.PRIMARY_LBA * source.sector_bytes, gpt.build_header(header))
