"""One segment of a device: assigned to an owner, filled with epochs, read, kept whole.

Every method may be called by any thread; they take turns. After a `DeviceIO` of a write everything
is refused until the segment was settled again, by `begin`, `epochs`, `tick` or `open`. What each
order of writes is for, and what a cut leaves, is in docs/segment-format.md ("Applying an epoch")
and docs/invariants.md.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from blockrep.chunks import PAGE_BYTES, clear_pages
from blockrep.disk.device import new_buffer
from blockrep.errors import DoesNotFit, RecordDamaged, UsageError
from blockrep.segment.applying import Item
from blockrep.segment.assignment import MAX_ESCROW_BYTES, NO_CHAIN, NO_POSITION, Held, is_name
from blockrep.segment.clock import Clock
from blockrep.segment.compare import Compared, Comparer
from blockrep.segment.content import ChunkBlocks, check_range
from blockrep.segment.epoch import ID_BYTES, KEY_BYTES
from blockrep.segment.geometry import BLOCK_BYTES, MIB
from blockrep.segment.header import SegmentState
from blockrep.segment.mend import CHECK_CHUNKS
from blockrep.segment.opened import Opened
from blockrep.segment.part import PIECE_BYTES, Disk
from blockrep.segment.pins import MAX_PIN_S
from blockrep.segment.reader import EpochReader
from blockrep.segment.ring import first_position
from blockrep.segment.scrub import check_batch, damaged_chunks, paced
from blockrep.segment.source import EpochSource
from blockrep.segment.values import Assignment, StoredEpoch, StoreInfo
from blockrep.segment.writer import EpochWriter

MAX_MAP_PAGES = 256
MAX_EPOCHS = 1000  # are told to anybody, as the wire protocol has it
SAVE_CLOCKS_S = 3600
REST_S = 60  # after so long without news an epoch gives its memory back
UNFINISHED_LIMIT_S = 7 * 86_400  # after so long without news an epoch that was cut is undone
_ONE_HEADER = (
    "one of its two headers cannot be read: it was cut while it was written, or has rotted, and "
    "then what was committed last is missing"
)


class Store:
    """See the module. `open` makes one."""

    def __init__(self, device: Disk, start_bytes: int, clock: Clock) -> None:
        self._lock = threading.RLock()
        self._place = (device, start_bytes, clock)
        self._use(Opened(*self._place))

    @classmethod
    def open(cls, device: Disk, start_bytes: int, clock: Clock) -> Store:
        """Open the segment at `start_bytes` and settle it after a cut.

        `RecordDamaged` where there is none, or both headers are damaged. Other damage is named in
        `info`. Afterwards nothing that was read can be lost by a cut.
        """
        store = cls(device, start_bytes, clock)
        store._settle()
        return store

    def _use(self, opened: Opened) -> None:
        self._opened = opened
        self._writer = EpochWriter(opened)
        self._source = EpochSource(opened, self._writer)
        self._comparer = Comparer(opened.part, opened.map)

    def _settle(self) -> None:
        self._writer.settle()
        if self._opened.header.state is SegmentState.APPLYING:
            self._check_base()

    def _open_again_after_failure(self) -> None:
        """What is known in memory does not count any more; what is on the disk is settled."""
        if self._opened.part.failure is not None:
            self._use(Opened(*self._place))
            self._settle()

    # ---- what it is

    @property
    def info(self) -> StoreInfo:
        """What the segment is and holds; never waits for anybody."""
        opened = self._opened
        header, ring = opened.header, opened.ring.pages * BLOCK_BYTES
        capacity, damage = header.geometry.data_bytes, self._damage_text()
        held = header.held
        if held is None:
            return StoreInfo(header.uuid, header.state, capacity, ring, ring, damage=damage)
        used = (self._writer.end_for(held) - held.tail) * BLOCK_BYTES
        is_applying = header.state is SegmentState.APPLYING
        return StoreInfo(
            *(header.uuid, header.state, capacity, ring, ring - used),
            owner_key=held.owner_key,
            owner_name=held.owner_name,
            device_id=held.device_id,
            group_id=held.group_id,
            writer=held.writer,
            content_bytes=held.content_bytes,
            lock_s=held.lock_s,
            map_generation=held.map_generation,
            applying_id=held.applying if is_applying else None,
            base_lost=held.base_lost,
            epoch=held.epoch or None,
            damage=damage,
            doubt=_ONE_HEADER if opened.file.is_alone else None,
        )

    def _damage_text(self) -> str | None:
        found = (self._opened.part.failure, self._opened.damage.text())
        return "; ".join(text for text in found if text) or None

    # ---- whose it is

    def assign(self, assignment: Assignment) -> None:
        """Give an unassigned segment to an owner, with an empty map.

        `DoesNotFit` with the numbers, `UsageError` for a segment that has an owner. A cut leaves it
        unassigned, or assigned.
        """
        with self._lock:
            opened = self._opened
            if opened.header.held is not None:
                raise UsageError(f"segment {opened.header.uuid} has an owner already")
            self._check_assignment(assignment)
            self._clear_map()
            opened.file.assign(self._new_held(assignment))
            opened.versions = []

    def _check_assignment(self, wanted: Assignment) -> None:
        capacity = self._opened.header.geometry.data_bytes
        if wanted.content_bytes > capacity:
            raise DoesNotFit(
                f"the first area of {wanted.owner_name} ends at {wanted.content_bytes} bytes "
                f"({wanted.content_bytes / MIB:.0f} MiB), segment {self._opened.header.uuid} holds "
                f"{capacity} ({capacity // MIB} MiB)"
            )
        ids = (wanted.group_id, wanted.device_id, wanted.writer)
        sensible = (
            all(len(value) == ID_BYTES for value in ids)
            and len(wanted.owner_key) == KEY_BYTES
            and is_name(wanted.owner_name)
            and wanted.content_bytes > 0
            and 0 <= wanted.lock_s < 1 << 32
            and len(wanted.escrow) <= MAX_ESCROW_BYTES
        )
        if not sensible:
            raise UsageError("an assignment that makes no sense")

    def _clear_map(self) -> None:
        """Every page empty, and durable before a header says that it may be read."""
        opened = self._opened
        geometry = opened.header.geometry
        opened.map.forget()
        buffer = new_buffer(PIECE_BYTES)
        for at in range(0, geometry.map_bytes, PIECE_BYTES):
            clear_pages(buffer, at // PAGE_BYTES)
            opened.part.write(geometry.map_offset + at, buffer)
        opened.part.flush()

    def _new_held(self, wanted: Assignment) -> Held:
        generation = self._opened.header.generation + 1
        position = first_position(generation)
        return Held(
            *(wanted.group_id, wanted.owner_key, wanted.device_id, wanted.owner_name),
            *(wanted.writer, wanted.content_bytes, wanted.lock_s),
            map_generation=generation,
            tail=position,
            head=position,
            chain=NO_CHAIN,
            assigned_at_s=self._opened.file.stamp().time_s,
            uptime_s=0,
            clock_s=0,
            newest=NO_POSITION,
            escrow=wanted.escrow,
        )

    def set_writer(self, writer: bytes) -> None:
        """From now on only this disk may write: the owner was restored, or taken over."""
        if len(writer) != ID_BYTES:
            raise UsageError("a writer is named by the id of its disk")
        self._change(writer=writer)

    def set_escrow(self, escrow: bytes) -> None:
        """Keep the owner's wrapped keys."""
        if len(escrow) > MAX_ESCROW_BYTES:
            raise UsageError(f"{len(escrow)} bytes of escrow, {MAX_ESCROW_BYTES} is the most")
        self._change(escrow=escrow)

    def set_lock(self, lock_s: int) -> None:
        """How long versions are kept at least; an act at the holder."""
        if not 0 <= lock_s < 1 << 32:
            raise UsageError(f"versions cannot be locked for {lock_s} seconds")
        self._change(lock_s=lock_s)

    def escrow(self) -> bytes:
        """The owner's wrapped keys."""
        return self._opened.held.escrow

    def release(self) -> None:
        """Take the segment from its owner, whatever it holds: an act at the holder."""
        with self._lock:
            self._writer.forget()
            self._opened.map.forget()
            self._opened.file.clear()
            self._opened.versions = []

    def _change(self, **changes: Any) -> None:
        with self._lock:
            opened = self._opened
            opened.file.save(replace(opened.held, **changes), opened.header.state)

    # ---- an epoch on its way

    def begin(
        self, epoch_id: bytes, number: int, parent: bytes, *, accept_oversize: bool = False
    ) -> bool:
        """See `EpochWriter.begin`: True when it goes on with an epoch that was cut."""
        with self._lock:
            self._open_again_after_failure()
            return self._writer.begin(epoch_id, number, parent, accept_oversize)

    def compare(self, salt: bytes, items: Sequence[Compared], verify: bool = False) -> list[int]:
        """See `Comparer.wanted`: the blocks that the owner has to send."""
        with self._lock:
            self._writer.drain([item[0] for item in items])
            return self._comparer.wanted(salt, items, verify)

    def apply(self, items: Sequence[Item], blocks: bytes | memoryview) -> list[int]:
        """See `Applying.apply`: the chunks that must come whole.

        What it returns from is checked and has its place, but is durable only after `commit`.
        """
        with self._lock:
            return self._writer.apply(items, blocks)

    def drain(self) -> None:
        """Bring all that was applied to the disk, and free the memory for more."""
        with self._lock:
            self._writer.drain()

    def commit(self, record: bytes) -> None:
        """See `EpochWriter.commit`. When it returns the epoch is durable."""
        with self._lock:
            self._writer.commit(record)

    def undo(self) -> None:
        """See `EpochWriter.undo`."""
        with self._lock:
            self._writer.undo()

    def accept_oversize_once(self) -> None:
        """Somebody at the holder accepts that the next epoch may cost all that is older.

        It counts only where another holder has proven a whole epoch (`begin`).
        """
        self._writer.accepts_oversize = True

    # ---- read

    def map_pages(self, first: int, count: int, epoch_id: bytes | None = None) -> bytes:
        """Pages of the chunk map: of an epoch, or as it is now, also while one is being applied."""
        with self._lock:
            pages = self._opened.map.pages
            check_range(first, count, pages, MAX_MAP_PAGES)
            source = self._source
            content = source.content(epoch_id) if epoch_id is not None else source.as_it_is()
            return content.map_pages(first, count)

    def blocks_of(self, epoch_id: bytes, items: Sequence[tuple[int, int]]) -> ChunkBlocks:
        """Blocks of an epoch: see `Content.read`."""
        with self._lock:
            found = self._source.content(epoch_id).read(items)
            for (chunk, _), damaged in zip(items, found.damaged, strict=True):
                if damaged:
                    self._opened.damage.add_chunk(chunk)
            return found

    def epochs(self) -> list[StoredEpoch]:
        """The epochs that can be read, newest first; the newest `MAX_EPOCHS` of them.

        `DeviceIO` where the segment failed and cannot be settled: then none can be read.
        """
        with self._lock:
            self._open_again_after_failure()
            return list(islice(self._source.stored(), MAX_EPOCHS))

    def view(self, epoch_id: bytes) -> EpochReader:
        """A reader of an epoch; `NoSuchEpoch`."""
        with self._lock:
            return EpochReader(self, *self._source.find(epoch_id))

    def pin(self, epoch_id: bytes, seconds: int) -> int:
        """Keep an epoch for a reader; gives the seconds granted. `NoSuchEpoch`, `PeerBusy`."""
        with self._lock:
            self._source.find(epoch_id)
            uptime_s = self._opened.file.stamp().uptime_s
            return self._opened.pins.pin(epoch_id, min(seconds, MAX_PIN_S), uptime_s)

    # ---- kept whole

    def tick(self) -> None:
        """To be called now and then: keeps the clocks, undoes what nobody goes on with, evicts."""
        with self._lock:
            self._open_again_after_failure()
            opened = self._opened
            if opened.header.held is None:
                return
            if self._writer.is_idle_for(UNFINISHED_LIMIT_S) and not opened.held.base_lost:
                self._writer.undo()
            if self._writer.is_idle_for(REST_S):
                self._writer.rest()
            if not opened.file.is_applying:
                opened.evict()
            if opened.file.stamp().uptime_s - opened.held.uptime_s >= SAVE_CLOCKS_S:
                opened.file.save(opened.held, opened.header.state)

    def scrub(self, bytes_per_s: int = 0) -> Iterator[int]:
        """Read all that is held, at most so fast (0: as fast as can be); gives damaged chunks.

        What is wrong with the map or the ring is named in `info`.
        """
        yield from paced(self._scrub_steps(), bytes_per_s)

    def _scrub_steps(self) -> Iterator[tuple[list[int], int]]:
        chunk = 0
        while chunk < self._opened.chunks:
            with self._lock:
                if self._opened.header.held is None:
                    return
                self._writer.drain()
                found, done_bytes = damaged_chunks(self._opened.part, self._opened.map, chunk)
                for number in found:
                    self._opened.damage.add_chunk(number)
            chunk += CHECK_CHUNKS
            yield found, done_bytes
        yield from self._scrub_ring()

    def _scrub_ring(self) -> Iterator[tuple[list[int], int]]:
        """Every batch that is kept. What falls out meanwhile is skipped."""
        self._opened.damage.set("old content", None)
        position, chain, done_bytes = 0, None, 0
        while True:
            with self._lock:
                held = self._opened.header.held
                if held is None or position >= self._writer.end_for(held):
                    return
                if position < held.tail:
                    position, chain = held.tail, None
                    continue
                try:
                    position, chain, done_bytes = check_batch(self._opened.batches, position, chain)
                except RecordDamaged as error:
                    self._opened.damage.set("old content", error.message)
                    return
            yield [], done_bytes

    def _check_base(self) -> None:
        """Whether the epoch below an unfinished one can be read whole through the ring."""
        base = self._opened.base()
        try:
            if base is not None:
                self.view(base.id).verify()
        except RecordDamaged as error:
            self._opened.damage.set("base", error.message)
