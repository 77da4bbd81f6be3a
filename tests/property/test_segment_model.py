"""The store against a model: epochs are dictionaries, versions a list of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from replicas import (
    BLOCK,
    CHUNK,
    START,
    Blocks,
    FakeClock,
    MemoryDisk,
    Owner,
    changed_blocks,
    differing_chunks,
    messages,
    new_disk,
    random_blocks,
    read_all,
)

from blockrep.errors import HistoryFull
from blockrep.segment.geometry import MIB
from blockrep.segment.header import SegmentState
from blockrep.segment.history import wanted_free
from blockrep.segment.store import Store

CHUNKS = 24
LOCK_S = 1000
NEW_DISK = bytes(new_disk(8 * MIB, 2 * MIB))


@dataclass
class Known:
    """An epoch as the model has it. `since`: when the next one began, by wall and uptime."""

    id: bytes
    blocks: Blocks
    consistent: bool
    since: tuple[int, int] | None = None


class StoreMachine(RuleBasedStateMachine):
    """What an owner, its holder, time and cuts do, in any order."""

    @initialize(seed=st.integers(0, 2**32))
    def assign(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk = MemoryDisk(NEW_DISK)
        self.clock = FakeClock()
        self.owner = Owner()
        self.store = Store.open(self.disk, START, self.clock)
        self.store.assign(self.owner.assignment(CHUNKS * CHUNK, LOCK_S))
        self.known: list[Known] = []  # oldest first
        self.pending: Blocks | None = None
        self.began = (0, 0)
        self.up_s = 0  # what the holder has been up with the segment
        self.pinned: dict[bytes, int] = {}

    # ---- the owner

    @rule(count=st.integers(0, 80), full=st.booleans())
    def begin_and_apply(self, count: int, full: bool) -> None:
        """A part of an epoch, or more of it."""
        present = self.known[-1].blocks if self.known else {}
        target = dict(changed_blocks(self.rng, self.pending or present, CHUNKS, count))
        if not self.known and self.pending is None:
            target = random_blocks(self.rng, CHUNKS, 0.4)
        going_on = self.pending is not None
        resumed = self.store.begin(self.owner.next_id(), self.owner.number + 1, self.owner.last)
        assert resumed == going_on
        if not going_on:
            self.began = (self.clock.wall, self.up_s)
        before = self.pending if going_on else present
        self.pending = target
        self._send(before, target, full or not self.known)

    def _send(self, before: Blocks, target: Blocks, full: bool) -> None:
        chunks = range(CHUNKS) if full else differing_chunks(before, target)
        try:
            for items, blocks in messages(chunks, target, None if full else before, 5):
                assert self.store.apply(items, blocks) == []
        except HistoryFull:
            self.undo()

    @precondition(lambda self: self.pending is not None)
    @rule(consistent=st.booleans(), shorter=st.integers(0, 15))
    def commit(self, consistent: bool, shorter: int) -> None:
        target = self.pending
        content = CHUNKS * CHUNK - shorter * BLOCK
        lost = [n for n in target if (n + 1) * BLOCK > content]
        target = {n: data for n, data in target.items() if n not in lost}
        self._send(self.pending, target, False)
        if self.pending is None:  # there was no room
            return
        before = list(self.known)
        self.store.commit(self.owner.record(target, content, consistent=consistent))
        new = Known(self.owner.next_id(), target, consistent)
        self.owner.committed()
        if self.known:
            self.known[-1].since = self.began
        self.known.append(new)
        self.pending = None
        self._versions_fell_out(before)

    @rule(epochs=st.integers(1, 4), count=st.integers(40, 200), seconds=st.integers(0, 800))
    def epochs_go_by(self, epochs: int, count: int, seconds: int) -> None:
        for _ in range(epochs):
            self.time_goes_on(seconds, seconds)
            self.begin_and_apply(count, False)
            if self.pending is not None:
                self.commit(True, 0)

    @rule()
    def undo(self) -> None:
        self.store.undo()
        self.pending = None

    # ---- the holder

    @rule(seconds=st.integers(0, 2500), wall=st.integers(-2000, 3000))
    def time_goes_on(self, seconds: int, wall: int) -> None:
        self.clock.uptime += seconds
        self.clock.wall += wall
        self.up_s += seconds
        before = list(self.known)
        self.store.tick()
        if self.pending is None:
            self._versions_fell_out(before)

    @rule()
    def cut(self) -> None:
        """The machine starts again; its clock of uptime with it. What was not saved is lost."""
        saved_s = self.store._opened.header.held.uptime_s
        self.clock.uptime = 5
        self.store = Store.open(self.disk, START, self.clock)
        self.up_s = saved_s
        self.pinned = {}
        if self.pending is not None:
            # What was still in memory is gone: the owner sends everything again.
            assert self.store.info.state is SegmentState.APPLYING
            self.store.begin(self.owner.next_id(), self.owner.number + 1, self.owner.last)
            self._send({}, self.pending, True)

    @precondition(lambda self: bool(self.known))
    @rule(which=st.integers(0, 100), seconds=st.integers(1, 500))
    def pin(self, which: int, seconds: int) -> None:
        known = self.known[which % len(self.known)]
        granted = self.store.pin(known.id, seconds)
        self.pinned[known.id] = self.up_s + granted

    def _versions_fell_out(self, before: list[Known]) -> None:
        """Only such as may, the oldest first, and as many as must."""
        now = [stored.epoch.id for stored in reversed(self.store.epochs())]
        self.known = [known for known in self.known if known.id in now]
        assert [known.id for known in self.known] == now
        gone = [known for known in before if known.id not in now]
        assert gone == before[: len(gone)]
        assert not any(self._must_stay(known) for known in gone)
        opened = self.store._opened
        held = opened.held
        free = held.tail + opened.ring.pages - held.head
        if len(self.known) > 1 and not self._must_stay(self.known[0]):
            assert free >= wanted_free(opened.ring.pages, held.head - held.newest)

    def _must_stay(self, known: Known) -> bool:
        assert known.since is not None
        wall, up_s = self.clock.wall - known.since[0], self.up_s - known.since[1]
        is_locked = up_s < 2 * LOCK_S if wall < 0 else min(wall, up_s) < LOCK_S
        is_pinned = self.pinned.get(known.id, 0) > self.up_s
        newest = next((k for k in reversed(self.known) if k.consistent), None)
        return is_locked or is_pinned or newest is known

    # ---- always

    @invariant()
    def every_epoch_reads_as_it_was(self) -> None:
        assert self.store.info.damage is None
        if not self.known or self.rng.random() < 0.5:
            return
        known = self.rng.choice(self.known)
        assert read_all(self.store, known.id, CHUNKS) == known.blocks

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        for known in self.known:
            assert read_all(self.store, known.id, CHUNKS) == known.blocks
        assert list(self.store.scrub()) == []
        assert self.store.info.damage is None


EXAMPLES = 6 if settings.default.derandomize else 300
StoreMachine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=20)
TestStore = StoreMachine.TestCase
