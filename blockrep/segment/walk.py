"""From batch to batch of the history ring.

After a cut nobody knows where the batches of the unfinished epoch end: `unfinished_batches` finds
out, and looks at every byte. Where the end is known, `known_batches` reads the headers alone: what
they lead to is checked against the signed epoch when it is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from blockrep.disk.device import new_buffer
from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.segment.assignment import NO_POSITION
from blockrep.segment.batch import (
    MAX_ENTRIES,
    Batch,
    BatchHasher,
    BatchKind,
    OldEntry,
    header_pages_for,
    parse_batch,
    parse_entries,
    parse_epoch_record,
)
from blockrep.segment.geometry import BLOCK_BYTES
from blockrep.segment.part import PIECE_BYTES
from blockrep.segment.ring import Ring

NOT_A_BATCH = (RecordDamaged, RecordUnsupported, struct.error)


class Found(NamedTuple):
    """A batch with its entries; none for a batch of kind EPOCH."""

    batch: Batch
    entries: list[OldEntry]


class BatchReader:
    """Reads batches of one segment; its buffer serves one call after the other."""

    def __init__(self, ring: Ring, segment: bytes, chunks: int) -> None:
        self.ring = ring
        self._segment = segment
        self._chunks = chunks
        self._header = new_buffer(header_pages_for(MAX_ENTRIES) * BLOCK_BYTES)
        self._piece: memoryview | None = None

    def head(self, position: int) -> Batch:
        """The batch at a position; `RecordDamaged` where none is."""
        page = self._header[:BLOCK_BYTES]
        self.ring.read(position, page)
        batch = parse_batch(page, self.ring.pages)
        if batch.position != position or batch.segment != self._segment:
            raise RecordDamaged(f"no batch of this segment is at {position}")
        return batch

    def found(self, position: int) -> Found:
        """The same with its entries."""
        batch = self.head(position)
        return Found(batch, self.entries(batch))

    def entries(self, batch: Batch) -> list[OldEntry]:
        """The entries of the batch whose head was read last."""
        if batch.kind is BatchKind.EPOCH:
            return []
        header = self._header[: batch.header_pages * BLOCK_BYTES]
        self.ring.read(batch.position, header)
        return parse_entries(batch, header, self._chunks)

    def epoch_batch(self, position: int) -> tuple[Batch, bytes]:
        """A batch of kind EPOCH, checked, and its record."""
        batch = self.head(position)
        if batch.kind is not BatchKind.EPOCH or not self.is_whole(batch):
            raise RecordDamaged(f"the batch at {position} does not lead to an epoch")
        return batch, parse_epoch_record(self._header)

    def is_whole(self, batch: Batch) -> bool:
        """Whether every byte of it has the batch's digest; reads all of it."""
        first = new_buffer(BLOCK_BYTES)
        self.ring.read(batch.position, first)
        hasher = BatchHasher(first)
        if self._piece is None:
            self._piece = new_buffer(PIECE_BYTES)
        at = batch.position + 1
        while at < batch.end:
            piece = self._piece[: (batch.end - at) * BLOCK_BYTES]
            self.ring.read(at, piece)
            hasher.update(piece)
            at += len(piece) // BLOCK_BYTES
        return hasher.finish() == batch.digest


def unfinished_batches(
    reader: BatchReader, head: int, limit: int, chain: bytes, applying: bytes
) -> Iterator[Found]:
    """The batches of an epoch that was cut: as long as they fit each other and are whole.

    A batch that does not fit was never flushed, so that none of its chunks was written over. (If
    it was flushed and rotted since, the epoch below has another root than its record says.)
    """
    while head < limit:
        try:
            batch = reader.head(head)
            fits = batch.applying == applying and batch.chain == chain and batch.end <= limit
            if not fits or not reader.is_whole(batch):
                return
            found = Found(batch, reader.entries(batch))
        except NOT_A_BATCH:
            return
        yield found
        head, chain = batch.end, batch.digest


def known_batches(reader: BatchReader, start: int, end: int) -> Iterator[Found]:
    """The batches from `start` to `end`; `RecordDamaged` when they do not lead there."""
    chain = None
    while start < end:
        try:
            found = reader.found(start)
        except NOT_A_BATCH as error:
            raise RecordDamaged(f"the history ring is damaged at {start}: {error}") from error
        if found.batch.end > end or chain not in (None, found.batch.chain):
            raise RecordDamaged(f"the history ring is damaged at {start}: a link is broken")
        yield found
        start, chain = found.batch.end, found.batch.digest


def previous_epoch_batches(
    reader: BatchReader, newest: int, tail: int
) -> Iterator[tuple[Batch, bytes]]:
    """The epoch batches from the newest to the tail; `RecordDamaged` where one is not whole."""
    at = newest
    while at != NO_POSITION and at >= tail:
        try:
            batch, record = reader.epoch_batch(at)
        except NOT_A_BATCH as error:
            raise RecordDamaged(f"the history ring is damaged at {at}: {error}") from error
        yield batch, record
        at = batch.before
