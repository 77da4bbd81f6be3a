"""Partition tables on a device: read one, and compute the writes that lead to another."""

from __future__ import annotations

from blockrep.disk import mbr
from blockrep.disk.gpt_disk import has_gpt_header, read_gpt
from blockrep.disk.mbr_disk import read_mbr
from blockrep.disk.partition import Partition, Source, Table, TableKind
from blockrep.errors import TableDamaged

__all__ = ["Partition", "Table", "TableKind", "read_table"]

EXT_MAGIC_AT = 1080
EXT_MAGIC = b"\x53\xef"


def read_table(source: Source) -> Table:
    """The table of a healthy disk; kind `NONE` where there is none.

    `TableDamaged` when a copy is damaged, the copies differ, or partitions overlap or lie outside;
    `TableUnsupported` for what we do not rewrite, such as a hybrid MBR.
    """
    if source.size_bytes < 4 * source.sector_bytes:
        return _no_table(source)
    sector = source.read(0, source.sector_bytes)
    slots = mbr.parse_slots(sector)
    if mbr.has_magic(sector) and any(s.is_used and s.type == mbr.PROTECTIVE_TYPE for s in slots):
        return read_gpt(source)
    if has_gpt_header(source):
        raise TableDamaged(
            f"{source.path} has a GPT, but no protective MBR before it",
            hint="remove what is out of date with `wipefs`, or repair the MBR with gdisk",
        )
    if _is_mbr(source, sector):
        return read_mbr(source)
    return _no_table(source)


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
