"""The writes that make a new second area."""

from __future__ import annotations

from blockrep.disk.area import Area, fresh_area_writes
from blockrep.disk.writes import Write
from blockrep.segment.header import segment_writes

RESERVE_FRONT_BYTES = 1 << 20


def second_area_writes(area: Area) -> tuple[Write, ...]:
    """Everything that a new second area needs; writing it twice changes nothing."""
    headers = [w for s in area.segments for w in segment_writes(s, area.instance_id)]
    writes = [*fresh_area_writes(area), *headers]
    if area.reserve:
        # A backup superblock of the old filesystem, locked at that, may lie right at its start.
        start, length = area.reserve
        writes.append(Write(start, bytes(min(length, RESERVE_FRONT_BYTES))))
    return tuple(writes)
