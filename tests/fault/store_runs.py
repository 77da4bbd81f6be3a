"""Runs of the store over a small segment, recorded: what is cut, and what must be there then."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from replicas import (
    BLOCK,
    CHUNK,
    START,
    Blocks,
    FakeClock,
    Owner,
    changed_blocks,
    differing_chunks,
    messages,
    new_disk,
    random_blocks,
    send,
)

from blockrep.segment.geometry import MIB
from blockrep.segment.store import Store
from fault.recorder import WriteLog
from fault.sectors import Disk
from fault.store_disk import RecordingDisk

RING_BYTES = 2 * MIB  # the guard page lies in it


@dataclass(frozen=True)
class Shape:
    """A segment, and the first area in it; `share` of its blocks are stored at first."""

    segment_bytes: int
    chunks: int
    share: float

    @property
    def content_bytes(self) -> int:
        """The last chunk reaches past it."""
        return self.chunks * CHUNK - 3 * BLOCK

    def fit(self, blocks: Blocks) -> dict[int, bytes]:
        """Without what lies past the end of the content."""
        return {n: data for n, data in blocks.items() if (n + 1) * BLOCK <= self.content_bytes}


SMALL = Shape(8 * MIB, 28, 0.5)
WIDE = Shape(16 * MIB, 120, 0.1)  # its map has two pages


@dataclass
class World:
    """A segment in use: what is on its disk, and what its owner and the test know of it."""

    rng: random.Random
    disk: RecordingDisk
    owner: Owner
    clock: FakeClock
    store: Store
    shape: Shape
    contents: dict[bytes, Blocks] = field(default_factory=dict)  # of every epoch, by id
    present: Blocks = field(default_factory=dict)
    target: Blocks = field(default_factory=dict)  # of an epoch that was cut

    def change(self, count: int) -> dict[int, bytes]:
        """What the first area becomes when so many of its blocks change."""
        changed = changed_blocks(self.rng, self.present, self.shape.chunks, count)
        return self.shape.fit(changed)

    def fill(self) -> dict[int, bytes]:
        """What the first area is at first."""
        return self.shape.fit(random_blocks(self.rng, self.shape.chunks, self.shape.share))

    def commit(self, new: Blocks) -> None:
        """Commit what was applied as the next epoch."""
        self.contents[self.owner.next_id()] = new
        self.store.commit(self.owner.record(new, self.shape.content_bytes))
        self.owner.committed()
        self.present = new

    def epoch(self, new: Blocks, *, full: bool = False) -> None:
        """One more epoch, not looked at."""
        self.clock.go_on(100)
        self.contents[self.owner.next_id()] = new
        old, content_bytes = None if full else self.present, self.shape.content_bytes
        send(self.store, self.owner, new, old, content_bytes)
        self.present = new

    def begin(self, *, accept_oversize: bool = False) -> bool:
        self.clock.go_on(100)
        owner = self.owner
        return self.store.begin(
            owner.next_id(), owner.number + 1, owner.last, accept_oversize=accept_oversize
        )

    def apply(self, new: Blocks, *, full: bool = False, size: int = 4) -> None:
        """Send what differs, in messages of `size` chunks, two of them in a flush window."""
        chunks = range(self.shape.chunks) if full else differing_chunks(self.present, new)
        sent = messages(chunks, new, None if full else self.present, size)
        for number, (items, blocks) in enumerate(sent):
            assert self.store.apply(items, blocks) == []
            if number % 2:
                self.store.drain()


@dataclass
class StoreRun:
    """One recorded run. `new` is the epoch that it commits, None when it commits none.

    `owner` and `clock` are as before the run. `new_window` is the window of the header that makes
    `new` the present epoch. `target` is what somebody comes to who resumes the run.
    """

    scenario: Scenario
    shape: Shape
    initial: Disk
    log: WriteLog
    owner: Owner
    clock: FakeClock
    contents: dict[bytes, Blocks]
    old: bytes | None
    target: Blocks
    new: bytes | None
    new_window: int


# ---- beginnings


def new_world(seed: int, *, shape: Shape = SMALL, assign: bool = True, lock_s: int = 0) -> World:
    """A segment with the noise of an earlier user in it."""
    raw = new_disk(shape.segment_bytes, RING_BYTES, noise=seed)
    disk = RecordingDisk(raw)
    owner, clock = Owner(), FakeClock()
    store = Store.open(disk, START, clock)
    if assign:
        store.assign(owner.assignment(shape.content_bytes, lock_s))
    return World(random.Random(seed), disk, owner, clock, store, shape)


def with_history(
    seed: int, *, shape: Shape = SMALL, epochs: int = 3, changes: int = 20, lock_s: int = 0
) -> World:
    """A full copy, and some differential epochs behind it."""
    world = new_world(seed, shape=shape, lock_s=lock_s)
    world.present = world.fill()
    world.epoch(world.present, full=True)
    for _ in range(epochs):
        world.epoch(world.change(changes))
    return world


# ---- runs


@dataclass(frozen=True)
class Scenario:
    """What is done with a segment that `begin` makes; `act` gives what it came to."""

    name: str
    begin: Callable[[int], World]
    act: Callable[[World], Blocks]
    base_may_be_lost: bool = False

    def record(self, seed: int) -> StoreRun:
        """Do it, and keep all that was written."""
        world = self.begin(seed)
        initial, owner, clock = world.disk.numbered(), replace(world.owner), replace(world.clock)
        world.disk.log = WriteLog()
        target = self.act(world)
        return StoreRun(
            self,
            world.shape,
            initial,
            world.disk.log,
            owner,
            clock,
            world.contents,
            owner.last if owner.number else None,
            target,
            world.owner.last if world.owner.number > owner.number else None,
            len([w for w in world.disk.log.windows if w]) - 1,
        )


def _assign(world: World) -> Blocks:
    world.store.assign(world.owner.assignment(world.shape.content_bytes))
    return {}


def _first_full(world: World) -> Blocks:
    new = world.fill()
    world.begin()
    world.apply(new, full=True)
    world.commit(new)
    return new


def _full_again(world: World) -> Blocks:
    new = world.change(60)
    world.begin()
    world.apply(new, full=True)
    world.commit(new)
    return new


def _differential(world: World, changes: int = 40) -> Blocks:
    new = world.change(changes)
    world.begin()
    world.apply(new)
    world.commit(new)
    return new


def _rounds(world: World) -> Blocks:
    """Chunks that are sent twice and three times in an epoch, as on a disk that is in use."""
    before = world.present
    world.begin()
    for _ in range(3):
        new = world.change(40)
        world.apply(new)
        world.store.drain()
        world.present = new  # what the next round is compared with
    world.present = before
    world.commit(new)
    return new


def _undo(world: World) -> Blocks:
    new = world.change(40)
    world.begin()
    world.apply(new)
    world.store.undo()
    return new


def _in_the_middle(seed: int) -> World:
    """An epoch was cut."""
    world = with_history(seed)
    before, world.disk.log = world.disk.numbered(), WriteLog()
    new = world.change(60)
    world.begin()
    half = dict(world.present)
    half.update({n: data for n, data in new.items() if n < world.shape.chunks * 8})
    world.apply(half)
    world.store.drain()
    world.disk = RecordingDisk(_cut(before, world.disk.log))
    world.target = new
    return world


def _cut(before: Disk, log: WriteLog) -> bytes:
    """The disk when of the writes since the last flush each second one was lost."""
    *flushed, last = log.windows
    windows = WriteLog([*flushed, last[::2]]).placed(before.sectors)
    return bytes(before.after(windows))


def _resume(world: World) -> Blocks:
    world.store = Store.open(world.disk, START, world.clock)
    assert world.begin()
    world.apply(world.target, full=True)
    world.commit(world.target)
    return world.target


def _evict(world: World) -> Blocks:
    before = len(world.store.epochs())
    new = _differential(world, 150)
    assert len(world.store.epochs()) <= before
    return new


def _oversize(world: World) -> Blocks:
    world.store.accept_oversize_once()
    new = world.change(2000)
    world.begin(accept_oversize=True)
    world.apply(new)
    assert world.store.info.base_lost
    world.commit(new)
    return new


def _headers(world: World) -> Blocks:
    world.store.set_escrow(b"other keys")
    world.store.set_lock(77)
    world.clock.go_on(4000)
    world.store.tick()
    return world.present


SCENARIOS = (
    Scenario("assign", lambda seed: new_world(seed, assign=False), _assign),
    Scenario("first full copy", new_world, _first_full),
    Scenario("full copy over an epoch", with_history, _full_again),
    Scenario("differential", with_history, _differential),
    Scenario(
        "differential over two map pages",
        lambda seed: with_history(seed, shape=WIDE),
        _differential,
    ),
    Scenario("rounds", with_history, _rounds),
    Scenario("undo", with_history, _undo),
    Scenario("resume", _in_the_middle, _resume),
    # The ring has been round several times, and each commit lets a version fall out.
    Scenario("eviction", lambda seed: with_history(seed, epochs=14, changes=150), _evict),
    # Larger than the room that locked versions leave, and accepted at the holder.
    Scenario(
        "oversize",
        lambda seed: with_history(seed, epochs=7, changes=90, lock_s=10**6),
        _oversize,
        base_may_be_lost=True,
    ),
    Scenario("header changes", with_history, _headers),
)
