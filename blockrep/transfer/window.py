"""A piece of the disk on its way to several holders: read, digested and encoded once for all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import accumulate

from blockrep.chunks import BLOCK_BYTES, SHORT_DIGEST_BYTES, pick_blocks, short_digests
from blockrep.transfer.bulk import Encoded, encode_blocks


class Window:
    """At most 16 chunks from `first_chunk` on; `blocks` are those of `masks`, packed.

    Chunks that no holder needs have mask 0. Shared by the threads of all holders, read only.
    """

    def __init__(self, first_chunk: int, masks: Sequence[int], blocks: bytes) -> None:
        self.first_chunk = first_chunk
        self.masks = tuple(masks)
        self.blocks = blocks
        counts = accumulate((mask.bit_count() for mask in masks), initial=0)
        self._at = [count * BLOCK_BYTES for count in counts]
        self._lock = threading.Lock()
        self._encoded: Encoded | None = None
        self._short: tuple[bytes, bytes] | None = None

    @property
    def end_chunk(self) -> int:
        return self.first_chunk + len(self.masks)

    def chunk_blocks(self, index: int) -> memoryview:
        """The blocks of one chunk, packed."""
        return memoryview(self.blocks)[self._at[index] : self._at[index + 1]]

    def pick(self, index: int, wanted: int) -> bytes:
        """Of one chunk the blocks of `wanted`, a part of its mask."""
        return pick_blocks((self.masks[index],), (wanted,), self.chunk_blocks(index))

    def short(self, index: int, salt: bytes) -> bytes:
        """The short digests of a chunk's blocks."""
        with self._lock:
            if self._short is None or self._short[0] != salt:
                self._short = (salt, short_digests(salt, self.blocks))
            digests = self._short[1]
        start, end = (at // BLOCK_BYTES * SHORT_DIGEST_BYTES for at in self._at[index : index + 2])
        return digests[start:end]

    def encoded(self, *, packable: bool) -> Encoded:
        """All blocks as they travel; whoever asks first does the work."""
        with self._lock:
            if self._encoded is None:
                self._encoded = encode_blocks(self.blocks, packable=packable)
            return self._encoded
