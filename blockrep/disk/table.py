"""Partition tables on a device: read one, and compute the writes that lead to another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blockrep.disk import mbr
from blockrep.disk.gpt_disk import has_gpt_header, read_gpt, read_standing_gpt
from blockrep.disk.gpt_stages import gpt_stages
from blockrep.disk.mbr_disk import read_mbr
from blockrep.disk.mbr_stages import mbr_stages
from blockrep.disk.partition import Partition, Source, Table, TableKind, find_layout_fault
from blockrep.disk.writes import Stage
from blockrep.errors import InternalError, TableDamaged
from blockrep.extents import Extent

__all__ = ["Partition", "Table", "TableKind", "read_standing_table", "read_table", "table_stages"]

EXT_MAGIC_AT = 1080
EXT_MAGIC = b"\x53\xef"


def read_table(source: Source) -> Table:
    """The table of a healthy disk; kind `NONE` where there is none.

    `TableDamaged` when a copy is damaged, the copies differ, or partitions overlap or lie outside;
    `TableUnsupported` for what we do not rewrite, such as a hybrid MBR.
    """
    return _read_with(source, read_gpt)


def read_standing_table(source: Source, end_bytes: int | None = None) -> Table:
    """The table that is in force, also on a disk that a change of its table was cut on.

    With `end_bytes`, of a disk of which only what lies before is there: a chain of logical
    partitions ends where it leaves that.
    """
    return _read_with(source, read_standing_gpt, end_bytes)


def _read_with(
    source: Source, gpt_reader: Callable[[Source], Table], end_bytes: int | None = None
) -> Table:
    if source.size_bytes < 4 * source.sector_bytes:
        return _no_table(source)
    sector = source.read(0, source.sector_bytes)
    slots = mbr.parse_slots(sector)
    if mbr.has_magic(sector) and any(s.is_used and s.type == mbr.PROTECTIVE_TYPE for s in slots):
        return gpt_reader(source)
    if has_gpt_header(source):
        raise TableDamaged(
            f"{source.path} has a GPT, but no protective MBR before it",
            hint="remove what is out of date with `wipefs`, or repair the MBR with gdisk",
        )
    if _is_mbr(source, sector):
        return read_mbr(source, end_bytes)
    return _no_table(source)


def table_stages(
    source: Source, old: Table, new: Table, scratch: Extent | None = None
) -> tuple[Stage, ...]:
    """The writes from what is on the device to `new`, each stage flushed before the next.

    At every instant the table that the kernel reads is exactly `old` or exactly `new`, whatever of
    an unflushed stage reaches the medium. The device holds `old`, `new` or what a cut left of an
    earlier run between the two, in either direction; anything else is `TableDamaged`. There are no
    stages if `new` stands already. `scratch`, a byte range of at least 32 KiB that nothing uses, is
    only taken when there is no gap free in both layouts. `TableUnsupported` says what is missing.
    """
    _check_change(old, new)
    if new.kind is TableKind.GPT:
        return gpt_stages(source, old, new, scratch)
    if new.kind is TableKind.MBR:
        return mbr_stages(source, old, new)
    return ()


def _check_change(old: Table, new: Table) -> None:
    """Only partitions may differ, and the new ones must be possible."""
    if replace(new, partitions=old.partitions) != old:
        raise InternalError("the new partition table differs from the old in more than partitions")
    if fault := find_layout_fault(new):
        raise InternalError(f"the new partition table is impossible: {fault}")


def _is_mbr(source: Source, sector: bytes) -> bool:
    """A boot loader in a bare ext filesystem looks like an MBR without partitions."""
    if not mbr.is_table(sector):
        return False
    if any(slot.is_used for slot in mbr.parse_slots(sector)):
        return True
    return source.read(EXT_MAGIC_AT, len(EXT_MAGIC)) != EXT_MAGIC


def _no_table(source: Source) -> Table:
    return Table(
        kind=TableKind.NONE,
        sector_bytes=source.sector_bytes,
        disk_bytes=source.size_bytes,
        disk_id="",
        partitions=(),
        first_usable_bytes=0,
        usable_end_bytes=source.size_bytes,
    )
