"""A segment that is open: its parts, and what all that works on it shares."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from blockrep.chunks import PAGE_BYTES, RootHasher, map_pages
from blockrep.errors import DeviceIO
from blockrep.segment.assignment import Held
from blockrep.segment.chunk_map import PIECE_PAGES, ChunkMap
from blockrep.segment.clock import Clock
from blockrep.segment.damage import Damage
from blockrep.segment.epoch import Epoch, parse_epoch
from blockrep.segment.geometry import CHUNK_BYTES
from blockrep.segment.header import SegmentHeader, SegmentState
from blockrep.segment.header_file import HeaderFile, read_header
from blockrep.segment.history import Version, is_locked
from blockrep.segment.mend import mend_page
from blockrep.segment.part import Disk, SegmentPart
from blockrep.segment.pins import Pins
from blockrep.segment.ring import Ring
from blockrep.segment.versions import read_versions, without_old_versions
from blockrep.segment.walk import BatchReader


class Opened:
    """The parts of one segment. Nothing here knows of threads."""

    def __init__(self, disk: Disk, start_bytes: int, clock: Clock) -> None:
        header, has_other = read_header(disk, start_bytes)
        self.part = SegmentPart(disk, start_bytes, header.geometry)
        self.segment_id = uuid.UUID(header.uuid).bytes
        self.chunks = header.geometry.data_bytes // CHUNK_BYTES
        self.ring = Ring(self.part)
        self.map = ChunkMap(self.part, self._mend)
        self.file = HeaderFile(self.part, header, clock, is_alone=not has_other)
        self.batches = BatchReader(self.ring, self.segment_id, self.chunks)
        self.damage = Damage()
        self.pins = Pins()
        self.versions: list[Version] = []
        self.mended = 0  # pages of the map that were not sound
        self._is_named: Callable[[int], bool] = _no_chunk

    @property
    def header(self) -> SegmentHeader:
        return self.file.header

    @property
    def held(self) -> Held:
        """`UsageError` while the segment is unassigned."""
        return self.file.held

    def base(self) -> Epoch | None:
        """The epoch that can be read whole."""
        return parse_epoch(self.held.epoch) if self.held.epoch else None

    def load_versions(self) -> None:
        """Read which older versions there are; what the ring does not tell any more is named."""
        self.versions = read_versions(self.batches, self.held, self.damage)

    def pinned(self) -> frozenset[bytes]:
        return self.pins.held(self.file.stamp().uptime_s)

    def is_locked(self, version: Version) -> bool:
        return is_locked(version.since, self.file.stamp(), self.held.lock_s)

    def after_eviction(self, held: Held, versions: list[Version]) -> Held:
        """What is held when the versions that may have fallen out."""
        return without_old_versions(
            held,
            versions,
            ring_pages=self.ring.pages,
            now=self.file.stamp(),
            pinned=self.pinned(),
        )

    def evict(self) -> None:
        """Let versions fall out whose lock has run out since the last commit."""
        held = self.after_eviction(self.held, self.versions)
        if held.tail != self.held.tail:
            self.file.save(held, SegmentState.SETTLED)
            self.versions = [v for v in self.versions if v.position >= held.tail]

    def check_map(self) -> None:
        """Read the whole map of a settled segment, mend it, and compare it with its epoch."""
        self.damage.set("map", None)
        mended = self.mended
        base = self.base()
        if self.map_root(base.content_bytes if base else 0) != (base.root if base else None):
            number = base.number if base else 0
            if base:
                self.damage.set("map", f"the chunk map is not the one of epoch {number}")
        if self.mended > mended:
            # The owner's copy of the map is not what lies here any more.
            held = self.held
            changed = replace(held, map_generation=held.map_generation + 1)
            self.part.flush()
            self.file.save(changed, self.header.state)

    def map_root(self, content_bytes: int) -> bytes:
        """The root of the map as it lies on the disk; every page is read, and mended if need be."""
        hasher = RootHasher(content_bytes)
        total = map_pages(content_bytes)
        for first, pages in self.map.sound_pages():
            hasher.update(memoryview(pages)[: max(0, total - first) * PAGE_BYTES])
        return hasher.finish()

    def has_map_of(self, epoch: Epoch) -> bool:
        """Whether the map, sound or not, has the root of an epoch."""
        hasher = RootHasher(epoch.content_bytes)
        total = map_pages(epoch.content_bytes)
        for first in range(0, total, PIECE_PAGES):
            hasher.update(self.map.read(first, min(PIECE_PAGES, total - first)))
        return hasher.finish() == epoch.root

    @contextmanager
    def all_or_again(self) -> Iterator[None]:
        """What fails in here, be it a read, leaves a state that must be settled again."""
        try:
            yield
        except DeviceIO as error:
            self.part.failure = self.part.failure or error.message
            raise

    @contextmanager
    def naming(self, is_named: Callable[[int], bool]) -> Iterator[None]:
        """Meanwhile a page that is mended keeps the entries of these chunks as they are.

        Whoever names them looks at them itself.
        """
        self._is_named = is_named
        try:
            yield
        finally:
            self._is_named = _no_chunk

    def _mend(self, number: int, page: bytearray) -> None:
        lost = mend_page(self.part, number, page, self._is_named)
        self.mended += 1
        if lost:
            self.damage.set(f"page {number}", f"map page {number} has lost {len(lost)} entries")


def _no_chunk(chunk: int) -> bool:
    return False
