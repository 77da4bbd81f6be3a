"""The batches that an epoch adds to the history ring, gathered in memory and written in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from blockrep.disk.device import new_buffer
from blockrep.segment.assignment import NO_POSITION
from blockrep.segment.batch import (
    Batch,
    BatchKind,
    OldEntry,
    build_epoch_batch,
    build_old_batch,
    header_pages_for,
)
from blockrep.segment.geometry import BLOCK_BYTES
from blockrep.segment.ring import Ring

BUFFER_PAGES = 4096 + 256  # what a group can save, and headers


class Stamp(NamedTuple):
    """What both clocks of the holder say."""

    time_s: int
    uptime_s: int


class RingLog:
    """Where the next batch goes; `limit` is the first position that is not free."""

    def __init__(
        self,
        ring: Ring,
        segment: bytes,
        applying: bytes,
        *,
        position: int,
        chain: bytes,
        limit: int,
        stamp: Callable[[], Stamp],
    ) -> None:
        self.position = position
        self.chain = chain
        self.limit = limit
        self._ring = ring
        self._template = Batch(BatchKind.OLD, segment, 0, applying, 0, 0, 0, NO_POSITION, b"")
        self._stamp = stamp
        self._buffer = new_buffer(BUFFER_PAGES * BLOCK_BYTES)
        self._pending = 0  # pages in the buffer

    @property
    def has_pending(self) -> bool:
        """Whether something is to be written and flushed before anything else is written."""
        return self._pending > 0

    @property
    def written(self) -> int:
        """The position behind the last batch that is on the disk."""
        return self.position - self._pending

    def is_free(self, pages: int) -> bool:
        """Whether the ring has room for so many pages."""
        return self.position + pages <= self.limit

    def has_room(self, pages: int) -> bool:
        """Whether the buffer has; otherwise what is pending goes out first."""
        return self._pending + pages <= BUFFER_PAGES

    def add_epoch(self, record: bytes, before: int) -> None:
        """A batch that says which epoch the following ones lead back to."""
        batch = replace(self._next(0, 1), kind=BatchKind.EPOCH, before=before)
        self._take(batch, build_epoch_batch(batch, record, self._view(batch)))

    def add_old(
        self, entries: Sequence[OldEntry], data_pages: int, fill: Callable[[memoryview], None]
    ) -> None:
        """A batch of old entries; `fill` puts the content into its data pages."""
        batch = self._next(data_pages, header_pages_for(len(entries)))
        view = self._view(batch)
        fill(view[batch.header_pages * BLOCK_BYTES :])
        self._take(batch, build_old_batch(batch, entries, view))

    def write_out(self) -> None:
        """Write what is pending; not durable before a flush."""
        start = self.position - self._pending
        self._ring.write(start, self._buffer[: self._pending * BLOCK_BYTES])
        self._pending = 0

    def give_back(self) -> None:
        """Give the memory of the buffer back, when nothing is pending."""
        if not self._pending:
            self._buffer = new_buffer(BUFFER_PAGES * BLOCK_BYTES)

    def _next(self, data_pages: int, header_pages: int) -> Batch:
        stamp = self._stamp()
        return replace(
            self._template,
            position=self.position,
            data_pages=data_pages,
            header_pages=header_pages,
            time_s=stamp.time_s,
            uptime_s=stamp.uptime_s,
            chain=self.chain,
        )

    def _view(self, batch: Batch) -> memoryview:
        start = self._pending * BLOCK_BYTES
        return self._buffer[start : start + batch.pages * BLOCK_BYTES]

    def _take(self, batch: Batch, digest: bytes) -> None:
        self._pending += batch.pages
        self.position, self.chain = batch.end, digest
