"""The runs of set bits of a mask."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def block_runs(mask: int) -> tuple[tuple[int, int], ...]:
    """The blocks that a mask names, as `(first, count)`, ascending."""
    found = []
    at = 0
    while mask >> at:
        at += ((mask >> at) & -(mask >> at)).bit_length() - 1
        rest = ~(mask >> at)
        count = (rest & -rest).bit_length() - 1
        found.append((at, count))
        at += count
    return tuple(found)
