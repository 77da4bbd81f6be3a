"""Plan where everything on a divided disk will be. Pure: reads nothing, writes nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

from blockrep.disk.area import (
    AREA_BYTES,
    AREA_TYPE,
    RESERVE_TYPE,
    SEGMENT_TYPE,
    Area,
    AreaSegment,
    ChangedPartition,
    may_be_area,
)
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.give_way import Given, give_way
from blockrep.divide.layout_values import (
    BARE_FILESYSTEM,
    MIB,
    CannotGiveWayError,
    FsKind,
    Layout,
    PartitionFacts,
    PartitionMove,
    SegmentPlan,
    align_down,
    align_up,
    in_mib,
)
from blockrep.divide.second_area import (
    EBR_ROOM_BYTES,
    SecondArea,
    our_partitions,
    plan_second_area,
)
from blockrep.divide.undo_layout import plan_undo
from blockrep.errors import (
    AlreadyDivided,
    BlockrepError,
    TableDamaged,
    TableUnsupported,
    UsageError,
)
from blockrep.extents import Extent, intersect

__all__ = [
    "BARE_FILESYSTEM",
    "FsKind",
    "Layout",
    "PartitionFacts",
    "PartitionMove",
    "SegmentPlan",
    "describe_area",
    "plan_layout",
    "plan_undo",
    "smallest_divider",
]

_SEARCH_STEPS = 4096


def plan_layout(
    table: Table,
    divider_request_bytes: int,
    peers: int,
    history_share: float | None,
    facts: Mapping[int, PartitionFacts],
    new_uuid: Callable[[], uuid.UUID],
) -> Layout:
    """The layout with the divider at the request, rounded down to a MiB.

    `facts` has an entry per partition number (`BARE_FILESYSTEM` where there is no table); a
    partition without one counts as of unknown content. Whether a disk without a table is divided
    already is not to be seen here: `find_area` says so.

    `UsageError`, `DoesNotFit` (with the smallest possible first area), `TableUnsupported`,
    `TableDamaged`, `FilesystemUnsupported`, `AlreadyDivided`.
    """
    _check_table(table)
    divider = align_down(divider_request_bytes)
    if not MIB <= divider < table.disk_bytes:
        raise UsageError(
            f"a first area of {divider_request_bytes} bytes is impossible: it has at least 1 MiB "
            f"and is smaller than the disk of {table.disk_bytes // MIB} MiB"
        )
    try:
        return _lay(table, divider, peers, history_share, facts, new_uuid)
    except CannotGiveWayError as cannot:
        smallest = None
        if cannot.needed_bytes is not None:
            smallest = smallest_divider(table, peers, history_share, facts)
        raise _with_smallest(cannot.error, smallest) from cannot


def smallest_divider(
    table: Table,
    peers: int,
    history_share: float | None,
    facts: Mapping[int, PartitionFacts],
) -> int | None:
    """The smallest first area that `plan_layout` accepts, in bytes; None if there is none."""
    divider = MIB
    for _ in range(_SEARCH_STEPS):
        try:
            _lay(table, divider, peers, history_share, facts, lambda: uuid.UUID(int=0))
            return divider
        except CannotGiveWayError as cannot:
            if cannot.needed_bytes is None:
                return None
            divider = max(divider + MIB, align_up(cannot.needed_bytes))
        except BlockrepError:
            return None
    return None


def describe_area(
    layout: Layout,
    old: Table,
    facts: Mapping[int, PartitionFacts],
    instance_id: bytes,
    created_s: int,
) -> Area:
    """The first record of the area of this layout, with what `undivide` needs of the old table."""
    host = None if layout.host_partition is None else facts[layout.host_partition]
    block_bytes = 0 if host is None else host.block_bytes
    return Area(
        instance_id=instance_id,
        generation=1,
        created_s=created_s,
        disk_bytes=old.disk_bytes,
        sector_bytes=old.sector_bytes,
        table_kind=old.kind,
        divider_bytes=layout.divider_bytes,
        area_start_bytes=layout.area_start_bytes,
        first_end_bytes=layout.first_end_bytes,
        host=layout.host_partition,
        host_block_bytes=block_bytes,
        host_old_blocks=host.filesystem_bytes // block_bytes if host and block_bytes else 0,
        reserve=layout.reserve,
        segments=tuple(_area_segment(s) for s in layout.segments),
        changed=_changed(layout, old),
    )


def _area_segment(s: SegmentPlan) -> AreaSegment:
    return AreaSegment(
        s.number, s.start_bytes, s.length_bytes, s.capacity_bytes, s.history_bytes, s.uuid
    )


def _changed(layout: Layout, old: Table) -> tuple[ChangedPartition, ...]:
    before = {p.number: p for p in old.partitions}
    swaps = {m.number for m in layout.moves if m.is_swap}
    changed = []
    for p in layout.new_table.partitions:
        was = before.get(p.number)
        if was is None and p.is_extended:
            changed.append(ChangedPartition(p.number, 0, 0))
        elif was is not None and was != p:
            swap = p.number in swaps
            changed.append(ChangedPartition(p.number, was.start_bytes, was.length_bytes, swap))
    return tuple(changed)


def _check_table(table: Table) -> None:
    for p in table.partitions:
        mbr_area = table.kind is TableKind.MBR and may_be_area(table.kind, p)
        if p.type in (AREA_TYPE, SEGMENT_TYPE, RESERVE_TYPE) or mbr_area:
            raise AlreadyDivided(f"the disk is divided already (partition {p.number})")
    parts = sorted((p for p in table.partitions if not p.is_extended), key=lambda p: p.start_bytes)
    for a, b in pairwise(parts):
        if a.end_bytes > b.start_bytes:
            raise TableDamaged(f"partitions {a.number} and {b.number} overlap")


def _lay(
    table: Table,
    divider: int,
    peers: int,
    history_share: float | None,
    facts: Mapping[int, PartitionFacts],
    new_uuid: Callable[[], uuid.UUID],
) -> Layout:
    second = plan_second_area(table, divider, peers, history_share, new_uuid)
    ours = our_partitions(table, second, new_uuid)
    given = _give_way_twice(table, facts, second, divider)
    partitions = [*given.partitions, *ours]
    if given.container is not None:
        partitions.append(given.container)
        _check_boot_records(table, given, partitions, divider)
    layout = Layout(
        divider_bytes=divider,
        new_table=replace(table, partitions=tuple(sorted(partitions, key=lambda p: p.number))),
        host_partition=given.host,
        host_end_bytes=given.host_end_bytes,
        moves=given.moves,
        area_start_bytes=second.area_start_bytes,
        area_length_bytes=AREA_BYTES,
        segments=second.segments,
        reserve=second.reserve,
        notes=given.notes,
    )
    return replace(layout, notes=(*given.notes, *_capacity_notes(layout, second)))


def _give_way_twice(
    table: Table, facts: Mapping[int, PartitionFacts], second: SecondArea, divider: int
) -> Given:
    """End below the segments' capacity if possible, else at the divider: fit comes first."""
    if second.first_limit_bytes < divider:
        try:
            return give_way(table, facts, second.first_limit_bytes, divider)
        except CannotGiveWayError:
            pass
    return give_way(table, facts, divider, divider)


def _capacity_notes(layout: Layout, second: SecondArea) -> list[str]:
    if not layout.segments:
        return []
    capacity, end = layout.segments[0].capacity_bytes, layout.first_end_bytes
    if end > capacity:
        return [
            f"a segment holds a first area that ends at {in_mib(capacity)} or below; this disk's "
            f"own ends at {in_mib(end)}, too large for a segment of this size"
        ]
    lowered = bool(layout.moves) or layout.host_partition is not None
    if second.first_limit_bytes < layout.divider_bytes and lowered:
        return [
            f"the first area ends at {in_mib(end)}, a little below the divider, so that a segment "
            f"of this size ({in_mib(capacity)}) can hold it"
        ]
    return []


def _check_boot_records(
    table: Table,
    given: Given,
    partitions: list[Partition],
    divider: int,
) -> None:
    """No new EBR on what the old table still needs: it is written before the old table goes."""
    starts = [p.start_bytes for p in partitions if p.is_logical and not _unmoved(table, p)]
    rooms = [Extent(start - EBR_ROOM_BYTES, EBR_ROOM_BYTES) for start in starts]
    for move in given.moves:
        old = Extent(move.old_start_bytes, move.length_bytes)
        if not move.is_swap and intersect([old], rooms):
            raise CannotGiveWayError(
                TableUnsupported(
                    f"a boot record of the new table would overwrite partition {move.number} where "
                    "it still is",
                    hint="move the partition yourself, or choose a first area that ends behind it",
                ),
                divider + MIB,
            )


def _unmoved(table: Table, p: Partition) -> bool:
    return any(q.number == p.number and q.start_bytes == p.start_bytes for q in table.partitions)


def _with_smallest(error: BlockrepError, smallest_bytes: int | None) -> BlockrepError:
    if smallest_bytes is None:
        return error
    message = f"{error.message}; the smallest possible first area is {in_mib(smallest_bytes)}"
    return type(error)(message, hint=error.hint, state=error.state)
