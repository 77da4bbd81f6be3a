"""Power cuts of a segment's store: the old epoch or the new one, whole, at every state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from blockrep.segment.applying import Applying
from blockrep.segment.header import SegmentState
from blockrep.segment.header_file import HeaderFile
from blockrep.segment.part import SegmentPart
from fault.campaign import Effort, Score
from fault.store_campaign import run_store_campaign
from fault.store_runs import SCENARIOS, Scenario

SHARE = 0.15  # of the time of a campaign of divide, for each scenario
MISTAKE_S = 20.0  # is found long before


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_store_crash(scenario: Scenario, effort: Effort, scores: dict[str, Score]) -> None:
    run = scenario.record(effort.seed)
    budget_s = effort.budget_s * SHARE
    score = run_store_campaign(run, effort.seed, budget_s, random_states=20 if budget_s else 60)
    scores[f"store: {scenario.name}"] = score
    assert not score.failures, f"{score}\n" + "\n".join(score.failures)
    assert score.tried >= len([window for window in run.log.windows if window])


# ---- the campaign finds what it is there for


def _no_flush(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SegmentPart, "flush", lambda part: None)


def _data_before_ring(patch: pytest.MonkeyPatch) -> None:
    drain = Applying.drain

    def wrong(work: Applying) -> None:
        log, work.log = work.log, None
        drain(work)
        if log is not None and log.has_pending:
            log.write_out()
        work.log = log

    patch.setattr(Applying, "drain", wrong)


def _header_too_late(patch: pytest.MonkeyPatch) -> None:
    save = HeaderFile.save

    def wrong(file: HeaderFile, held: object, state: SegmentState) -> None:
        flush = file._part.flush
        if state is SegmentState.APPLYING:
            file._part.flush = lambda: None  # type: ignore[method-assign]
        save(file, held, state)  # type: ignore[arg-type]
        file._part.flush = flush  # type: ignore[method-assign]

    patch.setattr(HeaderFile, "save", wrong)


def _kept_blocks_forgotten(patch: pytest.MonkeyPatch) -> None:
    from blockrep.segment import applying

    entry = applying.Entry
    patch.setattr(applying, "Entry", lambda mask, kept, digest: entry(mask, 0, digest))


def _batches_not_checked(patch: pytest.MonkeyPatch) -> None:
    from blockrep.segment.walk import BatchReader

    patch.setattr(BatchReader, "is_whole", lambda reader, batch: True)


MISTAKES: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "nothing is flushed": ("differential", _no_flush),
    "data before ring": ("differential", _data_before_ring),
    "header not flushed": ("first full copy", _header_too_late),
    "kept blocks are forgotten": ("eviction", _kept_blocks_forgotten),
    "a torn batch is believed": ("full copy over an epoch", _batches_not_checked),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    name, break_it = MISTAKES[mistake]
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    break_it(monkeypatch)
    try:
        score = run_store_campaign(scenario.record(seed), seed, MISTAKE_S, 20, most_failures=1)
    except AssertionError:
        return  # found even without a cut
    assert score.failures
