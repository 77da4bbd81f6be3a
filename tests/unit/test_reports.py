"""What is said of holders that show less than they have signed for."""

from __future__ import annotations

import time
from dataclasses import replace

from group_builders import member
from replicas import Owner

from blockrep.agent.opening import _behind
from blockrep.agent.replicas import HeldEpoch, Replica
from blockrep.agent.reports import _problem
from blockrep.segment.epoch import Epoch, parse_epoch

HOUR_S = 3600


def epoch(number: int) -> Epoch:
    record = Owner(number=number - 1).record({}, 65536)
    return replace(parse_epoch(record), time_s=int(time.time()))


def shows(*numbers: int) -> Replica:
    """A holder with these epochs, the newest first."""
    held = [HeldEpoch(epoch(n), b"", n == numbers[0], locked=True) for n in numbers]
    return Replica(member(1), b"d" * 16, tuple(held))


def test_a_holder_that_shows_less_than_it_has_signed_for_is_named() -> None:
    assert _problem(shows(6, 5), HOUR_S, epoch(7)) == (
        "it has signed for epoch 7, and shows epoch 6 as its newest"
    )
    assert _problem(shows(), HOUR_S, epoch(7)) == "it has signed for epoch 7, and shows none"


def test_a_holder_that_has_what_it_has_signed_for_is_good() -> None:
    assert _problem(shows(7, 6), HOUR_S, epoch(7)) == ""
    assert _problem(shows(8, 7), HOUR_S, epoch(7)) == ""
    assert _problem(shows(7), HOUR_S, None) == ""
    assert _problem(shows(), HOUR_S, None) == ""


def test_a_holder_that_does_not_answer_is_not_accused() -> None:
    silent = replace(shows(), failure="it does not answer")
    assert _problem(silent, HOUR_S, epoch(7)) == "it does not answer"


def test_a_restore_of_less_than_was_signed_for_is_told() -> None:
    assert _behind(epoch(7), 7) == _behind(epoch(8), 7) == _behind(epoch(1), 0) == []
    (said,) = _behind(epoch(6), 7)
    assert "epoch 6 is the newest that is shown" in said
    assert "signed for epoch 7" in said
