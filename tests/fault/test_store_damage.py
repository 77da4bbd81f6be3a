"""Bytes that rot on the holder's disk: named, and never passed off as what the owner had."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from replicas import START, FakeClock, MemoryDisk, Owner, messages, read_all

from blockrep.errors import BlockrepError, NoSuchEpoch, RecordDamaged
from blockrep.segment.header import SLOT_OFFSETS, SegmentState, header_offset
from blockrep.segment.store import Store
from fault.campaign import Effort
from fault.store_runs import World, with_history

TRIES_IN_CI = 8
TRIES = 1000


def _settled(seed: int) -> World:
    return with_history(seed, epochs=5, changes=40)


def _applying(seed: int) -> World:
    """The ring leads back to the epoch below the one that is on its way."""
    world = _settled(seed)
    world.begin()
    world.apply(world.change(60))
    world.store.drain()
    return world


def _regions(world: World) -> dict[str, range]:
    g = world.store._opened.header.geometry
    held = world.store._opened.held
    ring_used = (held.head - held.tail) * 4096
    return {
        "map": range(g.map_offset, g.map_offset + 4096),
        "ring": range(g.ring_offset, g.ring_offset + ring_used + 65536),
        "data": range(g.data_offset, g.data_offset + world.shape.chunks * 65536),
    }


def _rot(rng: random.Random, content: bytearray, place: range) -> str:
    """Change a bit, or lose a sector, or a run of pages."""
    at = START + rng.choice(place)
    kind = rng.choice(("bit", "sector", "pages"))
    if kind == "bit":
        content[at] ^= 1 << rng.randrange(8)
    else:
        length = 512 if kind == "sector" else 4096 * rng.randrange(1, 9)
        at = min(at - at % length, START + place[-1] + 1 - length)
        content[at : at + length] = rng.choice((bytes(length), rng.randbytes(length)))
    return f"{kind} at {at - START}"


def _check(world: World, content: bytearray) -> bool:
    """Every epoch is what it was, or named as damaged; whether one was damaged."""
    disk = MemoryDisk(content)
    store = Store.open(disk, START, FakeClock(world.clock.wall, 1))
    lost = False
    for epoch_id, blocks in world.contents.items():
        try:
            assert read_all(store, epoch_id, world.shape.chunks) == blocks, "passed off"
        except (RecordDamaged, NoSuchEpoch):
            lost = True
        except AssertionError as error:
            assert str(error).startswith("damaged"), error
            lost = True
    for _ in store.scrub():
        pass
    assert not lost or store.info.damage is not None, "not named"
    _repair(world, store)
    return lost


def _repair(world: World, store: Store) -> None:
    """The owner sends all of it again, and has a whole epoch."""
    owner = Owner(number=world.owner.number + 5)
    present = store.epochs()
    owner.last = present[0].epoch.id if present else bytes(16)
    store.accept_oversize_once()
    store.begin(owner.next_id(), owner.number + 1, owner.last, accept_oversize=True)
    for items, blocks in messages(range(world.shape.chunks), world.present, None, 8):
        assert store.apply(items, blocks) == []
    store.commit(owner.record(world.present, world.shape.content_bytes))
    assert read_all(store, owner.next_id(), world.shape.chunks) == world.present


@pytest.mark.parametrize("region", ["map", "ring", "data"])
@pytest.mark.parametrize("make", [_settled, _applying])
def test_rot_is_named(make: Callable[[int], World], region: str, effort: Effort) -> None:
    world = make(effort.seed)
    places = _regions(world)
    rng = random.Random(effort.seed)
    found = 0
    for _ in range(TRIES_IN_CI if effort.budget_s else TRIES):
        content = bytearray(world.disk.content)
        what = _rot(rng, content, places[region])
        try:
            found += _check(world, content)
        except (AssertionError, BlockrepError) as error:
            raise AssertionError(f"{what} in the {region}: {error!r}") from error
    assert found, "nothing was ever damaged"


@pytest.mark.parametrize("slot", [0, 1])
def test_a_header_that_rots_leads_to_epochs_that_are_whole(slot: int, seed: int) -> None:
    world = _settled(seed)
    world.disk.content[START + SLOT_OFFSETS[slot] + 100] ^= 1
    store = Store.open(world.disk, START, world.clock)
    epochs = store.epochs()
    assert len(epochs) >= len(world.contents) - 1
    for stored in epochs:
        blocks = world.contents[stored.epoch.id]
        assert read_all(store, stored.epoch.id, world.shape.chunks) == blocks


@pytest.mark.parametrize("how", ["rot", "zeros"])
@pytest.mark.parametrize("slot", [0, 1])
def test_a_header_that_is_lost_is_told(slot: int, how: str, seed: int) -> None:
    """It may have been the newest: an older state is not passed off without a word."""
    world = _settled(seed)
    place = slice(START + SLOT_OFFSETS[slot], START + SLOT_OFFSETS[slot] + 4096)
    assert Store.open(world.disk, START, world.clock).info.doubt is None
    rotten = {"rot": b"?" + bytes(world.disk.content[place])[1:], "zeros": bytes(4096)}
    world.disk.content[place] = rotten[how]
    store = Store.open(world.disk, START, world.clock)
    assert "one of its two headers" in (store.info.doubt or "")
    store.set_lock(0)
    store.set_lock(0)
    assert store.info.doubt is None
    assert Store.open(world.disk, START, world.clock).info.doubt is None


def test_the_header_that_says_applying_rots(seed: int) -> None:
    """The one before says settled, over data that is not: the ring tells, and nothing is lost."""
    world = _applying(seed)
    newest = header_offset(world.store._opened.header.generation)
    world.disk.content[START + newest + 100] ^= 1
    store = Store.open(world.disk, START, world.clock)
    assert store.info.state is SegmentState.APPLYING
    assert store.info.damage is None
    assert [stored.epoch.id for stored in store.epochs()] == list(world.contents)[::-1]
    for epoch_id, blocks in world.contents.items():
        assert read_all(store, epoch_id, world.shape.chunks) == blocks
    store.undo()
    assert read_all(store, world.owner.last, world.shape.chunks) == world.present
    again = Store.open(world.disk, START, world.clock)
    assert again.info.state is SegmentState.SETTLED, "what an undone epoch leaves is none"


def test_both_headers_gone(seed: int) -> None:
    world = _settled(seed)
    for offset in SLOT_OFFSETS:
        world.disk.content[START + offset + 100] ^= 1
    with pytest.raises(RecordDamaged, match="both"):
        Store.open(world.disk, START, world.clock)
