"""How much the crash tests try: a sample that fits CI, or everything with --all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from images.kinds import CORE, KINDS, Kind

from fault.campaign import Effort, Score
from fault.scratch import scratch_folder

SCORES = pytest.StashKey[dict[str, Score]]()
SAMPLE = Effort(budget_s=5.0)  # per kind in CI; the other campaigns have shares of it
ALL = Effort(random_per_window=60, tears_per_write=8, nested_share=0.4)


@pytest.fixture
def effort(request: pytest.FixtureRequest, seed: int) -> Effort:
    """`CRASH_SECONDS` limits each campaign to a sample of that length; 0 is everything."""
    everything = request.config.getoption("--all")
    effort = ALL if everything else SAMPLE
    limit_s = float(os.environ.get("CRASH_SECONDS", effort.budget_s))
    return replace(effort, seed=seed, budget_s=limit_s)


@pytest.fixture
def scores(request: pytest.FixtureRequest) -> dict[str, Score]:
    """Where a campaign leaves its result, to be printed at the end."""
    return request.config.stash.setdefault(SCORES, {})


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder for disk images, in memory where there is room."""
    with scratch_folder() as folder:
        yield folder


def kinds(*names: str) -> list[object]:
    """Parameters for these kinds (all if none is named); those beyond the core belong to --all."""
    chosen: list[Kind] = [kind for kind in KINDS if not names or kind.name in names]
    return [
        pytest.param(kind, id=kind.name, marks=() if kind.name in CORE else pytest.mark.slow)
        for kind in chosen
    ]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    scores = config.stash.get(SCORES, {})
    if not scores:
        return
    terminalreporter.section("crash states")
    for name, score in scores.items():
        terminalreporter.write_line(f"{name}: {score}")
    tried, failed = (sum(getattr(s, f) for s in scores.values()) for f in ("tried", "failed"))
    terminalreporter.write_line(f"in all: {tried} tried, {failed} failed")
