"""An epoch of a segment for somebody who reads it while the next one may be on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from blockrep.chunks import PAGE_BYTES, RootHasher, map_pages, page_is_sound
from blockrep.errors import RecordDamaged
from blockrep.segment.content import ChunkBlocks
from blockrep.segment.epoch import Epoch

_PIECE_PAGES = 256


class ContentSource(Protocol):
    """What a reader needs of the store: the content as it is at the moment of each call."""

    def map_pages(self, first: int, count: int, epoch_id: bytes | None) -> bytes: ...
    def blocks_of(self, epoch_id: bytes, items: Sequence[tuple[int, int]]) -> ChunkBlocks: ...


class EpochReader:
    """Reads one epoch; `NoSuchEpoch` from any call once it has fallen out (a pin prevents that).

    Nothing of it is trusted: blocks come with whether their chunk has its digest, and `verify`
    says whether the map is the one that the owner has signed.
    """

    def __init__(self, source: ContentSource, record: bytes, epoch: Epoch) -> None:
        self.record = record
        self.epoch = epoch
        self._source = source

    def map_pages(self, first: int, count: int) -> bytes:
        """At most 256 pages of the chunk map; `ProtocolError` for pages that are not there."""
        return self._source.map_pages(first, count, self.epoch.id)

    def read(self, items: Sequence[tuple[int, int]]) -> ChunkBlocks:
        """Blocks of at most 64 ascending chunks, given as `(chunk, mask of wanted blocks)`."""
        return self._source.blocks_of(self.epoch.id, items)

    def verify(self) -> None:
        """`RecordDamaged` unless the map is sound and has the root of the epoch's record."""
        hasher = RootHasher(self.epoch.content_bytes)
        total = map_pages(self.epoch.content_bytes)
        for first in range(0, total, _PIECE_PAGES):
            pages = self.map_pages(first, min(_PIECE_PAGES, total - first))
            for at in range(0, len(pages), PAGE_BYTES):
                if not page_is_sound(pages[at : at + PAGE_BYTES], first + at // PAGE_BYTES):
                    raise self._damaged()
            hasher.update(pages)
        if hasher.finish() != self.epoch.root:
            raise self._damaged()

    def _damaged(self) -> RecordDamaged:
        return RecordDamaged(
            f"epoch {self.epoch.number} is damaged: its chunk map does not have the signed root"
        )
