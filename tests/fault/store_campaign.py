"""Power cuts of a recorded run of the store: each state is judged raw, opened, and gone on with."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from replicas import (
    START,
    Blocks,
    FakeClock,
    Owner,
    changed_blocks,
    messages,
    read_all,
)

from blockrep.segment.header import SegmentState
from blockrep.segment.store import Store
from fault.sectors import SECTOR_BYTES, Disk
from fault.states import State, any_state, walk_windows, window_states
from fault.store_disk import RecordingDisk
from fault.store_oracle import Segment, read_segment
from fault.store_runs import StoreRun

MOST_FAILURES = 5
NESTED_DEPTH = 2
TEARS_PER_WRITE = 4
WAYS = ("resume", "undo", "other", "nested")


class Wrong(AssertionError):
    """A state that breaks the promise."""


@dataclass
class StoreScore:
    """What a campaign found."""

    tried: int = 0
    nested: int = 0
    failed: int = 0
    complete: bool = True
    seconds: float = 0.0
    opened: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        whole = "all" if self.complete else "a sample"
        return (
            f"{self.tried} states tried ({whole}), {self.nested} nested, {self.failed} failed; "
            f"opened {self.opened}; {self.seconds:.0f} s"
        )


def run_store_campaign(
    run: StoreRun,
    seed: int,
    budget_s: float,
    random_states: int,
    most_failures: int = MOST_FAILURES,
) -> StoreScore:
    """Every state of every window, or what fits in the time (0: no limit)."""
    score, began = StoreScore(), time.monotonic()
    seen: set[bytes] = set()
    streams = []
    for window in walk_windows(run.initial, run.log.placed(run.initial.sectors), SECTOR_BYTES):
        rng = random.Random(seed + window.number)
        states = window_states(window, rng, random_states=random_states, tears=TEARS_PER_WRITE)
        streams.append((window.number, states))
    for number, state in _in_turns(streams):
        is_over = budget_s and time.monotonic() - began > budget_s
        if is_over and score.tried >= len(streams):
            score.complete = False
            break
        if state.key in seen:
            continue
        seen.add(state.key)
        score.tried += 1
        _try(run, number, state, random.Random(seed * 7919 + score.tried), score)
        if len(score.failures) >= most_failures:
            break
    score.seconds = time.monotonic() - began
    return score


def _in_turns(streams: list[tuple[int, Iterator[State]]]) -> Iterator[tuple[int, State]]:
    """One state of each window after the other, so that any beginning is a fair sample."""
    while streams:
        left = []
        for number, states in streams:
            state = next(states, None)
            if state is not None:
                left.append((number, states))
                yield number, state
        streams = left


def _try(run: StoreRun, window: int, state: State, rng: random.Random, score: StoreScore) -> None:
    way = rng.choice(WAYS)
    try:
        Judge(run, rng, score).judge(state.disk, _allowed(run, window), way)
    except Exception as error:
        score.failed += 1
        where = f"{run.scenario.name}, window {window}, {state.label}, {way}: {error!r}"
        score.failures.append(where + "\n" + traceback.format_exc(limit=-4))


def _allowed(run: StoreRun, window: int) -> set[bytes | None]:
    """The epochs of which one must be the newest that can be read whole."""
    allowed: set[bytes | None] = {run.old}
    if run.new is not None and window >= run.new_window:
        allowed = {run.new} if window > run.new_window else {run.old, run.new}
    if run.scenario.base_may_be_lost and window < run.new_window + 1:
        allowed.add(None)
    return allowed


class Judge:
    """Looks at one disk, and goes on from it."""

    def __init__(self, run: StoreRun, rng: random.Random, score: StoreScore) -> None:
        self.run = run
        self.rng = rng
        self.score = score

    def judge(self, disk: Disk, allowed: set[bytes | None], way: str, depth: int = 0) -> None:
        content = bytes(disk)
        raw = self.raw(content)
        newest = raw.epochs[0][0].id if raw.epochs else None
        if newest not in allowed:
            raise Wrong(f"the newest epoch is {newest!r}")
        opened = RecordingDisk(content)
        store = Store.open(opened, START, self.rebooted())
        state = store.info.state.name.lower()
        self.score.opened[state] = self.score.opened.get(state, 0) + 1
        if store.info.damage is not None:
            raise Wrong(f"damage: {store.info.damage}")
        self.same(store, raw)
        if way == "nested" and depth < NESTED_DEPTH and opened.log.windows[0]:
            self.cut_again(disk, opened, newest, depth)
        elif way != "nested":
            self.go_on(store, way)
        self.whole(store, opened.content)

    def rebooted(self) -> FakeClock:
        return FakeClock(self.run.clock.wall + 500, 7)

    def raw(self, disk: bytes | bytearray) -> Segment:
        """What the raw segment holds, compared with what its owner had at each epoch."""
        segment = read_segment(
            bytes(memoryview(disk)[START : START + self.run.shape.segment_bytes])
        )
        for epoch, blocks in segment.epochs:
            if blocks != self.run.contents[epoch.id]:
                raise Wrong(f"epoch {epoch.number} is not what its owner had")
        return segment

    def same(self, store: Store, raw: Segment) -> None:
        """The store tells of the same epochs, and of the same content."""
        if store.info.state is SegmentState.UNASSIGNED:
            if raw.state:
                raise Wrong("an assigned segment is opened as unassigned")
            return
        found = [stored.epoch.id for stored in store.epochs()]
        if found != [epoch.id for epoch, _ in raw.epochs]:
            raise Wrong("the store lists other epochs")
        for epoch_id in found:
            if read_all(store, epoch_id, self.run.shape.chunks) != self.run.contents[epoch_id]:
                raise Wrong("the store reads something else")

    def cut_again(
        self, disk: Disk, opened: RecordingDisk, newest: bytes | None, depth: int
    ) -> None:
        """The settling itself is cut."""
        windows = list(walk_windows(disk, opened.log.placed(disk.sectors), SECTOR_BYTES))
        for window in [w for w in windows if len(w)][:3]:
            self.score.nested += 1
            state = any_state(window, self.rng)
            self.judge(state.disk, {newest}, self.rng.choice(WAYS), depth + 1)

    # ---- going on

    def go_on(self, store: Store, way: str) -> None:
        info = store.info
        owner = self.owner_of(store)
        if info.state is SegmentState.UNASSIGNED:
            store.assign(owner.assignment(self.run.shape.content_bytes))
            owner = replace(owner, number=0, last=bytes(16))
        if way == "undo":
            store.undo()
            return
        if way == "other":
            owner.attempt = 1
        target = self.run.target if way == "resume" else self.other_target()
        self.send(store, owner, target)
        newest = store.epochs()[0].epoch.id
        if read_all(store, newest, self.run.shape.chunks) != target:
            raise Wrong("what was sent is not what is read")

    def owner_of(self, store: Store) -> Owner:
        """The owner, who knows the newest epoch of the segment."""
        epochs = store.epochs() if store.info.state is not SegmentState.UNASSIGNED else []
        owner = replace(self.run.owner)
        if epochs:
            owner.number, owner.last = epochs[0].epoch.number, epochs[0].epoch.id
        return owner

    def other_target(self) -> Blocks:
        shape = self.run.shape
        return shape.fit(changed_blocks(self.rng, self.run.target, shape.chunks, 10))

    def send(self, store: Store, owner: Owner, target: Blocks) -> None:
        """A whole epoch; every chunk goes over, whatever is there."""
        store.accept_oversize_once()
        self.run.contents[owner.next_id()] = target
        going_on = store.info.applying_id == owner.next_id()
        resumed = store.begin(owner.next_id(), owner.number + 1, owner.last, accept_oversize=True)
        if resumed != going_on:
            raise Wrong("a cut epoch is not gone on with")
        for items, blocks in messages(range(self.run.shape.chunks), target, None, 8):
            if store.apply(items, blocks):
                raise Wrong("a whole chunk is not accepted")
        store.commit(owner.record(target, self.run.shape.content_bytes))

    def whole(self, store: Store, disk: bytearray) -> None:
        """At the end everything is whole, and nothing outside of the segment was touched."""
        damaged = list(store.scrub())
        if damaged or store.info.damage is not None:
            raise Wrong(f"damage at the end: {damaged}, {store.info.damage}")
        self.raw(disk)
        end_bytes = START + self.run.shape.segment_bytes
        for first, end in ((0, START), (end_bytes, len(disk))):
            if disk[first:end] != self.run.initial[first:end]:
                raise Wrong("something outside of the segment was written")
