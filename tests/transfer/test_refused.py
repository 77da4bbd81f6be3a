"""What a holder refuses, and that its replica is none the worse for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from replicas import BLOCK
from sides import HolderSide, OwnerSide, change_blocks, random_disk, two_sides

from blockrep.errors import (
    DeviceBusy,
    DeviceIO,
    DoesNotFit,
    HistoryFull,
    InternalError,
    OtherWriter,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    Stopped,
)
from blockrep.segment.epoch import parse_epoch
from blockrep.segment.geometry import MIB
from blockrep.transfer.send import HolderLink
from blockrep.transfer.stores import Peer

SIZE = 6 * MIB


def number_at(holder: HolderSide) -> int:
    record = holder.store.info.epoch
    return parse_epoch(record).number if record else 0


def test_a_first_area_that_does_not_fit(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, 30 * MIB)) as (owner, (holder,)):
        error = owner.back_up(holder)[0].error
        assert isinstance(error, DoesNotFit)
        assert str(30 * MIB) in error.message
        owner.path.write_bytes(random_disk(1, SIZE))
        assert owner.back_up(holder)[0].error is None
        owner.path.write_bytes(random_disk(1, 30 * MIB))
        assert isinstance(owner.back_up(holder)[0].error, DoesNotFit)
        assert number_at(holder) == 1


def test_a_member_without_the_right_to_write(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        holder.members[owner.identity.key] = Peer(owner.identity.key, "anna", False, frozenset())
        assert isinstance(owner.back_up(holder)[0].error, PeerRefused)
        assert holder.segments.free == [holder.store]


def test_a_clone_of_the_owner(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        assert owner.back_up(holder)[0].error is None
        owner.instance = b"the clone's disk"
        change_blocks(owner.path, [1], 1)
        error = owner.back_up(holder)[0].error
        assert isinstance(error, OtherWriter)
        assert "takeover" in error.hint
        assert number_at(holder) == 1


def test_two_sessions_for_one_segment(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        assert owner.back_up(holder)[0].error is None
        with holder.writers.only(owner.identity.key, owner.device_id):
            assert isinstance(owner.back_up(holder)[0].error, PeerBusy)
        assert owner.back_up(holder)[0].error is None


def test_a_history_that_is_full_of_locked_versions(tmp_path: Path) -> None:
    shape = {"segment_mib": 32, "ring_mib": 2}
    content = random_disk(1, SIZE, zero_share=0)
    with two_sides(tmp_path, content, holders=2, **shape) as (owner, holders):
        for holder in holders:
            holder.segments.lock_s = 7 * 86_400
        assert all(r.error is None for r in owner.back_up(*holders))
        holders[1].store.set_lock(0)
        first = owner.expected()
        change_blocks(owner.path, list(range(1000)), 1)
        results = owner.back_up(*holders)
        assert all(isinstance(r.error, HistoryFull) for r in results)
        for holder in holders:
            holder.reopen()
            assert owner.replica(holder) == first
        # The receipt of another holder proves that nothing is lost; the lock must have run out.
        owner.receipts = tuple(r.receipt for r in first_receipts(owner, holders))
        results = owner.back_up(*holders)
        assert isinstance(results[0].error, HistoryFull)
        assert results[1].error is None
        assert owner.replica(holders[1]) == owner.expected()
        holders[0].reopen()
        assert owner.replica(holders[0]) == first


def first_receipts(owner: OwnerSide, holders: list[HolderSide]) -> list[Any]:
    """A run without changes gives a receipt of the newest epoch from each holder."""
    content = owner.path.read_bytes()
    owner.path.write_bytes(owner.replica(holders[0]))
    results = owner.back_up(*holders)
    assert all(r.error is None for r in results)
    owner.path.write_bytes(content)
    return results


def test_a_holder_whose_disk_fails(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE), holders=2) as (owner, (holder, good)):
        assert all(r.error is None for r in owner.back_up(holder, good))
        first = owner.expected()
        change_blocks(owner.path, list(range(0, 1000, 3)), 1)
        write = holder.device.write

        def fail(*_: Any) -> None:
            raise DeviceIO("the medium is gone")

        holder.device.write = fail  # type: ignore[method-assign]
        results = owner.back_up(holder, good)
        assert isinstance(results[0].error, DeviceIO)
        assert results[1].error is None
        holder.device.write = write  # type: ignore[method-assign]
        holder.reopen()
        assert owner.replica(holder) == first
        assert owner.back_up(holder, good)[0].error is None
        assert owner.replica(holder) == owner.replica(good) == owner.expected()


def test_a_defect_of_the_holder_is_not_waited_for(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):

        def fail(*_: Any) -> None:
            raise ZeroDivisionError

        holder.store.apply = fail  # type: ignore[method-assign, assignment]
        assert isinstance(owner.back_up(holder)[0].error, DeviceIO)
        holder.wait()
        assert isinstance(holder.errors[0], InternalError)


def test_holders_that_cannot_be_reached(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE), holders=2) as (owner, (holder, other)):

        def fail() -> Any:
            raise PeerUnreachable("no route")

        links = [HolderLink("gone", b"k" * 32, fail), owner.link(holder), owner.link(other)]
        results = owner.replicate(links)
        assert [type(r.error) for r in results] == [PeerUnreachable, type(None), type(None)]
        assert isinstance(owner.replicate(links[:1])[0].error, PeerUnreachable)


def test_stopped_by_the_user_and_gone_on_with(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE, zero_share=0), holders=2) as (owner, holders):
        with pytest.raises(Stopped):
            owner.back_up(*holders, progress=StopAt(3 * MIB))
        for holder in holders:
            holder.wait()
            assert not holder.errors
        results = owner.back_up(*holders)
        for result, holder in zip(results, holders, strict=True):
            assert result.error is None
            assert result.sent_bytes < SIZE
            assert owner.replica(holder) == owner.expected()


class StopAt:
    """A user who loses patience when so much was done."""

    def __init__(self, limit_bytes: int) -> None:
        self.left = limit_bytes

    def phase(self, name: str, total_bytes: int = 0) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        self.left -= done_bytes

    def check(self) -> None:
        if self.left <= 0:
            raise Stopped("stopped")


def test_progress_adds_up_to_what_is_in_use(tmp_path: Path) -> None:
    class Counting(StopAt):
        total = 0

        def phase(self, name: str, total_bytes: int = 0) -> None:
            self.total += total_bytes

    progress = Counting(1 << 60)
    with two_sides(tmp_path, random_disk(1, SIZE + BLOCK)) as (owner, (holder,)):
        assert owner.back_up(holder, progress=progress)[0].error is None
    assert (1 << 60) - progress.left == progress.total == SIZE + BLOCK


def test_a_disk_that_was_used_meanwhile_is_not_committed(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        areas = iter([b"before", b"after"])
        owner.fingerprint = lambda: next(areas)
        with pytest.raises(DeviceBusy):
            owner.back_up(holder)
        holder.wait()
        assert number_at(holder) == 0
        owner.fingerprint = lambda: b"at rest"
        assert owner.back_up(holder)[0].error is None
        assert owner.replica(holder) == owner.expected()


def test_a_disk_that_cannot_be_read_ends_the_run(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        whole = owner.area()
        with owner.path.open("r+b") as file:
            file.truncate(SIZE // 2)
        owner.area = lambda: whole  # type: ignore[method-assign]
        with pytest.raises(DeviceIO):
            owner.back_up(holder)
        assert number_at(holder) == 0


def test_a_slow_holder_does_not_keep_the_others(tmp_path: Path) -> None:
    content = random_disk(1, 40 * MIB, zero_share=0)
    with two_sides(tmp_path, content, holders=2, segment_mib=64) as (owner, (slow, fast)):
        apply, gate = slow.store.apply, threading.Event()

        def wait(*args: Any) -> list[int]:
            gate.wait(60)
            return apply(*args)

        slow.store.apply = wait  # type: ignore[method-assign, assignment]
        results = owner.back_up(slow, fast, patience_s=1.0)
        gate.set()
        assert isinstance(results[0].error, PeerBusy)
        assert "slow" in results[0].error.message
        assert results[1].error is None
        assert owner.replica(fast) == owner.expected()
        slow.wait()
        slow.store.apply = apply  # type: ignore[method-assign]
        assert owner.back_up(slow, fast)[0].error is None
        assert owner.replica(slow) == owner.expected()


def test_a_holder_that_does_not_begin_does_not_keep_the_others(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE), holders=2) as (owner, (slow, fast)):
        begin, gate = slow.store.begin, threading.Event()

        def wait(*args: Any, **kwargs: Any) -> bool:
            gate.wait(60)
            return begin(*args, **kwargs)

        slow.store.begin = wait  # type: ignore[method-assign]
        results = owner.back_up(slow, fast, patience_s=1.0)
        gate.set()
        assert isinstance(results[0].error, PeerBusy)
        assert results[1].error is None
        slow.wait()


def test_stopping_does_not_wait_for_an_answer(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        gate = threading.Event()

        def wait(record: bytes) -> None:
            gate.wait(60)
            raise DeviceIO("too late")

        holder.store.commit = wait  # type: ignore[method-assign]
        began = time.monotonic()
        with pytest.raises(Stopped):
            owner.back_up(holder, progress=StopLater(2.0))
        assert time.monotonic() - began < 20
        gate.set()


class StopLater(StopAt):
    """A user who loses patience after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__(1 << 60)
        self.end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self.end:
            raise Stopped("stopped")
