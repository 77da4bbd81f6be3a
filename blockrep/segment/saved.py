"""Which blocks of which chunks the epoch that is being applied has saved.

The first old copy of a block is the one that counts, so each is saved once; a block that was not
stored before the epoch is never saved, whatever the epoch itself has written there.
"""

from __future__ import annotations

from blockrep.segment.batch import OldEntry
from blockrep.segment.sparse import sparse_array


class SavedBlocks:
    """Four bytes per chunk, of which only those of named chunks take memory."""

    def __init__(self, chunks: int) -> None:
        self._to_save = sparse_array("H", chunks)  # still to be saved when written over
        self._named = sparse_array("B", chunks)

    def is_named(self, chunk: int) -> bool:
        """Whether the ring has what the chunk was before this epoch."""
        return bool(self._named[chunk])

    def to_save(self, chunk: int) -> int:
        """The blocks of a named chunk that lie where they lay before the epoch."""
        return int(self._to_save[chunk])

    def add(self, entry: OldEntry, needed: int) -> None:
        """An entry is in the ring; `needed` are the blocks that had to be kept before it."""
        if not self._named[entry.chunk]:
            self._named[entry.chunk] = 1
            self._to_save[entry.chunk] = needed
        self._to_save[entry.chunk] &= ~entry.saved
