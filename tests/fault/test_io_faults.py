"""The Nth read, write or flush fails, once or for good: the disk is whole or can be recovered."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from images.kinds import Kind

from blockrep.divide.commit import commit_plan
from blockrep.errors import BlockrepError, DiskState
from blockrep.progress import Silent
from fault.campaign import Effort
from fault.conftest import kinds
from fault.oracle import Oracle
from fault.outside import Wrong
from fault.recorder import Fault, FaultyDevice
from fault.runs import Run, divide_run, undivide_run
from fault.scratch import Scratch
from fault.sectors import Disk

pytestmark = pytest.mark.root

POINTS_IN_CI = 8


class _Points:
    """One disk on which things fail; what is left is judged on another one."""

    def __init__(self, run: Run, effort: Effort, start: Disk, folder: Path) -> None:
        self.effort = effort
        self.start = start
        self.scratch = Scratch(folder / "failing.img", start)
        judged = Scratch(folder / "judged.img", start)
        self.oracle = Oracle(run.truth, run.engine, judged, random.Random(effort.seed))
        self.tried = 0
        self.wrong: list[str] = []

    def numbers(self, count: int) -> Iterator[int]:
        """All operations, or a few of them in CI."""
        stride = max(1, count // POINTS_IN_CI) if self.effort.budget_s else 1
        return iter(range(1 + self.effort.seed % stride, count + 1, stride))

    def try_one(self, where: str, act: Callable[[], None], unchanged: str) -> None:
        """`act` on the disk as it was; `unchanged` is what an unchanged disk is."""
        self.scratch.put(self.start)
        self.tried += 1
        said: DiskState | None = None
        try:
            act()
        except BlockrepError as error:
            said = error.state
        try:
            self._judge(self.scratch.read(), said, unchanged)
        except Wrong as wrong:
            self.wrong.append(f"{where}: {wrong}")

    def _judge(self, disk: Disk, said: DiskState | None, unchanged: str) -> None:
        before = self.oracle.check_before_recovery(disk)
        if said is DiskState.UNCHANGED and before != unchanged:
            raise Wrong(f"the error says the disk is unchanged, it is {before}")
        self.oracle.check_after_recovery(disk.after(self.oracle.recover(disk).writes))

    def check(self) -> None:
        print(f"{self.tried} faults tried, {len(self.wrong)} failed")
        assert not self.wrong, "\n".join(self.wrong[:10])


@contextmanager
def _failing(device: FaultyDevice) -> Iterator[None]:
    """Within it, something fails."""
    try:
        yield
    finally:
        assert device.failed


def _try_plan(run: Run, points: _Points) -> None:
    """Each operation of the planning; where a plan comes of it all the same, it is carried out."""
    path = points.scratch.path
    with FaultyDevice(path) as device, run.engine.plan(device, None):
        count = device.operations

    def act(number: int, fault: Fault) -> None:
        with (
            FaultyDevice(path, number, fault) as device,
            _failing(device),
            run.engine.plan(device, None) as plan,
        ):
            commit_plan(device, plan, Silent())

    for number in points.numbers(count):
        for fault in (Fault.ONCE, Fault.FOR_GOOD):  # nothing was written that could be lost
            where = f"operation {number} of {count} of the plan, {fault.value}"
            points.try_one(where, partial(act, number, fault), "old")


def _try_commit(run: Run, points: _Points) -> None:
    """Each operation that carries a plan out; the plan is a value, and made once."""
    with FaultyDevice(points.scratch.path) as device, run.engine.plan(device, None) as plan:
        device.arm(0)
        commit_plan(device, plan, Silent())
        points.scratch.read()
        count = device.operations

        def act(number: int, fault: Fault) -> None:
            device.arm(number, fault)
            with _failing(device):
                commit_plan(device, plan, Silent())

        for number in points.numbers(count):
            for fault in Fault:
                where = f"operation {number} of {count}, {fault.value}"
                points.try_one(where, partial(act, number, fault), "old")


def _try_recovery(run: Run, points: _Points) -> None:
    path = points.scratch.path
    with FaultyDevice(path) as device:
        run.engine.recover(device, back=False)
        points.scratch.read()
        count = device.operations

    def act(number: int, fault: Fault) -> None:
        with FaultyDevice(path, number, fault) as device, _failing(device):
            run.engine.recover(device, back=False)

    for number in points.numbers(count):
        for fault in Fault:
            where = f"operation {number} of {count}, {fault.value}"
            points.try_one(where, partial(act, number, fault), "locked")


@pytest.mark.parametrize("kind", kinds("ext4_4k", "mbr"))
def test_io_error_while_dividing(kind: Kind, effort: Effort, memory: Path) -> None:
    run = divide_run(kind, memory)
    points = _Points(run, effort, run.truth.old.content, memory)
    _try_plan(run, points)
    _try_commit(run, points)
    points.check()


@pytest.mark.parametrize("kind", kinds("ext4_4k"))
def test_io_error_while_undividing(kind: Kind, effort: Effort, memory: Path) -> None:
    run = undivide_run(kind, memory)
    points = _Points(run, effort, run.truth.old.content, memory)
    _try_plan(run, points)
    _try_commit(run, points)
    points.check()


@pytest.mark.parametrize("kind", kinds("ext4_4k"))
def test_io_error_while_recovering(kind: Kind, effort: Effort, memory: Path) -> None:
    """From the middle of the staged writes: the disk is locked."""
    run = divide_run(kind, memory)
    windows = run.log.windows
    largest = max(range(4, len(windows)), key=lambda n: len(windows[n]))
    old = run.truth.old.content
    disk = old.after(run.log.placed(old.sectors)[:largest])
    points = _Points(run, effort, disk, memory)
    _try_recovery(run, points)
    points.check()
