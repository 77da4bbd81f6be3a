"""Power cuts: at every state of divide, undivide and recover, nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from images.kinds import Kind

from fault.campaign import Effort, Score, run_campaign
from fault.conftest import kinds
from fault.runs import Run, divide_run, undivide_run

pytestmark = pytest.mark.root

LOG_MAGIC = b"BLKREPLG"


def _try_states(run: Run, name: str, effort: Effort, scores: dict[str, Score]) -> None:
    score = run_campaign(run.truth, run.log, run.engine, effort)
    scores[name] = score
    assert not score.failures, f"{score}\n" + "\n".join(score.failures)
    assert score.tried + score.same >= len(run.log.windows)


def _transactions(run: Run) -> int:
    """How many logs were written to the disk."""
    written = (write.data for window in run.log.windows for write in window)
    return sum(data.startswith(LOG_MAGIC) for data in written)


@pytest.mark.parametrize("kind", kinds())
def test_crash_while_dividing(
    kind: Kind, effort: Effort, scores: dict[str, Score], memory: Path
) -> None:
    run = divide_run(kind, memory)
    if kind.defrag:
        assert _transactions(run) > 1
    _try_states(run, f"divide {kind.name}", effort, scores)


@pytest.mark.parametrize("kind", kinds())
def test_crash_while_undividing(
    kind: Kind, effort: Effort, scores: dict[str, Score], memory: Path
) -> None:
    less = replace(effort, budget_s=effort.budget_s / 3)
    _try_states(undivide_run(kind, memory), f"undivide {kind.name}", less, scores)
