"""Finds the content of an epoch by its id, as it is at the moment of the call.

Meanwhile epochs may be committed, undone and fall out; what was found out about an epoch is
remembered as long as it stays true.
"""

from __future__ import annotations

from collections.abc import Iterator

from blockrep.errors import NoSuchEpoch
from blockrep.segment.content import Content
from blockrep.segment.epoch import Epoch
from blockrep.segment.opened import Opened
from blockrep.segment.values import StoredEpoch
from blockrep.segment.version_index import VersionIndex
from blockrep.segment.writer import EpochWriter

_MOST_REMEMBERED = 4  # indexes of versions


class EpochSource:
    """The epochs of one segment."""

    def __init__(self, opened: Opened, writer: EpochWriter) -> None:
        self._opened = opened
        self._writer = writer
        self._indexes: dict[tuple[int, int], VersionIndex] = {}

    def stored(self) -> Iterator[StoredEpoch]:
        """What can be read, newest first."""
        opened = self._opened
        pinned = opened.pinned()
        base = opened.base()
        if base is not None:
            record = opened.held.epoch
            yield StoredEpoch(record, base, True, locked=True, pinned=base.id in pinned)
        for version in reversed(opened.versions):
            yield StoredEpoch(
                version.record,
                version.epoch,
                False,
                locked=opened.is_locked(version),
                pinned=version.epoch.id in pinned,
            )

    def find(self, epoch_id: bytes) -> tuple[bytes, Epoch]:
        """Record and epoch; `NoSuchEpoch`."""
        for stored in self.stored():
            if stored.epoch.id == epoch_id:
                return stored.record, stored.epoch
        raise NoSuchEpoch("the segment does not hold this epoch, or not any more")

    def content(self, epoch_id: bytes) -> Content:
        """Its content; `NoSuchEpoch`, `RecordDamaged` when the ring does not lead to it."""
        opened = self._opened
        opened.part.require_usable()
        # What is on the disk must be what map and ring in memory say of it.
        self._writer.drain()
        start = self._start(epoch_id)
        index = None if start is None else self._index(start)
        return Content(opened.part, opened.ring, opened.map, index)

    def as_it_is(self) -> Content:
        """What map and data hold now, of whatever epoch."""
        self._opened.part.require_usable()
        self._writer.drain()
        return Content(self._opened.part, self._opened.ring, self._opened.map, None)

    def _start(self, epoch_id: bytes) -> int | None:
        """Where the batches begin that lead back to an epoch; None: nowhere, it is present."""
        opened = self._opened
        _, epoch = self.find(epoch_id)
        base = opened.base()
        if base is not None and base.id == epoch.id:
            return opened.held.head if opened.file.is_applying else None
        for version in reversed(opened.versions):
            if version.epoch.id == epoch_id:
                return version.position
        raise NoSuchEpoch("the segment does not hold this epoch any more")

    def _index(self, start: int) -> VersionIndex:
        key = (start, self._writer.undone)
        index = self._indexes.pop(key, None)
        if index is None:
            index = VersionIndex(self._opened.batches, start, self._opened.chunks)
        index.extend(self._writer.end)
        while len(self._indexes) >= _MOST_REMEMBERED:
            del self._indexes[next(iter(self._indexes))]
        self._indexes[key] = index
        return index
