"""Half-open extents and their algebra, as plain values.

An extent is `start, length` in a unit that the caller's names say (blocks or bytes). A *normal*
list is sorted, without empty, touching or overlapping items; every function returns normal lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Extent(NamedTuple):
    """The run `[start, start + length)`."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


def normalise(extents: Iterable[Extent]) -> list[Extent]:
    """Sort, drop what is empty, join what touches or overlaps."""
    result: list[Extent] = []
    for start, length in sorted(e for e in extents if e.length > 0):
        if result and start <= result[-1].end:
            last = result[-1]
            result[-1] = Extent(last.start, max(last.end, start + length) - last.start)
        else:
            result.append(Extent(start, length))
    return result


def union(a: Iterable[Extent], b: Iterable[Extent]) -> list[Extent]:
    """What is in either."""
    return normalise([*a, *b])


def intersect(a: Iterable[Extent], b: Iterable[Extent]) -> list[Extent]:
    """What is in both."""
    left, right = normalise(a), normalise(b)
    result: list[Extent] = []
    i = j = 0
    while i < len(left) and j < len(right):
        start = max(left[i].start, right[j].start)
        end = min(left[i].end, right[j].end)
        if start < end:
            result.append(Extent(start, end - start))
        if left[i].end < right[j].end:
            i += 1
        else:
            j += 1
    return result


def subtract(a: Iterable[Extent], b: Iterable[Extent]) -> list[Extent]:
    """What is in `a` and not in `b`."""
    holes = normalise(b)
    result: list[Extent] = []
    j = 0
    for start, length in normalise(a):
        at, end = start, start + length
        while j < len(holes) and holes[j].end <= at:
            j += 1
        k = j
        while k < len(holes) and holes[k].start < end:
            if holes[k].start > at:
                result.append(Extent(at, holes[k].start - at))
            at = max(at, holes[k].end)
            k += 1
        if at < end:
            result.append(Extent(at, end - at))
    return result


def total(extents: Iterable[Extent]) -> int:
    """The sum of the lengths of a normal list."""
    return sum(e.length for e in extents)


def scale(extents: Iterable[Extent], factor: int, offset: int = 0) -> list[Extent]:
    """Change the unit (blocks to bytes, say) and then shift."""
    return [Extent(start * factor + offset, length * factor) for start, length in extents]


def round_up(value: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below `value`."""
    return -(-value // unit) * unit


def round_down(value: int, unit: int) -> int:
    """The largest multiple of `unit` that is not above `value`."""
    return value // unit * unit
