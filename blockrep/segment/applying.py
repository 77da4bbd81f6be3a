"""An epoch on its way into a segment: checked, its old content saved, then written.

What is applied is gathered in a group. When the group is full, or somebody must see the disk as it
is said to be, it goes out in three steps: the old content into the ring, a flush, then data and
map (S3). Whatever can be refused is refused before it is part of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from blockrep.chunks import EMPTY, Entry
from blockrep.disk.device import new_buffer
from blockrep.errors import HistoryFull, ProtocolError
from blockrep.segment.batch import PAGE_ENTRIES, OldEntry, header_pages_for
from blockrep.segment.chunk_map import ChunkMap
from blockrep.segment.geometry import BLOCK_BYTES, CHUNK_BYTES
from blockrep.segment.part import SegmentPart
from blockrep.segment.ring_log import RingLog
from blockrep.segment.runs import block_runs
from blockrep.segment.saved import SavedBlocks
from blockrep.stage import NO_SLOT, Checked, StageChunk, check_chunks, gather_saved

GROUP_BYTES = 16 << 20  # of blocks that came; the ring has as much again, at most
MAX_CHUNKS = 256

Item = tuple[int, int, int, bytes]
"""A chunk as it comes: number, mask, which of its blocks came, digest."""


class _Work(NamedTuple):
    """A chunk between being read and being staged."""

    chunk: int
    entry: Entry  # as it is now
    kept: int  # of the entry, where it means something
    named: bool
    incomplete: bool  # what did not come is not here either
    stage: StageChunk


class Applying:
    """`log` None: there is no whole epoch below, and nothing is saved."""

    def __init__(
        self,
        part: SegmentPart,
        chunk_map: ChunkMap,
        log: RingLog | None,
        saved: SavedBlocks,
        *,
        has_versions: bool,
        damaged: Callable[[int], None],
    ) -> None:
        self.log = log
        self.saved = saved
        self._part = part
        self._map = chunk_map
        self._has_versions = has_versions
        self._damaged = damaged
        self._chunks = part.geometry.data_bytes // CHUNK_BYTES
        self._take_buffers()
        self._sent_bytes = 0
        self._runs: list[list[int]] = []  # [place in the segment, place in _sent, length]
        self._pending: set[int] = set()

    def apply(self, items: Sequence[Item], blocks: bytes | memoryview) -> list[int]:
        """Take in chunks; gives those that must come whole, because they do not fit together.

        `ProtocolError` for what no owner may send, `HistoryFull` when the ring has no room for what
        they write over, `DeviceIO`. What was taken in before the error stays.
        """
        view = memoryview(blocks)
        self._check(items, view)
        if self._sent_bytes + len(view) > GROUP_BYTES or self.is_pending(i[0] for i in items):
            self.drain()
        whole: list[int] = []
        at = 0
        for first in range(0, len(items), PAGE_ENTRIES):
            group = items[first : first + PAGE_ENTRIES]
            length = BLOCK_BYTES * sum(item[2].bit_count() for item in group)
            whole += self._take(group, view[at : at + length])
            at += length
        return whole

    def is_pending(self, chunks: Iterable[int]) -> bool:
        """Whether one of the chunks is not yet on the disk as it is said to be."""
        return not self._pending.isdisjoint(chunks)

    def drain(self) -> None:
        """Bring the group to the disk; `DeviceIO`."""
        if self.log is not None and self.log.has_pending:
            self.log.write_out()
            # Nothing is overwritten before its old content cannot be lost any more (S3).
            self._part.flush()
        for offset, start, length in self._runs:
            self._part.write(offset, self._sent[start : start + length])
        self._map.write_changed()
        self._runs.clear()
        self._pending.clear()
        self._sent_bytes = 0

    def rest(self) -> None:
        """Bring the group to the disk and give the memory back, until something comes again."""
        self.drain()
        self._take_buffers()
        if self.log is not None:
            self.log.give_back()

    def _take_buffers(self) -> None:
        """New ones take no memory before they are written."""
        self._old = new_buffer(PAGE_ENTRIES * CHUNK_BYTES)
        self._sent = new_buffer(GROUP_BYTES)

    def _check(self, items: Sequence[Item], blocks: memoryview) -> None:
        last, wanted = -1, 0
        for chunk, mask, sent, digest in items:
            if not last < chunk < self._chunks:
                raise ProtocolError(f"chunk {chunk} is out of order, or past the segment's end")
            if mask >> 16 or sent & ~mask or len(digest) != len(EMPTY.digest):
                raise ProtocolError(f"chunk {chunk} contradicts itself")
            last = chunk
            wanted += sent.bit_count()
        if wanted * BLOCK_BYTES != len(blocks) or len(items) > MAX_CHUNKS:
            raise ProtocolError(f"{len(items)} chunks with {len(blocks)} bytes of blocks")

    def _take(self, items: Sequence[Item], blocks: memoryview) -> list[int]:
        """One sub-group, as large as a batch of a single header page."""
        entries = self._map.entries([item[0] for item in items])
        slots: list[int] = []
        works = [self._prepare(*pair, slots) for pair in zip(items, entries, strict=True)]
        old = self._old[: len(slots) * CHUNK_BYTES]
        self._part.read_slots(slots, old)
        checked = check_chunks([work.stage for work in works], blocks, old)
        whole = [
            work.chunk
            for work, check in zip(works, checked, strict=True)
            if work.incomplete or not check.new_good
        ]
        changed = [
            (work, check)
            for work, check in zip(works, checked, strict=True)
            if not work.incomplete and check.new_good and not _is_there(work, check)
        ]
        if self.log is not None:
            self._save(self.log, changed, old)
        self._stage(works, {work.chunk for work, _ in changed}, blocks)
        return whole

    def _prepare(self, item: Item, entry: Entry, slots: list[int]) -> _Work:
        """What is to be saved of a chunk, and whether its old content must be read."""
        chunk, mask, sent, digest = item
        named = self.saved.is_named(chunk)
        # With no version behind the epoch below, the kept bits of chunks are of no more use.
        kept = entry.kept if named or (self._has_versions and self.log is not None) else 0
        if self.log is None:
            needed = 0
        elif named:
            needed = self.saved.to_save(chunk)
        else:
            needed = entry.mask | kept
        incomplete = bool(mask & ~sent & ~(entry.mask | entry.kept))
        saved = sent & needed
        if incomplete:
            mask, saved = sent, 0
        slot = NO_SLOT
        if saved or mask & ~sent:
            slot = len(slots)
            slots.append(chunk)
        stage = StageChunk(mask, sent, entry.mask, saved, slot, digest, entry.digest)
        return _Work(chunk, entry, kept, named, incomplete, stage)

    def _save(self, log: RingLog, changed: list[tuple[_Work, Checked]], old: memoryview) -> None:
        """A batch with the old entries and blocks of the chunks that this epoch changes."""
        entries: list[OldEntry] = []
        works: list[_Work] = []
        pages = 0
        for work, check in changed:
            stage, entry = work.stage, work.entry
            if work.named and not stage.saved:
                continue
            # Rot must not be preserved as if it were good (S5).
            damaged = stage.slot != NO_SLOT and entry.mask != 0 and not check.old_good
            if damaged:
                self._damaged(work.chunk)
            fields = (work.chunk, entry.mask, entry.kept, stage.saved, damaged, pages)
            entries.append(OldEntry(*fields, entry.digest))
            works.append(work)
            pages += stage.saved.bit_count()
        if entries:
            self._add_batch(log, works, entries, pages, old)

    def _add_batch(
        self, log: RingLog, works: list[_Work], entries: list[OldEntry], pages: int, old: memoryview
    ) -> None:
        needed = pages + header_pages_for(len(entries))
        if not log.is_free(needed):
            raise HistoryFull("the epoch writes over more than the history has room for")
        if not log.has_room(needed):
            self.drain()
        stages = [work.stage for work in works]
        log.add_old(entries, pages, lambda view: gather_saved(stages, old, view))
        for work, saved in zip(works, entries, strict=True):
            self.saved.add(saved, saved.mask | work.kept)

    def _stage(self, works: list[_Work], changed: set[int], blocks: memoryview) -> None:
        """New entries into the map, new blocks into the group."""
        at = 0
        for work in works:
            length = BLOCK_BYTES * work.stage.sent.bit_count()
            if work.chunk in changed:
                kept = 0 if self.log is None else (work.entry.mask | work.kept) & ~work.stage.mask
                self._map.set(work.chunk, Entry(work.stage.mask, kept, work.stage.digest))
                self._stage_blocks(work.chunk, work.stage.sent, blocks[at : at + length])
                self._pending.add(work.chunk)
            at += length

    def _stage_blocks(self, chunk: int, sent: int, blocks: memoryview) -> None:
        place = self._part.chunk_offset(chunk)
        self._sent[self._sent_bytes : self._sent_bytes + len(blocks)] = blocks
        for first, count in block_runs(sent):
            offset, length = place + first * BLOCK_BYTES, count * BLOCK_BYTES
            last = self._runs[-1] if self._runs else None
            # What came in order lies in order, so that neighbours on the disk are one write.
            if last is not None and last[0] + last[2] == offset:
                last[2] += length
            else:
                self._runs.append([offset, self._sent_bytes, length])
            self._sent_bytes += length


def _is_there(work: _Work, check: Checked) -> bool:
    """Whether the chunk was read, is good, and is what it shall be."""
    same = (work.stage.mask, work.stage.digest) == (work.entry.mask, work.entry.digest)
    return same and check.old_good
