"""The partition table of a restored disk: the owner's, without what lay behind the divider.

It is computed from the epoch alone and for the target's size and sectors. GUIDs, names, attributes,
numbers and boot code stay; area, segments and reserve go, and with them whatever does not end
within the content. The backup of a GPT is made anew at the target's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from blockrep.chunks import CHUNK_BYTES
from blockrep.disk.partition import Partition, Table, TableKind
from blockrep.disk.table import read_standing_table
from blockrep.disk.writes import Write
from blockrep.errors import DoesNotFit, TableDamaged, TableUnsupported
from blockrep.extents import round_up
from blockrep.transfer.restore_gpt import build_gpt
from blockrep.transfer.restore_mbr import build_mbr
from blockrep.transfer.restore_place import Place, TableSource
from blockrep.units import format_exact

HEAD_BYTES = 1 << 20


class Listed(Protocol):
    """A partition as an epoch record lists it."""

    @property
    def number(self) -> int: ...
    @property
    def start_bytes(self) -> int: ...
    @property
    def length_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TablePlan:
    """`kept` are in the target's table. `head`, in this order, is laid over the first `head_bytes`
    of the content, which are written last of all; `tail` is the backup of a GPT, which goes before
    them. Records of logical partitions may lie in the content, hence in `inside`.
    """

    kind: TableKind
    disk_id: str
    kept: tuple[Partition, ...]
    dropped: tuple[Partition, ...]
    head_bytes: int
    head: tuple[Write, ...]
    inside: tuple[Write, ...]
    tail: tuple[Write, ...]


def plan_table(source: TableSource, listed: Sequence[Listed], place: Place) -> TablePlan:
    """The table of `source`, the owner's disk, for a target.

    `DoesNotFit` with the numbers when the first area is larger than the target, `TableDamaged` when
    the epoch's table is not what its record says, `TableUnsupported` for sectors of a size that the
    partitions do not fit.
    """
    _check_fits(place)
    old = read_standing_table(source, place.content_bytes)
    kept = _kept(old, place.content_bytes)
    _check_listed((*old.partitions, *kept), listed)
    _check_aligned(kept, place)
    dropped = tuple(p for p in old.partitions if p.number not in {k.number for k in kept})
    new = replace(old, partitions=kept)
    if old.kind is TableKind.NONE:
        writes: tuple[Write, ...] = ()
    elif old.kind is TableKind.GPT:
        writes = build_gpt(source, new, place)
    else:
        kept, writes = build_mbr(source, new, place)
    head_bytes = _head_bytes(writes, place)
    return TablePlan(
        old.kind,
        old.disk_id,
        kept,
        dropped,
        head_bytes,
        tuple(w for w in writes if w.end_bytes <= head_bytes),
        tuple(w for w in writes if head_bytes < w.end_bytes <= place.content_bytes),
        tuple(w for w in writes if w.end_bytes > max(head_bytes, place.content_bytes)),
    )


def _check_fits(place: Place) -> None:
    if place.content_bytes > place.disk_bytes:
        raise DoesNotFit(
            f"the first area has {format_exact(place.content_bytes)}, the disk "
            f"{format_exact(place.disk_bytes)}",
            hint="take a larger disk",
        )


def _kept(old: Table, content_bytes: int) -> tuple[Partition, ...]:
    """What lies in the first area; the container of an MBR as far as it has something in it."""
    kept = []
    for part in old.partitions:
        if old.kind is TableKind.MBR and part.is_extended and not part.is_logical:
            ends = [p.end_bytes for p in old.partitions if p.is_logical]
            ends = [end for end in ends if end <= content_bytes]
            if ends:
                kept.append(replace(part, length_bytes=max(ends) - part.start_bytes))
        elif part.end_bytes <= content_bytes:
            kept.append(part)
    return tuple(kept)


def _check_listed(found: tuple[Partition, ...], listed: Sequence[Listed]) -> None:
    """The record is signed: a table that lacks a partition of it was not stored as it should be."""
    spans = {(p.start_bytes, p.length_bytes) for p in found}
    for part in listed:
        if part.number and (part.start_bytes, part.length_bytes) not in spans:
            raise TableDamaged(
                f"the partition table of the epoch lacks partition {part.number}, which its "
                "record lists"
            )


def _check_aligned(kept: tuple[Partition, ...], place: Place) -> None:
    for part in kept:
        if part.start_bytes % place.sector_bytes or part.length_bytes % place.sector_bytes:
            raise TableUnsupported(
                f"partition {part.number} does not consist of whole sectors of "
                f"{place.sector_bytes} bytes, which the disk has",
                hint=f"take a disk with sectors of {place.owner_sector_bytes} bytes",
            )


def _head_bytes(writes: tuple[Write, ...], place: Place) -> int:
    """At least 1 MiB, so that whatever names a bare filesystem is written last as well."""
    table = max([HEAD_BYTES, *(w.end_bytes for w in writes if w.offset_bytes < HEAD_BYTES)])
    return min(round_up(table, CHUNK_BYTES), place.disk_bytes)
