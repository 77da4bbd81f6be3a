"""The chunk map on the disk: entries read and changed in pages, pages read and written in runs.

Changed pages stay in memory until `write_changed`, because nothing of them may reach the disk
before the old entries are in the ring (S3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from blockrep.chunks import (
    ENTRIES_PER_PAGE,
    PAGE_BYTES,
    Entry,
    get_entry,
    page_is_sound,
    seal_page,
    set_entry,
)
from blockrep.disk.device import new_buffer
from blockrep.segment.part import PIECE_BYTES, SegmentPart

PIECE_PAGES = PIECE_BYTES // PAGE_BYTES
MOST_CACHED = 2048
_READ_THROUGH = 8  # a gap of so many pages is read along

Mend = Callable[[int, bytearray], None]
"""Make a page whose checksum is wrong sound again: its number and its content."""


class ChunkMap:
    """The map of one segment. `mend` is called for a page whose checksum is wrong."""

    def __init__(self, part: SegmentPart, mend: Mend) -> None:
        self.pages = part.geometry.map_bytes // PAGE_BYTES
        self._part = part
        self._mend = mend
        self._cache: dict[int, bytearray] = {}
        self._changed: set[int] = set()
        self._buffer = new_buffer(PIECE_BYTES)

    def entries(self, chunks: Sequence[int]) -> list[Entry]:
        """The entries of ascending chunks; `DeviceIO`."""
        self._load(sorted({chunk // ENTRIES_PER_PAGE for chunk in chunks}))
        cache = self._cache
        return [
            get_entry(cache[chunk // ENTRIES_PER_PAGE], chunk // ENTRIES_PER_PAGE, chunk)
            for chunk in chunks
        ]

    def set(self, chunk: int, entry: Entry) -> None:
        """Change the entry of a chunk that `entries` was asked for since the last write."""
        page = chunk // ENTRIES_PER_PAGE
        set_entry(self._cache[page], page, chunk, entry)
        self._changed.add(page)

    def write_changed(self) -> None:
        """Seal and write the changed pages; not durable before a flush."""
        for first, count in _runs(sorted(self._changed)):
            for index in range(count):
                page = self._cache[first + index]
                seal_page(page)
                self._buffer[index * PAGE_BYTES : (index + 1) * PAGE_BYTES] = page
            self._part.write(self._offset(first), self._buffer[: count * PAGE_BYTES])
        self._changed.clear()

    def forget(self) -> None:
        """Take nothing in memory for true any more; changes that were not written are lost."""
        self._cache.clear()
        self._changed.clear()

    def read(self, first: int, count: int) -> bytearray:
        """Pages as they lie on the disk, sound or not; `DeviceIO`."""
        pages = bytearray(count * PAGE_BYTES)
        for at in range(0, count, PIECE_PAGES):
            piece = self._buffer[: min(PIECE_PAGES, count - at) * PAGE_BYTES]
            self._part.read(self._offset(first + at), piece)
            pages[at * PAGE_BYTES : at * PAGE_BYTES + len(piece)] = piece
        return pages

    def sound_pages(self) -> Iterator[tuple[int, bytearray]]:
        """All pages of the map in pieces, with the number of the first; damaged ones mended."""
        for first in range(0, self.pages, PIECE_PAGES):
            count = min(PIECE_PAGES, self.pages - first)
            pages = self.read(first, count)
            for index in range(count):
                page = pages[index * PAGE_BYTES : (index + 1) * PAGE_BYTES]
                if not page_is_sound(page, first + index):
                    self._mend_and_write(first + index, page)
                    pages[index * PAGE_BYTES : (index + 1) * PAGE_BYTES] = page
            yield first, pages

    def _mend_and_write(self, number: int, page: bytearray) -> None:
        known = self._cache.get(number) if number not in self._changed else None
        if known is not None:
            page[:] = known  # it rotted since it was read or written
        else:
            self._mend(number, page)
        seal_page(page)
        self._buffer[:PAGE_BYTES] = page
        self._part.write(self._offset(number), self._buffer[:PAGE_BYTES])

    def _load(self, numbers: list[int]) -> None:
        if len(self._cache) > MOST_CACHED:
            kept = self._changed.union(numbers)
            self._cache = {n: page for n, page in self._cache.items() if n in kept}
        missing = [number for number in numbers if number not in self._cache]
        for first, count in _runs(missing, _READ_THROUGH):
            pages = self.read(first, count)
            for index in range(count):
                if first + index in self._cache:
                    continue
                page = pages[index * PAGE_BYTES : (index + 1) * PAGE_BYTES]
                if not page_is_sound(page, first + index):
                    self._mend_and_write(first + index, page)
                self._cache[first + index] = page

    def _offset(self, page: int) -> int:
        return self._part.geometry.map_offset + page * PAGE_BYTES


def _runs(numbers: list[int], gap: int = 1) -> Iterator[tuple[int, int]]:
    """Ascending numbers as `(first, count)`, joined over gaps, none longer than the buffer."""
    at = 0
    while at < len(numbers):
        first = last = numbers[at]
        at += 1
        while at < len(numbers) and numbers[at] - last <= gap:
            if numbers[at] - first >= PIECE_PAGES:
                break
            last = numbers[at]
            at += 1
        yield first, last - first + 1
