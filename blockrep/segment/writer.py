"""The way of an epoch into a segment: begun, applied, committed or undone, and settled after a cut.

The steps and their flushes are those of docs/segment-format.md, "Applying an epoch".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blockrep.errors import (
    EpochRefused,
    HistoryFull,
    OtherWriter,
    ProtocolError,
    RecordDamaged,
    RecordUnsupported,
    ReplicaAhead,
)
from blockrep.segment.applying import Applying, Item
from blockrep.segment.assignment import Held
from blockrep.segment.epoch import ID_BYTES, NO_ID, Epoch, verify_epoch
from blockrep.segment.header import SegmentState
from blockrep.segment.history import MAX_VERSIONS, Version, is_locked
from blockrep.segment.opened import Opened
from blockrep.segment.ring_log import RingLog, Stamp
from blockrep.segment.saved import SavedBlocks
from blockrep.segment.settle import read_unfinished, settle_over_base, settle_without_base
from blockrep.segment.undo import Restorer, named_groups
from blockrep.segment.version_index import VersionIndex
from blockrep.segment.versions import at_tail
from blockrep.segment.walk import NOT_A_BATCH

SMALLEST_ROOM_PAGES = 8  # below it an epoch is not worth beginning


class EpochWriter:
    """The one epoch that may be on its way; `undone` counts how often one was taken back."""

    def __init__(self, opened: Opened) -> None:
        self.undone = 0
        self.accepts_oversize = False  # somebody at the holder has said so, for one epoch
        self._opened = opened
        self._work: Applying | None = None
        self._may_lose_base = False
        self._active_s = 0  # uptime when something came last

    # ---- what it is

    @property
    def end(self) -> int:
        """The ring position behind the last batch that is on the disk."""
        return self.end_for(self._opened.held)

    def end_for(self, held: Held) -> int:
        """The same for what a header says."""
        work = self._work
        return work.log.written if work is not None and work.log else held.head

    def forget(self) -> None:
        """Nothing is on its way any more."""
        self._work = None
        self.undone += 1

    def is_idle_for(self, seconds: int) -> bool:
        """Whether an epoch is unfinished with nothing having come for so long."""
        uptime_s = self._opened.file.stamp().uptime_s
        return self._opened.file.is_applying and uptime_s - self._active_s >= seconds

    # ---- after a cut

    def settle(self) -> None:
        """Bring a segment that was just opened to where it can be read and written."""
        opened = self._opened
        if opened.header.held is None:
            return
        with opened.all_or_again():
            self._settle(opened.held)

    def _settle(self, held: Held) -> None:
        opened = self._opened
        # What was read may so far be in a cache of the disk alone, which a cut empties.
        opened.part.flush()
        if not opened.file.is_applying:
            self._find_lost_header(held)
        if opened.file.is_applying:
            self._settle_unfinished(opened.held)
        else:
            opened.check_map()
        opened.load_versions()

    def _find_lost_header(self, held: Held) -> None:
        """Say again that an epoch is on its way, when the header that said so has rotted.

        Then the map is not that of the epoch that is held, and the ring goes on from its head with
        a batch that leads back to it. An epoch that was undone leaves such a batch, too, but the
        map as it was.
        """
        opened = self._opened
        base = opened.base()
        if base is None:
            return
        try:
            batch, record = opened.batches.epoch_batch(held.head)
        except NOT_A_BATCH:
            return
        if (batch.chain, record) == (held.chain, held.epoch) and not opened.has_map_of(base):
            opened.file.save(replace(held, applying=batch.applying), SegmentState.APPLYING)

    def _settle_unfinished(self, held: Held) -> None:
        opened = self._opened
        if held.base_lost:
            # A torn page is looked at entry by entry, like every other one.
            with opened.naming(lambda chunk: True):
                settle_without_base(opened.part, opened.map)
            self._work = self._new_work(None, SavedBlocks(opened.chunks))
        else:
            unfinished = read_unfinished(opened.batches, held, opened.chunks)
            with opened.naming(unfinished.index.names):
                for _ in opened.map.sound_pages():
                    pass
                settle_over_base(opened.part, opened.ring, opened.map, unfinished)
            log = self._new_log(held, unfinished.end, unfinished.chain)
            if unfinished.end == held.head:
                log.add_epoch(held.epoch, held.newest)
            self._work = self._new_work(log, unfinished.saved)
        opened.part.flush()
        self._active_s = opened.file.stamp().uptime_s

    # ---- begun

    def begin(self, epoch_id: bytes, number: int, parent: bytes, accept_oversize: bool) -> bool:
        """Begin an epoch, or go on with it (True). Another one that was cut is undone first.

        `ReplicaAhead` unless it follows the epoch that is held, `HistoryFull` when there is no room
        to speak of for what it writes over. `accept_oversize`: another holder has proven that it
        has a whole epoch of this owner.
        """
        if len(epoch_id) != ID_BYTES or epoch_id == NO_ID:
            raise ProtocolError("an epoch without an id")
        opened = self._opened
        self._check_parent(epoch_id, number, parent)
        self._active_s = opened.file.stamp().uptime_s
        if opened.held.applying == epoch_id:
            self._may_lose_base = self._is_loss_accepted(accept_oversize)
            return True
        if opened.file.is_applying:
            self.undo()
        opened.evict()
        self._may_lose_base = self._is_loss_accepted(accept_oversize)
        self._start(epoch_id)
        return False

    def _check_parent(self, epoch_id: bytes, number: int, parent: bytes) -> None:
        base = self._opened.base()
        if base is None:
            return
        if parent != base.id or number <= base.number or epoch_id == base.id:
            raise ReplicaAhead(
                f"the segment holds epoch {base.number}, and epoch {number} does not follow it"
            )

    def _start(self, epoch_id: bytes) -> None:
        opened = self._opened
        held = replace(opened.held, applying=epoch_id, base_lost=not opened.held.epoch)
        log = None
        if not held.base_lost:
            log = self._new_log(held, held.head, held.chain)
            if log.is_free(SMALLEST_ROOM_PAGES) and len(opened.versions) < MAX_VERSIONS:
                log.add_epoch(held.epoch, held.newest)
            elif self._may_lose_base:
                held, log = _without_base(held, held.head, held.chain), None
            else:
                raise HistoryFull(
                    f"the history is full: its {len(opened.versions)} versions are locked or pinned"
                )
        # Before the first byte is written over, the header says that it may be (S3).
        opened.file.save(held, SegmentState.APPLYING)
        self._work = self._new_work(log, SavedBlocks(opened.chunks))

    def _new_log(self, held: Held, position: int, chain: bytes) -> RingLog:
        opened = self._opened
        return RingLog(
            opened.ring,
            opened.segment_id,
            held.applying,
            position=position,
            chain=chain,
            limit=held.tail + opened.ring.pages,
            stamp=opened.file.stamp,
        )

    def _new_work(self, log: RingLog | None, saved: SavedBlocks) -> Applying:
        opened = self._opened
        return Applying(
            opened.part,
            opened.map,
            log,
            saved,
            has_versions=opened.held.tail < opened.held.head,
            damaged=opened.damage.add_chunk,
        )

    # ---- applied

    def apply(self, items: Sequence[Item], blocks: bytes | memoryview) -> list[int]:
        """As `Applying.apply`; `ProtocolError` when no epoch was begun."""
        work = self._working()
        self._active_s = self._opened.file.stamp().uptime_s
        try:
            whole = work.apply(items, blocks)
        except HistoryFull:
            if not self._may_lose_base or self._opened.pinned():
                raise
            self._lose_base(work)
            whole = work.apply(items, blocks)
        written = {item[0] for item in items}.difference(whole)
        self._opened.damage.chunks.difference_update(written)
        return whole

    def drain(self, chunks: Sequence[int] | None = None) -> None:
        """Bring what was applied to the disk, if one of the chunks (None: any) is not there yet."""
        work = self._work
        if work is not None and (chunks is None or work.is_pending(chunks)):
            work.drain()

    def rest(self) -> None:
        """Nothing has come for a while: keep no memory for it."""
        if self._work is not None:
            self._work.rest()

    def _working(self) -> Applying:
        if self._work is None:
            raise ProtocolError("no epoch was begun")
        return self._work

    def _is_loss_accepted(self, proven: bool) -> bool:
        """Whether the epoch below may be lost: another holder has one, and no lock forbids it."""
        opened = self._opened
        if not proven or opened.pinned():
            return False
        held, now = opened.held, opened.file.stamp()
        since = Stamp(held.committed_at_s, held.committed_uptime_s)
        is_locked_here = is_locked(since, now, held.lock_s)
        return self.accepts_oversize or not (
            is_locked_here or any(opened.is_locked(version) for version in opened.versions)
        )

    def _lose_base(self, work: Applying) -> None:
        """Go on without saving anything: from here on there is no whole epoch until the commit."""
        opened = self._opened
        if work.log is None:
            return
        work.drain()
        held = _without_base(opened.held, work.log.position, work.log.chain)
        # As in `_start`: the header says it before the first byte is lost.
        opened.file.save(held, SegmentState.APPLYING)
        work.log = None
        opened.versions = []
        self._may_lose_base = self.accepts_oversize = False

    # ---- committed

    def commit(self, record: bytes) -> None:
        """Make what was applied the epoch of the segment.

        `EpochRefused` when the record is not of this epoch, owner and segment, or has another root
        than what was applied; `OtherWriter`. After an error the epoch is still on its way.
        """
        work = self._working()
        opened = self._opened
        epoch = self._checked_record(record)
        work.drain()
        # All of it must be on the medium before a header says that it is (S1).
        opened.part.flush()
        if opened.map_root(epoch.content_bytes) != epoch.root:
            raise EpochRefused(f"what was applied does not have the root of epoch {epoch.number}")
        held, versions = self._after_commit(record, work)
        held = opened.after_eviction(held, versions)
        opened.file.save(held, SegmentState.SETTLED)
        self._work = None
        self.accepts_oversize = False
        opened.versions = [version for version in versions if version.position >= held.tail]
        opened.damage.set("map", None)

    def _checked_record(self, record: bytes) -> Epoch:
        held = self._opened.held
        try:
            epoch = verify_epoch(record, held.owner_key)
        except (RecordDamaged, RecordUnsupported) as error:
            raise EpochRefused(error.message) from error
        if epoch.writer != held.writer:
            raise OtherWriter(f"epoch {epoch.number} was written by another disk")
        said = (epoch.id, epoch.device, epoch.group)
        if said != (held.applying, held.device_id, held.group_id):
            raise EpochRefused(f"epoch {epoch.number} is not the one that was begun here")
        if epoch.content_bytes > self._opened.part.geometry.data_bytes:
            raise EpochRefused(f"epoch {epoch.number} is larger than the segment")
        # Its parent is the owner's last epoch, which this segment may have missed; what it follows
        # here was said, and checked, when it was begun.
        base = self._opened.base()
        if base is not None and epoch.number <= base.number:
            raise EpochRefused(f"epoch {epoch.number} is not newer than epoch {base.number}")
        return epoch

    def _after_commit(self, record: bytes, work: Applying) -> tuple[Held, list[Version]]:
        opened = self._opened
        held, stamp = opened.held, opened.file.stamp()
        committed = replace(
            held,
            epoch=record,
            applying=NO_ID,
            base_lost=False,
            committed_uptime_s=stamp.uptime_s,
            committed_at_s=stamp.time_s,
        )
        base = opened.base()
        if work.log is None or base is None:
            return committed, opened.versions
        end = work.log.position
        committed = replace(committed, head=end, chain=work.log.chain, newest=held.head)
        try:
            batch, _ = opened.batches.epoch_batch(held.head)
            stamp = Stamp(batch.time_s, batch.uptime_s)
        except RecordDamaged as error:
            opened.damage.set("ring", error.message)
        return committed, [*opened.versions, Version(held.head, held.epoch, base, stamp)]

    # ---- undone

    def undo(self) -> None:
        """Take back what was applied; nothing when nothing is on its way.

        Without a whole epoch below it there is nothing to go back to: what came stays, as a start
        for the next one. What cannot be put back is named by `damage`.
        """
        opened = self._opened
        if not opened.file.is_applying:
            return
        opened.part.require_usable()
        with opened.all_or_again():
            self._take_back()

    def _take_back(self) -> None:
        opened, end = self._opened, self.end
        self.forget()
        opened.map.forget()
        held = opened.held
        if not held.base_lost:
            self._put_back(held, end)
        settled = replace(
            held, applying=NO_ID, base_lost=False, map_generation=held.map_generation + 1
        )
        # As at a commit: first the content, then the header that says so.
        opened.part.flush()
        opened.file.save(settled, SegmentState.SETTLED)
        opened.check_map()

    def _put_back(self, held: Held, end: int) -> None:
        opened = self._opened
        index = VersionIndex(opened.batches, held.head, opened.chunks)
        try:
            index.extend(end)
        except RecordDamaged as error:
            opened.damage.set("ring", error.message)
        restorer = Restorer(opened.part, opened.ring, opened.map)
        for group in named_groups(index, opened.chunks):
            restorer.put_back(group, index)


def _without_base(held: Held, head: int, chain: bytes) -> Held:
    """What is held from the moment on when nothing is saved any more: no epoch, no version."""
    lost = replace(held, head=head, chain=chain, base_lost=True, epoch=b"")
    return at_tail(lost, head)
