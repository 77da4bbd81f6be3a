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


def _try_states(run: Run, name: str, effort: Effort, scores: dict[str, Score]) -> None:
    score = run_campaign(run.truth, run.log, run.engine, effort)
    scores[name] = score
    assert not score.failures, f"{score}\n" + "\n".join(score.failures)
    assert score.tried >= len(run.log.windows)


@pytest.mark.parametrize("kind", kinds())
def test_crash_while_dividing(
    kind: Kind, effort: Effort, scores: dict[str, Score], memory: Path
) -> None:
    _try_states(divide_run(kind, memory), f"divide {kind.name}", effort, scores)


@pytest.mark.parametrize("kind", kinds())
def test_crash_while_undividing(
    kind: Kind, effort: Effort, scores: dict[str, Score], memory: Path
) -> None:
    less = replace(effort, budget_s=effort.budget_s / 3)
    _try_states(undivide_run(kind, memory), f"undivide {kind.name}", less, scores)
