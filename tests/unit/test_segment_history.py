"""Locks by two clocks, and which versions fall out."""

from __future__ import annotations

import pytest
from replicas import Owner

from blockrep.errors import PeerBusy
from blockrep.segment.epoch import Epoch, parse_epoch
from blockrep.segment.history import (
    MAX_VERSIONS,
    Version,
    is_locked,
    plan_eviction,
    wanted_free,
)
from blockrep.segment.pins import MAX_PIN_S, MAX_PINS, Pins
from blockrep.segment.ring_log import Stamp

DAY = 86_400
LOCK = 7 * DAY
BEGAN = Stamp(1_800_000_000, 50 * DAY)


@pytest.mark.parametrize(
    ("wall_s", "uptime_s", "locked"),
    [
        (0, 0, True),
        (LOCK, LOCK, False),
        (LOCK, LOCK - 1, True),
        (LOCK - 1, LOCK, True),
        (3650 * DAY, 0, True),  # the wall clock jumped forward
        (3650 * DAY, LOCK, False),
        (-1, LOCK, True),  # it jumped back, or was ahead when the version was stamped
        (-3650 * DAY, 2 * LOCK - 1, True),
        (-3650 * DAY, 2 * LOCK, False),
        (LOCK, -5, True),
    ],
)
def test_a_lock_needs_both_clocks(wall_s: int, uptime_s: int, locked: bool) -> None:
    now = Stamp(BEGAN.time_s + wall_s, BEGAN.uptime_s + uptime_s)
    assert is_locked(BEGAN, now, LOCK) is locked


def test_no_lock_is_never_locked() -> None:
    assert not is_locked(BEGAN, BEGAN, 0)


@pytest.mark.parametrize(("last", "free"), [(0, 25), (12, 25), (20, 40), (40, 50), (1000, 50)])
def test_what_shall_be_free(last: int, free: int) -> None:
    assert wanted_free(100, last) == free


def version(number: int, position: int, consistent: bool, since: Stamp = BEGAN) -> Version:
    record = Owner(number=number - 1).record({}, 65536, consistent=consistent)
    epoch: Epoch = parse_epoch(record)
    return Version(position, record, epoch, since)


def evict(versions: list[Version], **changes: object) -> int:
    arguments: dict[str, object] = {
        "present_consistent": True,
        "tail": 100,
        "head": 200,
        "ring_pages": 100,
        "last_pages": 0,
        "now": Stamp(BEGAN.time_s + LOCK, BEGAN.uptime_s + LOCK),
        "lock_s": LOCK,
        "pinned": frozenset[bytes](),
    }
    return plan_eviction(versions, **(arguments | changes))  # type: ignore[arg-type]


FOUR = [version(n + 1, 100 + 25 * n, True) for n in range(4)]


def test_the_oldest_fall_out_until_enough_is_free() -> None:
    assert evict(FOUR) == 125
    assert evict(FOUR, last_pages=20) == 150
    assert evict(FOUR, last_pages=1000) == 150


def test_nothing_falls_out_while_enough_is_free() -> None:
    assert evict(FOUR, head=175) == 100


def test_a_locked_version_stays_and_all_that_are_newer() -> None:
    assert evict(FOUR, now=BEGAN) == 100
    late = Stamp(BEGAN.time_s + 1, BEGAN.uptime_s + 1)
    assert evict([FOUR[0], version(2, 125, True, late), *FOUR[2:]], last_pages=50) == 125


def test_a_pinned_version_stays() -> None:
    assert evict(FOUR, pinned=frozenset([FOUR[0].epoch.id])) == 100
    assert evict(FOUR, pinned=frozenset([FOUR[1].epoch.id]), last_pages=50) == 125


def test_the_newest_consistent_epoch_never_falls_out() -> None:
    torn = [version(1, 100, True), *(version(n + 1, 100 + 25 * n, False) for n in range(1, 4))]
    assert evict(torn, present_consistent=False) == 100
    assert evict(torn, present_consistent=True) == 125


def test_all_may_fall_out() -> None:
    assert evict(FOUR[:1], head=190) == 190


def test_there_are_not_more_than_a_list_can_tell() -> None:
    record, epoch = FOUR[0].record, FOUR[0].epoch
    many = [Version(100 + n, record, epoch, BEGAN) for n in range(MAX_VERSIONS + 2)]
    room = {"head": 100 + len(many), "ring_pages": 1 << 20}
    assert evict(many, **room) == 100 + 3, "one place is for what is present now"
    assert evict(many[:-3], **room) == 100
    assert evict(many, now=BEGAN, **room) == 100


def test_a_pin_is_bounded() -> None:
    pins = Pins()
    assert pins.pin(b"a", 10 * DAY, 0) == MAX_PIN_S
    assert pins.pin(b"a", 5, 10) == MAX_PIN_S - 10, "a longer pin is not made shorter"
    assert pins.held(MAX_PIN_S - 1) == {b"a"}
    assert pins.held(MAX_PIN_S) == set()


def test_there_are_not_too_many_pins() -> None:
    pins = Pins()
    for number in range(MAX_PINS):
        pins.pin(bytes([number]), 100, 0)
    with pytest.raises(PeerBusy):
        pins.pin(b"another", 100, 0)
    assert pins.pin(b"another", 100, 200) == 100
