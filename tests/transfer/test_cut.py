"""The connection is cut after any number of bytes, in either direction: nothing is lost."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sides import HolderSide, change_blocks, random_disk, two_sides

from blockrep.segment.geometry import MIB
from blockrep.transfer.send import Mode

SIZE = 5 * MIB
PIECE = 1 << 16


class Wire:
    """Stands between owner and holder, and is cut after so many bytes of one direction."""

    def __init__(self, left: int, *, from_owner: bool) -> None:
        self.left = left
        self.from_owner = from_owner
        self.passed = 0
        self.threads: list[threading.Thread] = []
        self.ends: list[socket.socket] = []

    def connect(self, raw: socket.socket) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        raw.settimeout(None)
        self.ends += (raw, ours, theirs)
        for source, target, counted in (
            (raw, theirs, self.from_owner),
            (theirs, raw, not self.from_owner),
        ):
            thread = threading.Thread(target=self._copy, args=(source, target, counted))
            self.threads.append(thread)
            thread.start()
        return ours

    def _copy(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                if counted:
                    data = data[: max(0, self.left - self.passed)]
                    self.passed += len(data)
                target.sendall(data)
                if counted and self.passed >= self.left:
                    break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()


@contextlib.contextmanager
def wired(holder: HolderSide, left: int, *, from_owner: bool) -> Iterator[Wire]:
    wire = Wire(left, from_owner=from_owner)
    true, holder.before = holder.before, wire.connect
    try:
        yield wire
    finally:
        holder.before = true
        holder.wait()
        wire.end()


def tries(seed: int, total: int, count: int) -> list[int]:
    """The edges, and a sample of what is between."""
    rng = random.Random(seed)
    between = sorted(rng.sample(range(1, total), min(count, total - 1)))
    return [*between, total - 1]


@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("from_owner", [True, False], ids=["from owner", "from holder"])
def test_cut_anywhere(
    tmp_path: Path, mode: Mode, from_owner: bool, request: pytest.FixtureRequest, seed: int
) -> None:
    count = 60 if request.config.getoption("--all") else 6
    with two_sides(tmp_path, random_disk(1, SIZE), segment_mib=40, ring_mib=12) as (
        owner,
        (holder,),
    ):
        owner.mode = mode
        with wired(holder, 1 << 40, from_owner=from_owner) as wire:
            assert owner.back_up(holder)[0].error is None
        change_blocks(owner.path, list(range(0, 1280, 9)), 0)
        with wired(holder, 1 << 40, from_owner=from_owner) as wire:
            assert owner.back_up(holder)[0].error is None
        old = owner.expected()
        for turn, left in enumerate(tries(seed, wire.passed, count), 1):
            change_blocks(owner.path, list(range(turn % 9, 1280, 9)), turn)
            with wired(holder, left, from_owner=from_owner):
                result = owner.back_up(holder)[0]
            new = owner.expected()
            if turn % 2:
                holder.reopen()
            found = owner.replica(holder)
            assert found in ((new,) if result.error is None else (old, new)), left
            if turn % 3 == 0:
                result = owner.back_up(holder)[0]
                assert result.error is None
                found = owner.replica(holder)
                assert found == new
            old = found
        assert owner.back_up(holder)[0].error is None
        assert owner.replica(holder) == owner.expected()


def test_a_holder_that_died_is_noticed_and_the_others_go_on(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE), holders=3) as (owner, holders):
        with wired(holders[1], 2 * MIB, from_owner=True):
            results = owner.back_up(*holders)
        assert [r.error is None for r in results] == [True, False, True]
        results = owner.back_up(*holders)
        assert all(r.error is None for r in results)
        for holder in holders:
            assert owner.replica(holder) == owner.expected()


def test_what_arrived_before_a_cut_does_not_come_again(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE, zero_share=0)) as (owner, (holder,)):
        owner.mode = Mode.FULL
        with wired(holder, 4 * MIB, from_owner=True):
            assert owner.back_up(holder)[0].error is not None
        for again in (False, True):
            if again:
                holder.reopen()
            with wired(holder, 300_000, from_owner=True):
                owner.back_up(holder)
        result = owner.back_up(holder)[0]
        assert result.error is None
        assert result.sent_bytes < 3 * MIB
        assert owner.replica(holder) == owner.expected()


def test_the_cutter_cuts(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, MIB)) as (owner, (holder,)):
        with wired(holder, 5000, from_owner=True) as wire:
            assert owner.back_up(holder)[0].error is not None
        assert wire.passed == 5000
