"""Any bytes of an epoch's disk, through a small cache."""

from __future__ import annotations

import threading
from collections import OrderedDict

from blockrep.chunks import CHUNK_BYTES
from blockrep.disk.partition import Table
from blockrep.disk.table import read_standing_table
from blockrep.segment.epoch import Epoch
from blockrep.transfer.plain import PlainEpoch, refuse_damaged
from blockrep.transfer.source import READ_CHUNKS

CACHE_CHUNKS = 256  # 16 MiB
LEAST_AHEAD = 4


class View:
    """The owner's disk as it was, read-only: what is not stored reads as zeros.

    Any thread may read; they wait for each other. What is read in order is fetched ahead, because
    a holder at the other end of a wire answers many chunks as fast as one.
    """

    def __init__(self, plain: PlainEpoch, cache_chunks: int = CACHE_CHUNKS) -> None:
        self._plain = plain
        self._lock = threading.Lock()
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._room = max(cache_chunks, READ_CHUNKS)
        self._buffer = memoryview(bytearray(READ_CHUNKS * CHUNK_BYTES))
        self._ahead = LEAST_AHEAD
        self._next = -1
        self.epoch: Epoch = plain.epoch
        self.size_bytes = plain.epoch.disk_bytes

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly so many bytes; `ReplicaDamaged` names the place of a chunk that no holder has."""
        if offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            raise ValueError("a read outside the disk")
        result = bytearray(length_bytes)
        end = offset_bytes + length_bytes
        with self._lock:
            for chunk in range(offset_bytes // CHUNK_BYTES, -(-end // CHUNK_BYTES)):
                start = chunk * CHUNK_BYTES
                low, high = max(start, offset_bytes), min(start + CHUNK_BYTES, end)
                data = self._chunk(chunk)
                if data is not None:
                    piece = data[low - start : high - start]
                    result[low - offset_bytes : high - offset_bytes] = piece
        return bytes(result)

    def table(self) -> Table:
        """The owner's partition table, of which only the first area is stored."""
        with self._lock:
            return read_standing_table(self._plain, self.epoch.content_bytes)

    def _chunk(self, number: int) -> bytes | None:
        """The content of a chunk; None for one that is empty."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        if not self._plain.masks(number, 1)[0]:
            return None
        found = self._fetch(number)
        if found is None:
            refuse_damaged(self.epoch, [number])
        return found

    def _fetch(self, first: int) -> bytes | None:
        """This chunk, and with it what may be asked for next; None when it is damaged."""
        in_order = first == self._next
        self._ahead = min(2 * self._ahead, READ_CHUNKS) if in_order else LEAST_AHEAD
        self._next = first + self._ahead
        masks = self._plain.masks(first, self._ahead)
        wanted = [
            (first + index, mask)
            for index, mask in enumerate(masks)
            if mask and first + index not in self._cache
        ]
        chunks = self._plain.load([n for n, _ in wanted], [m for _, m in wanted], self._buffer)
        for index, number in enumerate(chunks.numbers):
            if number not in chunks.damaged:
                place = index * CHUNK_BYTES
                self._cache[number] = bytes(chunks.data[place : place + CHUNK_BYTES])
        found = self._cache.get(first)
        while len(self._cache) > self._room:
            self._cache.popitem(last=False)
        return found
