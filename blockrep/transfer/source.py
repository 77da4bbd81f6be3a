"""Where an epoch comes from: a segment of this machine, or a holder at the other end of a wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from blockrep.chunks import CHUNK_BYTES, ENTRIES_PER_PAGE, RootHasher, chunk_count, map_pages
from blockrep.errors import ReplicaDamaged
from blockrep.segment.content import ChunkBlocks
from blockrep.segment.epoch import Epoch

WINDOW_PAGES = 256
WINDOW_CHUNKS = WINDOW_PAGES * ENTRIES_PER_PAGE
READ_CHUNKS = 64
"""As many chunks as one `read` takes: the cap of the wire's READ."""


class EpochSource(Protocol):
    """One epoch of one owner, blocks as they are stored."""

    @property
    def epoch(self) -> Epoch:
        """Its record; the signature was checked by whoever made this source."""

    def map_pages(self, first: int, count: int) -> bytes:
        """So many pages of the chunk map; at most `WINDOW_PAGES`."""

    def read(self, items: Sequence[tuple[int, int]]) -> ChunkBlocks:
        """The blocks of (chunk, mask) of each item, and which chunks are damaged.

        At most `READ_CHUNKS` items with ascending chunks; each mask is a part of the map's. What
        stands in the place of a damaged chunk is undefined, and has its length. A chunk that is
        read whole was compared with its digest.
        """


class CheckedMap:
    """The masks of an epoch, as far as its signed root vouches for them.

    The whole map is looked at once, a window at a time; what is asked for later is compared with
    what was seen then, so that memory does not grow with the map but by 32 bytes a window.
    """

    def __init__(self, source: EpochSource) -> None:
        """`ReplicaDamaged` when the map is not the one that the owner signed."""
        self._source = source
        self._content_bytes = source.epoch.content_bytes
        self._pages = map_pages(self._content_bytes)
        self.chunks = chunk_count(self._content_bytes)
        self._windows: list[bytes] = []
        whole = RootHasher(self._content_bytes)
        for window in range(self.windows):
            pages = self._fetch(window)
            whole.update(pages)
            self._windows.append(self._digest(window, pages))
        if whole.finish() != source.epoch.root:
            raise ReplicaDamaged(
                f"the chunk map of epoch {source.epoch.number} is not the one that was signed",
                hint="take another epoch, or another holder's copy",
            )

    @property
    def windows(self) -> int:
        return -(-self._pages // WINDOW_PAGES)

    def pages(self, window: int) -> bytes:
        """The pages of a window, with masks and digests as they were signed."""
        pages = self._fetch(window)
        if self._digest(window, pages) != self._windows[window]:
            raise ReplicaDamaged("the chunk map has changed while it was read")
        return pages

    def masks(self, window: int) -> list[int]:
        """The masks of `WINDOW_CHUNKS` chunks (fewer in the last window)."""
        return _masks_of(self.pages(window))[: self._chunks_in(window)]

    def _fetch(self, window: int) -> bytes:
        first = window * WINDOW_PAGES
        count = min(WINDOW_PAGES, self._pages - first)
        pages = self._source.map_pages(first, count)
        if len(pages) != count * 4096:
            raise ReplicaDamaged("pages of the chunk map are missing")
        return pages

    def _chunks_in(self, window: int) -> int:
        return min(WINDOW_CHUNKS, self.chunks - window * WINDOW_CHUNKS)

    def _digest(self, window: int, pages: bytes) -> bytes:
        """Over masks and digests alone: what the holder keeps for itself may change."""
        hasher = RootHasher(self._chunks_in(window) * CHUNK_BYTES)
        hasher.update(pages)
        return hasher.finish()


def _masks_of(pages: bytes) -> list[int]:
    """The masks of whole pages: every twentieth of the 16-bit numbers, behind eight of the page."""
    numbers = memoryview(pages).cast("H")
    masks: list[int] = []
    for at in range(0, len(numbers), 2048):
        masks += numbers[at + 8 : at + 2048 : 20].tolist()
    return masks
