"""The store of a segment: what it does, and what it refuses."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fault.recorder import Fault
from fault.store_disk import FaultyDisk
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
    digest_of,
    mask_of,
    messages,
    new_disk,
    packed,
    random_blocks,
    read_all,
    send,
)

from blockrep.disk.device import Device
from blockrep.errors import (
    DeviceIO,
    DoesNotFit,
    EpochRefused,
    HistoryFull,
    InternalError,
    NoSuchEpoch,
    OtherWriter,
    ProtocolError,
    ReplicaAhead,
    UsageError,
)
from blockrep.segment import history, writer
from blockrep.segment.geometry import MIB
from blockrep.segment.header import SegmentState
from blockrep.segment.store import UNFINISHED_LIMIT_S, Store
from blockrep.transfer.messages import MAX_EPOCHS

CHUNKS = 28
CONTENT = CHUNKS * CHUNK
NEW = bytes(new_disk(8 * MIB, 2 * MIB))
DAY = 86_400


class Case:
    """A segment with one epoch."""

    def __init__(self, lock_s: int = 0) -> None:
        self.rng = random.Random(5)
        self.disk = MemoryDisk(NEW)
        self.clock = FakeClock()
        self.owner = Owner()
        self.store = Store.open(self.disk, START, self.clock)
        self.store.assign(self.owner.assignment(CONTENT, lock_s))
        self.blocks: Blocks = random_blocks(self.rng, CHUNKS, 0.5)
        send(self.store, self.owner, self.blocks, None, CONTENT)

    def begin(self, **options: bool) -> bool:
        owner = self.owner
        return self.store.begin(owner.next_id(), owner.number + 1, owner.last, **options)

    def change(self, count: int) -> dict[int, bytes]:
        return changed_blocks(self.rng, self.blocks, CHUNKS, count)

    def epoch(self, count: int, **options: bool) -> None:
        new = self.change(count)
        send(self.store, self.owner, new, self.blocks, CONTENT, **options)  # type: ignore[arg-type]
        self.blocks = new

    def apply(self, new: Blocks) -> None:
        for items, blocks in messages(differing_chunks(self.blocks, new), new, self.blocks, 4):
            assert self.store.apply(items, blocks) == []

    def reads(self, epoch_id: bytes, blocks: Blocks) -> bool:
        return read_all(self.store, epoch_id, CHUNKS) == blocks


@pytest.fixture
def case() -> Iterator[Case]:
    yield Case()


# ---- whose it is


def test_an_unassigned_segment() -> None:
    store = Store.open(MemoryDisk(NEW), START, FakeClock())
    info = store.info
    assert (info.state, info.owner_key, info.epoch) == (SegmentState.UNASSIGNED, b"", None)
    assert info.capacity_bytes == 2 * MIB
    with pytest.raises(UsageError, match="not assigned"):
        store.epochs()
    with pytest.raises(UsageError, match="not assigned"):
        store.begin(b"i" * 16, 1, bytes(16))


def test_an_assigned_segment_says_whose_it_is(case: Case) -> None:
    info = case.store.info
    assert (info.owner_key, info.owner_name) == (case.owner.public, "anna")
    assert (info.device_id, info.group_id, info.writer) == (b"d" * 16, b"g" * 16, b"w" * 16)
    assert info.content_bytes == CONTENT
    assert case.store.escrow() == b"escrow"
    again = Store.open(case.disk, START, case.clock)
    assert again.info == info


def test_a_first_area_that_does_not_fit_is_refused_with_the_numbers() -> None:
    store = Store.open(MemoryDisk(NEW), START, FakeClock())
    with pytest.raises(DoesNotFit, match=r"4 MiB.*2 MiB"):
        store.assign(Owner().assignment(4 * MIB))
    assert store.info.state is SegmentState.UNASSIGNED


def test_a_segment_has_one_owner(case: Case) -> None:
    with pytest.raises(UsageError, match="owner already"):
        case.store.assign(case.owner.assignment(CONTENT))


@pytest.mark.parametrize(
    "wrong",
    [{"owner_name": "a\x1bb"}, {"owner_name": "x" * 65}, {"writer": b""}, {"escrow": bytes(2045)}],
)
def test_an_assignment_that_makes_no_sense(wrong: dict[str, object]) -> None:
    store = Store.open(MemoryDisk(NEW), START, FakeClock())
    with pytest.raises(UsageError):
        store.assign(replace(Owner().assignment(CONTENT), **wrong))  # type: ignore[arg-type]


def test_released_and_assigned_again_nothing_is_left(case: Case) -> None:
    last = case.owner.last
    case.store.release()
    assert case.store.info.state is SegmentState.UNASSIGNED
    case.store.assign(Owner(seed=2).assignment(CONTENT))
    assert case.store.epochs() == []
    assert not any(case.store.map_pages(0, 1)[16:4080])
    with pytest.raises(NoSuchEpoch):
        case.store.view(last)


def test_what_an_earlier_owner_had_is_not_found_out(case: Case) -> None:
    """Its blocks still lie there, but nobody gets an answer about them (S9)."""
    secret = next(n for n in case.blocks if n % 16 == 0)
    case.store.release()
    new = Owner(seed=2)
    case.store.assign(new.assignment(CONTENT))
    chunk, data = secret // 16, case.blocks[secret]
    digest = hashlib.sha256(b"\1\0" + data).digest()
    short = hashlib.sha256(b"s" * 16 + data).digest()[:8]
    case.store.begin(new.next_id(), 1, bytes(16))
    assert case.store.compare(b"s" * 16, [(chunk, 1, digest, short)], True) == [1]
    assert case.store.apply([(chunk, 1, 0, digest)], b"") == [chunk]


# ---- refused epochs


def test_only_what_follows_is_taken(case: Case) -> None:
    store, owner = case.store, case.owner
    for number, parent in ((1, owner.last), (2, bytes(16)), (0, owner.last)):
        with pytest.raises(ReplicaAhead):
            store.begin(b"i" * 16, number, parent)
    with pytest.raises(ReplicaAhead):
        store.begin(owner.last, 2, owner.last)
    with pytest.raises(ProtocolError):
        store.begin(bytes(16), 2, owner.last)


def test_a_record_must_be_that_of_the_epoch(case: Case) -> None:
    new = case.change(10)
    case.begin()
    case.apply(new)
    good = case.owner.record(new, CONTENT)
    refused = (
        bytes(1024),
        good[:900] + bytes(60) + good[960:],
        Owner(seed=3, number=1, last=case.owner.last).record(new, CONTENT),
        replace(case.owner, attempt=1).record(new, CONTENT),
        replace(case.owner, number=0, attempt=1).record(new, CONTENT),
        replace(case.owner, device=b"x" * 16).record(new, CONTENT),
        case.owner.record(case.blocks, CONTENT),
        case.owner.record(new, 4 * MIB),
    )
    for record in refused:
        with pytest.raises((EpochRefused, ReplicaAhead)):
            case.store.commit(record)
    with pytest.raises(OtherWriter):
        case.store.commit(replace(case.owner, writer=b"x" * 16).record(new, CONTENT))
    case.store.commit(good)
    assert case.store.info.epoch == good


def test_another_writer_after_a_takeover(case: Case) -> None:
    case.store.set_writer(b"n" * 16)
    assert case.store.info.writer == b"n" * 16
    new = case.change(5)
    case.begin()
    case.apply(new)
    with pytest.raises(OtherWriter):
        case.store.commit(case.owner.record(new, CONTENT))
    case.owner.writer = b"n" * 16
    case.store.commit(case.owner.record(new, CONTENT))


@pytest.mark.parametrize(
    "items",
    [
        [(3, 1, 1, bytes(32)), (3, 1, 1, bytes(32))],
        [(4, 1, 1, bytes(32)), (3, 1, 1, bytes(32))],
        [(32, 1, 1, bytes(32))],
        [(-1, 1, 1, bytes(32))],
        [(1 << 40, 1, 1, bytes(32))],
        [(3, 1, 2, bytes(32))],
        [(3, 1 << 16, 0, bytes(32))],
        [(3, 1, 1, bytes(31))],
        [(3, 3, 3, bytes(32))],
    ],
)
def test_messages_that_lie(case: Case, items: list[tuple[int, int, int, bytes]]) -> None:
    case.begin()
    case.store.drain()
    before = bytes(case.disk.content)
    with pytest.raises(ProtocolError):
        case.store.apply(items, bytes(BLOCK))
    case.store.drain()
    assert case.disk.content == before


def test_nothing_is_applied_before_an_epoch_was_begun(case: Case) -> None:
    with pytest.raises(ProtocolError, match="begun"):
        case.store.apply([], b"")
    with pytest.raises(ProtocolError, match="begun"):
        case.store.commit(bytes(1024))


@pytest.mark.parametrize(("first", "count"), [(0, 0), (0, 257), (-1, 1), (256, 1), (1 << 60, 1)])
def test_map_pages_that_are_not_there(case: Case, first: int, count: int) -> None:
    with pytest.raises(ProtocolError):
        case.store.map_pages(first, count)


def test_reading_what_is_not_there(case: Case) -> None:
    reader = case.store.view(case.owner.last)
    empty = next(c for c in range(CHUNKS) if mask_of(case.blocks, c) != 0xFFFF)
    for items in ([(empty, 0xFFFF)], [(40, 0)], [(2, 0), (1, 0)], [(c, 0) for c in range(65)]):
        with pytest.raises(ProtocolError):
            reader.read(items)
    with pytest.raises(NoSuchEpoch):
        case.store.view(b"?" * 16)


# ---- chunks that do not fit together


def test_a_chunk_that_does_not_fit_must_come_whole(case: Case) -> None:
    new = case.change(30)
    chunks = differing_chunks(case.blocks, new)
    case.begin()
    (items, blocks), *_ = messages(chunks, new, case.blocks, 30)
    wrong = [(c, mask, sent, bytes(32) if c == chunks[1] else d) for c, mask, sent, d in items]
    assert case.store.apply(wrong, blocks) == [chunks[1]]
    for whole_items, whole in messages([chunks[1]], new, None, 1):
        assert case.store.apply(whole_items, whole) == []
    case.store.commit(case.owner.record(new, CONTENT))


def test_rot_under_a_part_that_is_sent(case: Case) -> None:
    """What lies there does not fit any more: the whole chunk is asked for, and the rot is named."""
    chunk = next(c for c in range(CHUNKS) if mask_of(case.blocks, c).bit_count() > 3)
    first, second = [n for n in case.blocks if n // 16 == chunk][:2]
    place = START + case.store._opened.part.chunk_offset(chunk) + (second % 16) * BLOCK
    case.disk.content[place] ^= 1
    new = dict(case.blocks)
    new[first] = bytes([7]) * BLOCK
    case.begin()
    (items, blocks), *_ = messages([chunk], new, case.blocks, 1)
    assert case.store.apply(items, blocks) == [chunk]
    for whole_items, whole in messages([chunk], new, None, 1):
        assert case.store.apply(whole_items, whole) == []
    old = case.owner.last
    case.store.commit(case.owner.record(new, CONTENT))
    case.owner.committed()
    assert case.reads(case.owner.last, new)
    assert case.store.view(old).read([(chunk, 0)]).damaged == [True]
    assert "do not have their digest" in (case.store.info.damage or "")


def test_what_is_there_already_is_not_written_again(case: Case) -> None:
    case.begin()
    before = case.store.info.ring_free_bytes
    for items, blocks in messages(range(CHUNKS), case.blocks, None, 8):
        assert case.store.apply(items, blocks) == []
    case.store.commit(case.owner.record(case.blocks, CONTENT))
    assert before - case.store.info.ring_free_bytes == BLOCK, "the batch that leads back"


def test_comparing(case: Case) -> None:
    new = case.change(40)
    salt = b"s" * 16

    def item(chunk: int) -> tuple[int, int, bytes, bytes]:
        mask = mask_of(new, chunk)
        data = packed(new, chunk, mask)
        parts = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
        short = b"".join(hashlib.sha256(salt + part).digest()[:8] for part in parts)
        return chunk, mask, digest_of(new, chunk), short

    case.begin()
    for chunk in range(CHUNKS):
        numbers = range(chunk * 16, chunk * 16 + 16)
        differing = sum(1 << n % 16 for n in numbers if n in new and new[n] != case.blocks.get(n))
        assert case.store.compare(salt, [item(chunk)]) == [differing]
    case.apply(new)
    for chunk in range(CHUNKS):
        assert case.store.compare(salt, [item(chunk)]) == [0], "what is pending counts"
    place = START + case.store._opened.part.chunk_offset(min(new) // 16)
    case.store.drain()
    case.disk.content[place + (min(new) % 16) * BLOCK] ^= 1
    wanted = case.store.compare(salt, [item(min(new) // 16)], True)
    assert wanted == [1 << min(new) % 16], "with verify the data itself is read"
    with pytest.raises(ProtocolError):
        case.store.compare(salt, [(0, 1, bytes(32), b"")])
    with pytest.raises(ProtocolError):
        case.store.compare(salt, [(c, 0, bytes(32), b"") for c in range(17)])


# ---- history


def test_versions_are_read_while_the_next_epoch_comes(case: Case) -> None:
    known = {case.owner.last: dict(case.blocks)}
    for _ in range(4):
        case.epoch(15)
        known[case.owner.last] = dict(case.blocks)
    readers = {key: case.store.view(key) for key in known}
    new = case.change(60)
    case.begin()
    case.apply(new)
    for key, blocks in known.items():
        readers[key].verify()
        assert case.reads(key, blocks)
    case.store.undo()
    for key, blocks in known.items():
        assert case.reads(key, blocks)


def test_a_ring_that_is_full_of_locked_versions_refuses() -> None:
    case = Case(lock_s=7 * DAY)
    with pytest.raises(HistoryFull):
        for _ in range(40):
            case.epoch(150)
    first = case.store.epochs()[-1]
    assert (first.epoch.number, first.locked) == (1, True)
    case.store.undo()
    assert case.reads(case.owner.last, case.blocks)
    # Jumping clocks do not help, time does.
    case.clock.wall += 100 * 365 * DAY
    case.store.tick()
    assert case.store.epochs()[-1].epoch.number == 1
    case.clock.uptime += 7 * DAY
    case.store.tick()
    assert case.store.epochs()[-1].epoch.number > 1
    case.epoch(100)


def test_many_small_epochs_do_not_crowd_out_what_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a page of the ring, and a place in the memory of the holder and in EPOCHS."""
    monkeypatch.setattr(history, "MAX_VERSIONS", 5)
    monkeypatch.setattr(writer, "MAX_VERSIONS", 5)
    case = Case(lock_s=7 * DAY)
    for _ in range(5):
        case.epoch(0)
    with pytest.raises(HistoryFull, match="5 versions"):
        case.epoch(0)
    assert [e.epoch.number for e in case.store.epochs()] == [6, 5, 4, 3, 2, 1]
    case.clock.go_on(7 * DAY)
    case.epoch(0)
    assert [e.epoch.number for e in case.store.epochs()] == [7, 6, 5, 4, 3]
    case.store = Store.open(case.disk, START, case.clock)
    assert [e.epoch.number for e in case.store.epochs()] == [7, 6, 5, 4, 3]


def test_as_many_versions_as_one_list_tells() -> None:
    assert history.MAX_VERSIONS + 1 == MAX_EPOCHS


def test_an_epoch_larger_than_the_room_needs_a_proof_and_an_acceptance() -> None:
    case = Case(lock_s=7 * DAY)
    while case.store.info.ring_free_bytes > 200 * BLOCK:
        case.epoch(60)
    new = case.change(3000)
    for accepted, proven in ((False, False), (True, False), (False, True)):
        if accepted:
            case.store.accept_oversize_once()
        case.begin(accept_oversize=proven)
        with pytest.raises(HistoryFull):
            case.apply(new)
        case.store.undo()
        assert case.reads(case.owner.last, case.blocks)
        case.store._writer.accepts_oversize = False
    case.store.accept_oversize_once()
    case.begin(accept_oversize=True)
    case.apply(new)
    assert case.store.info.base_lost
    assert case.store.info.epoch is None
    assert case.store.epochs() == []
    case.store.commit(case.owner.record(new, CONTENT))
    case.owner.committed()
    assert case.reads(case.owner.last, new)
    assert not case.store.info.base_lost


def test_once_the_locks_have_run_out_no_acceptance_is_needed() -> None:
    case = Case(lock_s=DAY)
    while case.store.info.ring_free_bytes > 200 * BLOCK:
        case.epoch(60)
    pinned = case.store.epochs()[0].epoch.id
    case.clock.go_on(DAY)
    assert case.store.pin(pinned, DAY) == DAY
    # What a reader has pinned is not given up.
    case.begin(accept_oversize=True)
    assert not case.store._writer._may_lose_base
    case.store.undo()
    case.clock.go_on(DAY)
    case.begin(accept_oversize=True)
    assert case.store._writer._may_lose_base


def test_a_pinned_version_stays_until_the_pin_ends(case: Case) -> None:
    for _ in range(3):
        case.epoch(100)
    oldest = case.store.epochs()[-1].epoch.id
    assert case.store.pin(oldest, 100) == 100
    with pytest.raises(HistoryFull):
        for _ in range(30):
            case.epoch(150)
    case.store.undo()
    assert case.store.epochs()[-1].epoch.id == oldest
    case.clock.go_on(101)
    case.store.tick()
    assert case.store.epochs()[-1].epoch.id != oldest
    with pytest.raises(NoSuchEpoch):
        case.store.pin(oldest, 5)


def test_an_epoch_that_nobody_goes_on_with_is_undone(case: Case) -> None:
    new = case.change(10)
    generation = case.store.info.map_generation
    case.begin()
    case.apply(new)
    case.clock.go_on(UNFINISHED_LIMIT_S - 1)
    case.store.tick()
    assert case.store.info.state is SegmentState.APPLYING
    case.clock.go_on(1)
    case.store.tick()
    assert case.store.info.state is SegmentState.SETTLED
    assert case.store.info.map_generation == generation + 1
    assert case.reads(case.owner.last, case.blocks)


def test_an_epoch_that_rests_is_gone_on_with(case: Case) -> None:
    new = case.change(60)
    chunks = differing_chunks(case.blocks, new)
    case.begin()
    for part in (chunks[::2], chunks[1::2]):
        for items, blocks in messages(part, new, case.blocks, 4):
            assert case.store.apply(items, blocks) == []
        case.clock.go_on(100)
        case.store.tick()
    case.store.commit(case.owner.record(new, CONTENT))
    case.owner.committed()
    assert case.reads(case.owner.last, new)


def test_uptime_is_counted_over_restarts(case: Case) -> None:
    for _ in range(3):
        case.clock.go_on(4000)
        case.store.tick()
        case.clock.uptime = 3
        case.store = Store.open(case.disk, START, case.clock)
    assert case.store._opened.file.stamp().uptime_s == 12_000


# ---- the disk


def test_after_a_failed_write_the_segment_is_settled_and_gone_on_with(case: Case) -> None:
    disk = FaultyDisk(case.disk.content, fault=Fault.ONCE)
    store = Store.open(disk, START, case.clock)
    new = case.change(40)
    owner = case.owner
    store.begin(owner.next_id(), owner.number + 1, owner.last)
    for items, blocks in messages(differing_chunks(case.blocks, new), new, case.blocks, 30):
        assert store.apply(items, blocks) == []
    disk.fail_at = disk.operations + 4
    with pytest.raises(DeviceIO, match="test fault"):
        store.drain()
    for refused in (store.drain, store.undo, lambda: store.commit(owner.record(new, CONTENT))):
        with pytest.raises(DeviceIO, match="failed before"):
            refused()
    assert "test fault" in (store.info.damage or "")
    assert store.begin(owner.next_id(), owner.number + 1, owner.last), "it goes on"
    assert store.info.damage is None
    assert read_all(store, owner.last, CHUNKS) == case.blocks
    for items, blocks in messages(range(CHUNKS), new, None, 30):
        assert store.apply(items, blocks) == []
    store.commit(owner.record(new, CONTENT))
    owner.committed()
    assert read_all(store, owner.last, CHUNKS) == new


def test_nothing_outside_of_map_ring_and_data_can_be_written(case: Case) -> None:
    part = case.store._opened.part
    g = part.geometry
    for offset in (0, 1536 << 10, g.segment_bytes - MIB, g.segment_bytes, -4096, 4 << 20):
        with pytest.raises(InternalError):
            part.write(offset, memoryview(bytearray(4096)))
    for offset in (-1, g.segment_bytes):
        with pytest.raises(InternalError):
            part.read(offset, memoryview(bytearray(4096)))


def test_on_a_real_file_with_direct_io(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(NEW)
    owner, clock, rng = Owner(), FakeClock(), random.Random(9)
    with Device(path, writable=True) as device:
        store = Store.open(device, START, clock)
        store.assign(owner.assignment(CONTENT))
        first = random_blocks(rng, CHUNKS, 0.7)
        send(store, owner, first, None, CONTENT)
        second = changed_blocks(rng, first, CHUNKS, 60)
        old = owner.last
        send(store, owner, second, first, CONTENT)
    with Device(path, writable=True) as device:
        store = Store.open(device, START, clock)
        assert read_all(store, owner.last, CHUNKS) == second
        assert read_all(store, old, CHUNKS) == first
        assert list(store.scrub()) == []


def test_who_asks_for_the_epochs_after_a_failed_write_can_read_them(case: Case) -> None:
    disk = FaultyDisk(case.disk.content, fault=Fault.ONCE)
    store = Store.open(disk, START, case.clock)
    new, owner = case.change(40), case.owner
    store.begin(owner.next_id(), owner.number + 1, owner.last)
    for items, blocks in messages(differing_chunks(case.blocks, new), new, case.blocks, 30):
        assert store.apply(items, blocks) == []
    disk.fail_at = disk.operations + 4
    with pytest.raises(DeviceIO, match="test fault"):
        store.drain()
    assert [held.epoch.id for held in store.epochs()] == [owner.last]
    assert read_all(store, owner.last, CHUNKS) == case.blocks
    assert store.info.damage is None


def test_epochs_that_cannot_be_read_are_not_told(case: Case) -> None:
    disk = FaultyDisk(case.disk.content, fault=Fault.FOR_GOOD)
    store = Store.open(disk, START, case.clock)
    new, owner = case.change(40), case.owner
    store.begin(owner.next_id(), owner.number + 1, owner.last)
    for items, blocks in messages(differing_chunks(case.blocks, new), new, case.blocks, 30):
        assert store.apply(items, blocks) == []
    disk.fail_at = disk.operations + 4
    with pytest.raises(DeviceIO, match="test fault"):
        store.drain()
    with pytest.raises(DeviceIO):
        store.epochs()


@pytest.mark.parametrize("fail_at", range(1, 14))
def test_an_undo_that_fails_anywhere_is_made_up_for(case: Case, fail_at: int) -> None:
    """Also when it is a read that fails: nobody is told anything else than what was."""
    disk = FaultyDisk(case.disk.content, fault=Fault.ONCE)
    store = Store.open(disk, START, case.clock)
    new, owner = case.change(40), case.owner
    store.begin(owner.next_id(), owner.number + 1, owner.last)
    for items, blocks in messages(differing_chunks(case.blocks, new), new, case.blocks, 30):
        assert store.apply(items, blocks) == []
    store.drain()
    disk.fail_at = disk.operations + fail_at
    with pytest.raises(DeviceIO, match="test fault"):
        store.undo()
    with pytest.raises(DeviceIO, match="failed before"):
        read_all(store, owner.last, CHUNKS)
    store.tick()
    assert read_all(store, owner.last, CHUNKS) == case.blocks
    store.undo()
    assert read_all(store, owner.last, CHUNKS) == case.blocks
    assert store.info.damage is None
