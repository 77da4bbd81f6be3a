"""`blockrep divide` against what people use today, and against the least possible.

Every way starts from a fresh copy that is in no cache, and ends with a flush. The best of its
rounds counts. `test_ratios` prints the ratios and holds them against the goals.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import ways
from pytest_benchmark.fixture import BenchmarkFixture

GIB = 1 << 30
ROUNDS = 3
AGED_IMAGE = Path(__file__).resolve().parents[2] / "scripts" / "aged-image"

Seconds = dict[str, float]

pytestmark = pytest.mark.root


class Subject:
    """An aged filesystem, where it is to end, and how long each way took."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self.original = folder / "original.img"
        self.image = folder / "disk.img"
        # A quarter is in use, so the first area ends about 30 % free.
        self.first_bytes = size_bytes * 3 // 8
        self.seconds: Seconds = {}
        self.moved_bytes = 0
        command = [AGED_IMAGE, "--bare", "--size", size_bytes, "--data", size_bytes // 4]
        subprocess.run([*map(str, command), str(self.original)], check=True)

    def renew(self) -> None:
        ways.fresh_copy(self.original, self.image)

    def measure(self, benchmark: BenchmarkFixture, name: str, way: Callable[[], None]) -> None:
        benchmark.pedantic(way, setup=self.renew, rounds=ROUNDS)
        self.seconds[name] = benchmark.stats.stats.min


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(4 * GIB, id="4G"),
        pytest.param(16 * GIB, id="16G", marks=pytest.mark.slow),
    ],
)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tmp_path_factory.mktemp("aged"), request.param)


def test_divide(benchmark: BenchmarkFixture, subject: Subject) -> None:
    subject.measure(benchmark, "divide", lambda: ways.divide(subject.image, subject.first_bytes))


def test_divide_without_joining(benchmark: BenchmarkFixture, subject: Subject) -> None:
    subject.measure(
        benchmark,
        "divide --no-join",
        lambda: ways.divide(subject.image, subject.first_bytes, "--no-join"),
    )


def test_resize2fs(benchmark: BenchmarkFixture, subject: Subject) -> None:
    subject.measure(benchmark, "resize2fs", lambda: ways.resize(subject.image, subject.first_bytes))


def test_e4defrag_and_resize2fs(benchmark: BenchmarkFixture, subject: Subject) -> None:
    folder = subject.folder / "mounted"
    subject.measure(
        benchmark,
        "e4defrag",
        lambda: ways.defragment_and_resize(subject.image, subject.first_bytes, folder),
    )


def test_limit(benchmark: BenchmarkFixture, subject: Subject) -> None:
    subject.renew()
    moves = ways.planned_moves(subject.image, subject.first_bytes)
    subject.moved_bytes = sum(length for _, _, length in moves)
    subject.measure(benchmark, "limit", lambda: ways.move_bytes(subject.image, moves))


def test_ratios(subject: Subject, capfd: pytest.CaptureFixture[str]) -> None:
    took = subject.seconds
    to_beat = [
        ("divide", "e4defrag", 0.5 * took["e4defrag"], "at most 0.50"),
        ("divide --no-join", "resize2fs", took["resize2fs"], "at most 1.00"),
        ("divide", "limit", 1.3 * took["limit"] + 1, "at most 1.30, and 1 s"),
    ]
    with capfd.disabled():
        print(f"\n\n{subject.original.stat().st_size // GIB} GiB, best of {ROUNDS} rounds:")
        print(f"  {subject.moved_bytes >> 20} MiB moved")
        for name, seconds in took.items():
            print(f"  {name:<18}{seconds:8.2f} s")
        for ours, theirs, _, goal in to_beat:
            print(f"  {ours} / {theirs}: {took[ours] / took[theirs]:.2f} (goal: {goal})")
        sys.stdout.flush()
    for ours, theirs, limit_s, _ in to_beat:
        assert took[ours] <= limit_s, f"{ours} against {theirs}"
