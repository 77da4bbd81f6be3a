"""Where the content of an older version lies: in the ring what was written over, else in the data.

Of each chunk that a batch names since, the first entry tells what it was; each of its blocks is in
the first entry that saved it, or was never written over. The index has ten bytes per chunk, of
which only those of named chunks take memory.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from blockrep.segment.batch import OldEntry
from blockrep.segment.sparse import sparse_array
from blockrep.segment.walk import BatchReader, known_batches

_ENTRY_BITS = 8
_MOST_REMEMBERED = 128  # batches whose entries stay in memory


class Piece(NamedTuple):
    """Blocks of a chunk that lie in the ring, ascending from this position on."""

    position: int
    blocks: int


class OldChunk(NamedTuple):
    """A chunk as it was: its entry, and where of its blocks those are that were written over."""

    mask: int
    kept: int
    digest: bytes
    pieces: list[Piece]  # those that come first count


class VersionIndex:
    """What the batches from `start` on say of the epoch that they lead back to."""

    def __init__(self, reader: BatchReader, start: int, chunks: int) -> None:
        self.start = start
        self.end = start
        self._reader = reader
        self._batches = array("Q")
        self._first = sparse_array("Q", chunks)  # of the first entry: its place, plus 1
        self._missing = sparse_array("H", chunks)  # blocks of the chunk in no entry so far
        self._more: dict[int, list[int]] = {}
        self._remembered: dict[int, tuple[int, list[OldEntry]]] = {}

    def extend(self, end: int) -> None:
        """Take in the batches up to `end`; `RecordDamaged` when they do not lead there."""
        for batch, entries in known_batches(self._reader, self.end, end):
            self.add(batch.position, entries)
            self.end = batch.end

    def add(self, position: int, entries: list[OldEntry]) -> None:
        """Take in one batch, the next one."""
        place = len(self._batches) << _ENTRY_BITS
        self._batches.append(position)
        first, missing = self._first, self._missing
        for index, entry in enumerate(entries):
            chunk = entry.chunk
            if not first[chunk]:
                first[chunk] = place + index + 1
                missing[chunk] = (entry.mask | entry.kept) & ~entry.saved
            elif missing[chunk] & entry.saved:
                missing[chunk] &= ~entry.saved
                self._more.setdefault(chunk, []).append(place + index)

    def names(self, chunk: int) -> bool:
        """Whether a batch names the chunk: it may have changed since."""
        return bool(self._first[chunk])

    def named(self, start: int, count: int) -> list[int]:
        """The chunks of a range that batches name, ascending."""
        places = self._first[start : start + count]
        if not places.tobytes().strip(b"\0"):
            return []
        return [start + index for index, place in enumerate(places) if place]

    def old_chunks(self, chunks: list[int]) -> dict[int, OldChunk]:
        """What these named chunks were; `RecordDamaged`, `DeviceIO`."""
        return {chunk: self._old_chunk(chunk) for chunk in chunks}

    def _old_chunk(self, chunk: int) -> OldChunk:
        found = self._entries_of(chunk)
        _, first = found[0]
        pieces = [Piece(position, entry.saved) for position, entry in found if entry.saved]
        return OldChunk(first.mask, first.kept, first.digest, pieces)

    def _entries_of(self, chunk: int) -> list[tuple[int, OldEntry]]:
        """The entries that matter of a chunk, each with the position of its content."""
        places = [self._first[chunk] - 1, *self._more.get(chunk, ())]
        return [self._entry(place) for place in places]

    def _entry(self, place: int) -> tuple[int, OldEntry]:
        position = self._batches[place >> _ENTRY_BITS]
        if position not in self._remembered:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            batch, entries = self._reader.found(position)
            self._remembered[position] = (batch.position + batch.header_pages, entries)
        content, entries = self._remembered[position]
        entry = entries[place & (1 << _ENTRY_BITS) - 1]
        return content + entry.first_page, entry
