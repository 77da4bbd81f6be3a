"""Where the regions of a segment lie (docs/segment-format.md). Pure arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from blockrep.errors import DoesNotFit, UsageError

MIB = 1 << 20
CHUNK_BYTES = 64 << 10
BLOCK_BYTES = 4096
MAP_ENTRY_BYTES = 40
MAP_PAGE_BYTES = 4096
MAP_PAGE_HEADER_BYTES = 16
ENTRIES_PER_PAGE = (MAP_PAGE_BYTES - MAP_PAGE_HEADER_BYTES) // MAP_ENTRY_BYTES
FRONT_BYTES = 2 * MIB
TAIL_BYTES = MIB
SMALLEST_SEGMENT_BYTES = 8 * MIB
SMALLEST_RING_BYTES = 2 * MIB  # with the map before it, it reaches past the guard page at 4 MiB
RING_SHARE_DIVISOR = 64
DEFAULT_HISTORY_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Geometry:
    """The regions of one segment, in bytes from its start; `data_bytes` is its capacity."""

    segment_bytes: int
    map_offset: int
    map_bytes: int
    ring_offset: int
    ring_bytes: int
    data_offset: int
    data_bytes: int


def plan_geometry(segment_bytes: int, history_share: float | None = None) -> Geometry:
    """The geometry with this share of the segment for history (None: the default).

    `UsageError` for a share outside [0, 1), `DoesNotFit` when the segment is too small or the
    share leaves no data.
    """
    share = DEFAULT_HISTORY_SHARE if history_share is None else history_share
    if not 0 <= share < 1:
        raise UsageError(f"a history share of {share} is not between 0 and 1")
    asked = _round_up(math.ceil(share * segment_bytes), MIB)
    return geometry_with_ring(segment_bytes, max(asked, smallest_ring(segment_bytes)))


def geometry_for(segment_bytes: int, wanted_bytes: int) -> Geometry:
    """The geometry that holds `wanted_bytes` with as much history as there is room for.

    At most the default share, at least the smallest ring; then the data may be smaller than wanted.
    """
    found = plan_geometry(segment_bytes)
    least = smallest_ring(segment_bytes)
    while found.data_bytes < wanted_bytes and found.ring_bytes > least:
        # What the ring gives up is not all data: the map grows with it, hence more than one step.
        lacking = _round_up(wanted_bytes - found.data_bytes, MIB)
        found = geometry_with_ring(segment_bytes, max(least, found.ring_bytes - lacking))
    return found


def geometry_with_ring(segment_bytes: int, ring_bytes: int) -> Geometry:
    """The geometry for a given ring; `DoesNotFit` when no data is left."""
    if segment_bytes % MIB or ring_bytes % MIB or ring_bytes < smallest_ring(segment_bytes):
        raise ValueError("a segment and its ring are whole MiB, the ring not below its minimum")
    rest = segment_bytes - FRONT_BYTES - ring_bytes - TAIL_BYTES
    map_bytes = _map_within(max(rest, 0))
    if segment_bytes < SMALLEST_SEGMENT_BYTES or rest - map_bytes < MIB:
        raise DoesNotFit(
            f"a segment of {segment_bytes // MIB} MiB with {ring_bytes // MIB} MiB of history "
            f"has no room for data (a segment has at least {SMALLEST_SEGMENT_BYTES // MIB} MiB)"
        )
    ring_offset = FRONT_BYTES + map_bytes
    data_offset = ring_offset + ring_bytes
    return Geometry(
        segment_bytes=segment_bytes,
        map_offset=FRONT_BYTES,
        map_bytes=map_bytes,
        ring_offset=ring_offset,
        ring_bytes=ring_bytes,
        data_offset=data_offset,
        data_bytes=segment_bytes - TAIL_BYTES - data_offset,
    )


def _map_within(rest_bytes: int) -> int:
    """The shortest map for the data that is left beside it in `rest_bytes`."""
    found = map_bytes_for(max(rest_bytes - map_bytes_for(rest_bytes), 0))
    while map_bytes_for(max(rest_bytes - found, 0)) > found:
        found += MIB
    return found


def smallest_ring(segment_bytes: int) -> int:
    """What an epoch needs to be applied atomically, even without any older version."""
    return max(SMALLEST_RING_BYTES, _round_up(-(-segment_bytes // RING_SHARE_DIVISOR), MIB))


def map_bytes_for(data_bytes: int) -> int:
    """The length of a chunk map for so much data, in whole MiB."""
    chunks = -(-data_bytes // CHUNK_BYTES)
    return _round_up(-(-chunks // ENTRIES_PER_PAGE) * MAP_PAGE_BYTES, MIB)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
