"""What is behind the divider: the area, and the segments or the reserve. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from blockrep.disk.area import (
    AREA_BYTES,
    AREA_TYPE,
    MAX_SEGMENTS,
    OUR_MBR_TYPE,
    RESERVE_TYPE,
    SEGMENT_TYPE,
    bare_area_start,
)
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.layout_values import FIRST_LOGICAL, MIB, SegmentPlan, align_down, in_mib
from blockrep.errors import DoesNotFit, TableUnsupported, UsageError
from blockrep.extents import Extent
from blockrep.segment.geometry import (
    SMALLEST_SEGMENT_BYTES,
    Geometry,
    geometry_for,
    geometry_with_ring,
    plan_geometry,
    smallest_ring,
)

NO_AUTOMOUNT_HIDDEN = 1 << 63 | 1 << 62
# An MBR's logical partition has its boot record in front of it.
EBR_ROOM_BYTES = MIB
LOWER_AT_MOST_BYTES = 64 * MIB
LOWER_AT_MOST_DIVISOR = 16


@dataclass(frozen=True, slots=True)
class SecondArea:
    """`first_limit_bytes`: end the first area here, so that a segment holds one as large.

    It is the divider itself where that is so anyway, or is out of reach.
    """

    area_start_bytes: int
    segments: tuple[SegmentPlan, ...]
    reserve: Extent | None
    first_limit_bytes: int


def plan_second_area(
    table: Table,
    divider_bytes: int,
    peers: int,
    history_share: float | None,
    new_uuid: Callable[[], UUID],
) -> SecondArea:
    """Cut what is behind the divider into equal segments; what rounding leaves goes to nobody.

    `UsageError` for an impossible number of peers, `DoesNotFit` with the numbers otherwise.
    """
    _check_peers(table, peers)
    room = _room(table, divider_bytes)
    length = _part_bytes(table, room, max(peers, 1))
    if length < _smallest(peers):
        raise _no_room(table, divider_bytes, room, peers)
    area_start = _area_start(table, divider_bytes)
    gap = start_gap_bytes(table)
    if peers == 0:
        reserve = Extent(room.start + gap, length)
        return SecondArea(area_start, (), reserve, divider_bytes)
    geometry, limit = _geometry(length, divider_bytes, history_share)
    segments = tuple(
        SegmentPlan(
            number=index + 1,
            start_bytes=room.start + index * (gap + length) + gap,
            length_bytes=length,
            capacity_bytes=geometry.data_bytes,
            history_bytes=geometry.ring_bytes,
            uuid=str(new_uuid()).upper(),
        )
        for index in range(peers)
    )
    return SecondArea(area_start, segments, None, limit)


def our_partitions(
    table: Table, second: SecondArea, new_uuid: Callable[[], UUID]
) -> tuple[Partition, ...]:
    """The partitions of the second area, numbered; none where there is no table.

    `TableUnsupported` when a GPT has too few free entries.
    """
    if table.kind is TableKind.NONE:
        return ()
    area_uuid = str(new_uuid()).upper()
    rows = [(second.area_start_bytes, AREA_BYTES, AREA_TYPE, "blockrep area", area_uuid)]
    for s in second.segments:
        name = f"blockrep segment {s.number}"
        rows.append((s.start_bytes, s.length_bytes, SEGMENT_TYPE, name, s.uuid))
    if second.reserve is not None:
        ident = str(new_uuid()).upper()
        rows.append((*second.reserve, RESERVE_TYPE, "blockrep reserve", ident))
    numbers = _free_numbers(table, len(rows))
    if table.kind is TableKind.MBR:
        return tuple(
            Partition(number, start, length, OUR_MBR_TYPE)
            for number, (start, length, *_) in zip(numbers, rows, strict=True)
        )
    return tuple(
        Partition(number, start, length, kind, ident, name, NO_AUTOMOUNT_HIDDEN)
        for number, (start, length, kind, name, ident) in zip(numbers, rows, strict=True)
    )


def _check_peers(table: Table, peers: int) -> None:
    if not 0 <= peers <= MAX_SEGMENTS:
        raise UsageError(f"{peers} peers are impossible: 0 to {MAX_SEGMENTS}")
    if table.kind is TableKind.GPT:
        _free_numbers(table, 1 + max(peers, 1))


def start_gap_bytes(table: Table) -> int:
    """The room before each part of a second area, for a boot record of an MBR."""
    return EBR_ROOM_BYTES if table.kind is TableKind.MBR else 0


def _area_start(table: Table, divider_bytes: int) -> int:
    if table.kind is TableKind.NONE:
        return bare_area_start(table.disk_bytes)
    return divider_bytes + start_gap_bytes(table)


def _room(table: Table, divider_bytes: int) -> Extent:
    """The range for segments and the gaps before them; its length may be negative."""
    if table.kind is TableKind.NONE:
        return Extent(divider_bytes, bare_area_start(table.disk_bytes) - divider_bytes)
    start = divider_bytes + start_gap_bytes(table) + AREA_BYTES
    return Extent(start, align_down(table.usable_end_bytes) - start)


def _part_bytes(table: Table, room: Extent, parts: int) -> int:
    return align_down(room.length // parts) - start_gap_bytes(table)


def _smallest(peers: int) -> int:
    """A segment has a geometry to hold; a reserve is cut into segments another time."""
    return SMALLEST_SEGMENT_BYTES if peers else MIB


def _no_room(table: Table, divider_bytes: int, room: Extent, peers: int) -> DoesNotFit:
    smallest = _smallest(peers) + start_gap_bytes(table)
    most = min(max(room.length, 0) // smallest, MAX_SEGMENTS)
    largest = align_down(divider_bytes + room.length - max(peers, 1) * smallest)
    behind = {0: "a second area", 1: "a segment"}.get(peers, f"{peers} segments")
    advice = [f"a first area of at most {in_mib(largest)}"] if largest > 0 else []
    advice += [f"at most {most} peers"] if most > 0 and peers > most else []
    return DoesNotFit(
        f"a first area of {in_mib(divider_bytes)} on a disk of {table.disk_bytes // MIB} MiB "
        f"leaves no room for {behind} of at least {in_mib(_smallest(peers))}",
        hint=f"possible: {' or '.join(advice)}" if advice else "the disk is too small to divide",
    )


def _geometry(length: int, divider: int, share: float | None) -> tuple[Geometry, int]:
    """The segments' geometry and the limit of the first area (see `SecondArea`)."""
    lower = max(LOWER_AT_MOST_BYTES, divider // LOWER_AT_MOST_DIVISOR)
    wanted = plan_geometry(length, share) if share is not None else geometry_for(length, divider)
    if wanted.data_bytes >= divider - lower:
        return wanted, min(divider, wanted.data_bytes)
    least = geometry_with_ring(length, smallest_ring(length))
    if share is not None and least.data_bytes >= divider - lower:
        spare = least.ring_bytes + least.data_bytes - (divider - lower)
        most = spare * 100 // length
        raise DoesNotFit(
            f"a history share of {share:.0%} leaves {in_mib(wanted.data_bytes)} of each segment of "
            f"{in_mib(length)} for a first area of {in_mib(divider)}",
            hint=f"use a smaller first area, fewer peers, or a share of at most {most}%",
        )
    return (plan_geometry(length) if share is None else wanted), divider


def _free_numbers(table: Table, count: int) -> list[int]:
    used = {p.number for p in table.partitions}
    if table.kind is TableKind.MBR:
        first = max(used | {FIRST_LOGICAL - 1}) + 1
        return list(range(first, first + count))
    above = range(max(used, default=0) + 1, table.entry_count + 1)
    if len(above) >= count:
        return list(above[:count])
    free = [n for n in range(1, table.entry_count + 1) if n not in used]
    if len(free) < count:
        raise TableUnsupported(
            f"the table has {len(free)} free entries of {table.entry_count}, {count} are needed",
            hint="use fewer peers, or enlarge the table, for example with sgdisk --resize-table",
        )
    return free[:count]
