"""The content of an epoch: from the ring what was written over since, else from the data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from blockrep.chunks import (
    ENTRIES_PER_PAGE,
    Entry,
    page_is_sound,
    pick_blocks,
    seal_page,
    set_entry,
)
from blockrep.disk.device import new_buffer
from blockrep.errors import ProtocolError
from blockrep.segment.chunk_map import ChunkMap
from blockrep.segment.geometry import BLOCK_BYTES, CHUNK_BYTES, MAP_PAGE_BYTES
from blockrep.segment.mend import agreeing_slots
from blockrep.segment.part import SegmentPart
from blockrep.segment.ring import Ring
from blockrep.segment.runs import block_runs
from blockrep.segment.undo import read_pieces
from blockrep.segment.version_index import VersionIndex

MAX_READ_CHUNKS = 64
_ALL_BLOCKS = 0xFFFF


class ChunkBlocks(NamedTuple):
    """What was read: the blocks asked for, packed, and for each chunk whether it is damaged."""

    blocks: bytes
    damaged: list[bool]


class Content:
    """One epoch of a segment; `index` None for the one that map and data hold as they are."""

    def __init__(
        self, part: SegmentPart, ring: Ring, chunk_map: ChunkMap, index: VersionIndex | None
    ) -> None:
        self._part = part
        self._ring = ring
        self._map = chunk_map
        self._index = index
        self._slots = new_buffer(MAX_READ_CHUNKS * CHUNK_BYTES)
        self._piece = new_buffer(CHUNK_BYTES)

    def map_pages(self, first: int, count: int) -> bytes:
        """Pages of the map; one that is damaged on the disk is so in the answer."""
        pages = self._map.read(first, count)
        if self._index is not None:
            start = first * ENTRIES_PER_PAGE
            chunks = self._part.geometry.data_bytes // CHUNK_BYTES
            named = self._index.named(start, min(count * ENTRIES_PER_PAGE, chunks - start))
            self._overlay(pages, first, named, self._index)
        return bytes(pages)

    def read(self, items: Sequence[tuple[int, int]]) -> ChunkBlocks:
        """Blocks of ascending chunks, each checked with its whole chunk against its digest.

        `ProtocolError` for more than `MAX_READ_CHUNKS`, chunks out of order, or blocks that the
        epoch does not have.
        """
        chunks = [chunk for chunk, _ in items]
        self._check(chunks)
        slots = self._slots[: len(chunks) * CHUNK_BYTES]
        self._part.read_slots(chunks, slots)
        entries = self._entries(chunks)
        for index, chunk in enumerate(chunks):
            if self._index is not None and self._index.names(chunk):
                self._fill(chunk, self._index, slots[index * CHUNK_BYTES :][:CHUNK_BYTES])
        for (chunk, wanted), entry in zip(items, entries, strict=True):
            if wanted & ~entry.mask:
                raise ProtocolError(f"chunk {chunk} does not have all of these blocks")
        good = agreeing_slots(entries, slots)
        wanted_masks = [wanted for _, wanted in items]
        blocks = pick_blocks([_ALL_BLOCKS] * len(items), wanted_masks, slots)
        return ChunkBlocks(blocks, [not agrees for agrees in good])

    def _check(self, chunks: list[int]) -> None:
        count = self._part.geometry.data_bytes // CHUNK_BYTES
        ascending = all(a < b for a, b in pairwise(chunks))
        fits = not chunks or (ascending and chunks[0] >= 0 and chunks[-1] < count)
        if len(chunks) > MAX_READ_CHUNKS or not fits:
            raise ProtocolError(f"{len(chunks)} chunks that are out of order or not there")

    def _entries(self, chunks: list[int]) -> list[Entry]:
        entries = self._map.entries(chunks)
        if self._index is None:
            return entries
        old = self._index.old_chunks([chunk for chunk in chunks if self._index.names(chunk)])
        return [
            Entry(old[chunk].mask, old[chunk].kept, old[chunk].digest) if chunk in old else entry
            for chunk, entry in zip(chunks, entries, strict=True)
        ]

    def _fill(self, chunk: int, index: VersionIndex, slot: memoryview) -> None:
        """Put the blocks that are in the ring over those that lie in the data now."""
        pieces = index.old_chunks([chunk])[chunk].pieces
        for blocks, start in read_pieces(self._ring, pieces, self._piece):
            for first, count in block_runs(blocks):
                length = count * BLOCK_BYTES
                place = first * BLOCK_BYTES
                slot[place : place + length] = self._piece[start : start + length]
                start += length

    def _overlay(self, pages: bytearray, first: int, named: list[int], index: VersionIndex) -> None:
        sound: dict[int, bool] = {}
        for chunk, old in index.old_chunks(named).items():
            number = chunk // ENTRIES_PER_PAGE
            if number not in sound:
                at = (number - first) * MAP_PAGE_BYTES
                sound[number] = page_is_sound(pages[at : at + MAP_PAGE_BYTES], number)
            set_entry(pages, first, chunk, Entry(old.mask, 0, old.digest))
        for number in (number for number, good in sound.items() if good):
            # A page that was not sound is not made to look so: its other entries may be wrong.
            at = (number - first) * MAP_PAGE_BYTES
            seal_page(memoryview(pages)[at : at + MAP_PAGE_BYTES])


def check_range(first: int, count: int, pages: int, most: int) -> None:
    """`ProtocolError` unless the pages are there and not too many."""
    if not (first >= 0 and 0 < count <= most and first + count <= pages):
        raise ProtocolError(f"{count} map pages from {first} on: there are {pages}")
