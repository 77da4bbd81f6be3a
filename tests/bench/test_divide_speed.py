"""`blockrep divide` against what people use today, and against the least possible.

Every way starts from a fresh copy that is in no cache, and ends with a flush. The ways take turns,
so that a machine that is busy for a while is so for all of them; medians count. `test_ratios`
prints the ratios and holds them against the goals.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from bench import ways
from pytest_benchmark.fixture import BenchmarkFixture

GIB = 1 << 30
ROUNDS = 5
AGED_IMAGE = Path(__file__).resolve().parents[2] / "scripts" / "aged-image"

pytestmark = pytest.mark.root


class Subject:
    """An aged filesystem, where it is to end, and how long each way took, round by round."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.original = folder / "original.img"
        self.image = folder / "disk.img"
        self.mount_folder = folder / "mounted"
        # A quarter is in use, so the first area ends about 30 % free.
        self.first_bytes = size_bytes * 3 // 8
        self.seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        self.cpu_seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        command = [AGED_IMAGE, "--bare", "--size", size_bytes, "--data", size_bytes // 4]
        subprocess.run([*map(str, command), str(self.original)], check=True)
        self.renew()
        self.moves = ways.planned_moves(self.image, self.first_bytes)

    def renew(self) -> None:
        ways.fresh_copy(self.original, self.image)


WAYS: dict[str, Callable[[Subject], None]] = {
    "divide": lambda s: ways.divide(s.image, s.first_bytes),
    "divide --no-join": lambda s: ways.divide(s.image, s.first_bytes, "--no-join"),
    "resize2fs": lambda s: ways.resize(s.image, s.first_bytes),
    "e4defrag": lambda s: ways.defragment_and_resize(s.image, s.first_bytes, s.mount_folder),
    "limit": lambda s: ways.move_bytes(s.image, s.moves),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(4 * GIB, id="4G"),
        pytest.param(16 * GIB, id="16G", marks=pytest.mark.slow),
    ],
)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tmp_path_factory.mktemp("aged"), request.param)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_way(benchmark: BenchmarkFixture, subject: Subject, turn: int, way: str) -> None:
    benchmark.group = f"{subject.first_bytes * 8 // 3 // GIB} GiB, {way}"
    subject.renew()
    before = sum(os.times()[:4])
    benchmark.pedantic(WAYS[way], args=(subject,), rounds=1)
    subject.cpu_seconds[way].append(sum(os.times()[:4]) - before)
    subject.seconds[way].append(benchmark.stats.stats.min)


def test_ratios(subject: Subject, capfd: pytest.CaptureFixture[str]) -> None:
    took = {way: median(seconds) for way, seconds in subject.seconds.items()}
    to_beat = [
        ("divide", "e4defrag", 0.5 * took["e4defrag"], "at most 0.50"),
        ("divide --no-join", "resize2fs", took["resize2fs"], "at most 1.00"),
        ("divide", "limit", 1.3 * took["limit"] + 1, "at most 1.30, and 1 s"),
    ]
    moved_mib = sum(length for _, _, length in subject.moves) >> 20
    with capfd.disabled():
        print(f"\n\n{subject.original.stat().st_size // GIB} GiB, {moved_mib} MiB moved")
        print(f"  median of {ROUNDS} rounds        wall       CPU")
        for way, seconds in took.items():
            cpu_s = median(subject.cpu_seconds[way])
            spread = f"{min(subject.seconds[way]):.2f} to {max(subject.seconds[way]):.2f}"
            print(f"  {way:<20}{seconds:10.2f} s{cpu_s:8.2f} s   {spread}")
        for ours, theirs, _, goal in to_beat:
            print(f"  {ours} / {theirs}: {took[ours] / took[theirs]:.2f} (goal: {goal})")
        sys.stdout.flush()
    for ours, theirs, limit_s, _ in to_beat:
        assert took[ours] <= limit_s, f"{ours} against {theirs}"
