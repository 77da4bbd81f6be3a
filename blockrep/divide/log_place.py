"""Find room for the log where it neither disturbs anybody nor is disturbed while it is needed."""

from __future__ import annotations

from collections.abc import Sequence

from blockrep.divide.log import MAX_EXTENTS
from blockrep.divide.log_store import ALIGN_BYTES
from blockrep.errors import NoRoomForLog
from blockrep.extents import Extent, round_down, round_up, subtract, total


def place_log(
    needed_bytes: int, candidates: Sequence[tuple[str, Sequence[Extent]]], avoid: Sequence[Extent]
) -> tuple[str, tuple[Extent, ...]]:
    """The first candidate that has room: its name and the extents to use, in bytes.

    `candidates` are named lists in order of preference; `avoid` is what the transaction writes
    itself. `NoRoomForLog` with the numbers when none is large enough.
    """
    largest = 0
    for name, extents in candidates:
        usable = [_aligned(e) for e in subtract(extents, avoid)]
        usable.sort(key=lambda e: -e.length)
        chosen = _take(usable[:MAX_EXTENTS], needed_bytes)
        if chosen:
            return name, chosen
        largest = max(largest, total(usable[:MAX_EXTENTS]))
    raise NoRoomForLog(
        f"the log needs {needed_bytes >> 10} KiB and the best place on this disk has "
        f"{largest >> 10} KiB"
    )


def _aligned(extent: Extent) -> Extent:
    start = round_up(extent.start, ALIGN_BYTES)
    return Extent(start, max(0, round_down(extent.end, ALIGN_BYTES) - start))


def _take(extents: Sequence[Extent], needed: int) -> tuple[Extent, ...]:
    chosen = []
    for extent in extents:
        if needed <= 0 or not extent.length:
            break
        part = Extent(extent.start, min(extent.length, round_up(needed, ALIGN_BYTES)))
        chosen.append(part)
        needed -= part.length
    return tuple(chosen) if needed <= 0 else ()
