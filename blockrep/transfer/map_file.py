"""A chunk map in a file without a name, mapped: it may be large, and little of it in memory.

The map of 100 GiB has 64 MiB. It is looked at in the order of the disk, so what lies behind is let
go of; the file keeps it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blockrep.chunks import ENTRIES_PER_PAGE, PAGE_BYTES, RootHasher, clear_pages, map_pages
from blockrep.closing import Closing
from blockrep.errors import DeviceIO

PIECE_PAGES = 256
# What one reader leaves in memory behind it, 2 MiB of the map.
TRAIL_PAGES = 512


class MapFile(Closing):
    """Pages for at least `content_bytes`, all empty at first. `view` is all of them."""

    def __init__(self, folder: Path, content_bytes: int) -> None:
        """The file lies in `folder`, and is gone when it is closed, or the process ends.

        `DeviceIO` when there is no room for it.
        """
        self.pages = max(1, map_pages(content_bytes))
        try:
            self._map = _map_file(folder, self.pages * PAGE_BYTES)
        except OSError as error:
            raise DeviceIO(
                f"no chunk map of {self.pages * PAGE_BYTES} bytes in {folder}: {error.strerror}"
            ) from error
        self.view = memoryview(self._map)
        for first, piece in self.pieces(self.pages):
            clear_pages(piece, first)

    def close(self) -> None:
        """Let go of the pages; nobody may use `view` after this."""
        self.view.release()
        # A piece that somebody still looks at, an error's trace above all, keeps the mapping.
        with contextlib.suppress(BufferError):
            self._map.close()

    def content(self, content_bytes: int) -> memoryview:
        """The pages of so much content, which is at most what the map was made for."""
        return self.view[: map_pages(content_bytes) * PAGE_BYTES]

    def pieces(self, pages: int) -> Iterator[tuple[int, memoryview]]:
        """The first pages in pieces, with the number of the first page of each.

        A piece is let go of from memory when the next one is asked for.
        """
        for first in range(0, pages, PIECE_PAGES):
            end = min(first + PIECE_PAGES, pages)
            yield first, self.view[first * PAGE_BYTES : end * PAGE_BYTES]
            self.forget(first, end)

    def root(self, content_bytes: int) -> bytes:
        """The root of the map of so much content."""
        hasher = RootHasher(content_bytes)
        for _, piece in self.pieces(map_pages(content_bytes)):
            hasher.update(piece)
        return hasher.finish()

    def forget(self, first: int, end: int) -> None:
        """Let go of the memory of these pages; the file still has them, for whoever looks again."""
        if end > first:
            self._map.madvise(mmap.MADV_DONTNEED, first * PAGE_BYTES, (end - first) * PAGE_BYTES)


class Trail:
    """One thread's way through a map from its first chunk on: what lies behind it is forgotten."""

    def __init__(self, file: MapFile) -> None:
        self._file = file
        self._begin = 0

    def passed(self, chunk: int) -> None:
        """This thread will not look at what lies before this chunk any more."""
        page = chunk // ENTRIES_PER_PAGE
        if page - self._begin >= TRAIL_PAGES:
            self._file.forget(self._begin, page)
            self._begin = page


def _map_file(folder: Path, length_bytes: int) -> mmap.mmap:
    fd, name = tempfile.mkstemp(prefix="map-", dir=folder)
    try:
        Path(name).unlink()
        # With its room: where the disk is full, writing to a mapped hole would end the process.
        os.posix_fallocate(fd, 0, length_bytes)
        return mmap.mmap(fd, length_bytes)
    finally:
        os.close(fd)
