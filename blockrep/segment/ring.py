"""Where the pages of the history ring lie, and how they are read and written.

A *position* counts pages and only grows. The guard page, where it lies in the ring, is none.
"""

from __future__ import annotations

from collections.abc import Iterator

from blockrep.segment.geometry import BLOCK_BYTES, Geometry
from blockrep.segment.header import GUARD_PAGE_OFFSET
from blockrep.segment.part import SegmentPart

# A new assignment begins at a position that no batch before it can have: batches of an earlier one
# that still lie in the ring are never taken for its own.
_ASSIGNMENT_SHIFT = 40
_ASSIGNMENTS = 1 << 20


def first_position(generation: int) -> int:
    """Where the ring of a segment begins that was assigned by the header of this generation."""
    return generation % _ASSIGNMENTS << _ASSIGNMENT_SHIFT


class Ring:
    """The ring of one segment."""

    def __init__(self, part: SegmentPart) -> None:
        self._part = part
        self._offset = part.geometry.ring_offset
        whole = part.geometry.ring_bytes // BLOCK_BYTES
        guard = (GUARD_PAGE_OFFSET - self._offset) // BLOCK_BYTES
        has_guard = 0 <= guard < whole
        self.pages = whole - has_guard
        self._guard = guard if has_guard else whole

    def read(self, position: int, view: memoryview) -> None:
        """Whole pages from this position on; `DeviceIO`."""
        for offset, piece in self._pieces(position, view):
            self._part.read(offset, piece)

    def write(self, position: int, view: memoryview) -> None:
        """The opposite; not durable before a flush."""
        for offset, piece in self._pieces(position, view):
            self._part.write(offset, piece)

    def _pieces(self, position: int, view: memoryview) -> Iterator[tuple[int, memoryview]]:
        """The view in parts, each with its place in the segment."""
        done = 0
        while done < len(view):
            page = (position + done // BLOCK_BYTES) % self.pages
            limit = self._guard if page < self._guard else self.pages
            length = min((limit - page) * BLOCK_BYTES, len(view) - done)
            place = page if page < self._guard else page + 1
            yield self._offset + place * BLOCK_BYTES, view[done : done + length]
            done += length


def ring_pages(geometry: Geometry) -> int:
    """How many pages the ring of a segment has."""
    guard = geometry.ring_offset <= GUARD_PAGE_OFFSET < geometry.data_offset
    return geometry.ring_bytes // BLOCK_BYTES - guard
