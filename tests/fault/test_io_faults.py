"""The Nth read, write or flush fails, once or for good: the disk is whole or can be recovered."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from images.kinds import Kind

from blockrep.errors import BlockrepError, DiskState
from fault.campaign import Effort
from fault.conftest import kinds
from fault.engine import Engine
from fault.oracle import Oracle
from fault.outside import Wrong
from fault.recorder import Fault, FaultyDevice
from fault.runs import Run, divide_run, undivide_run
from fault.scratch import Scratch, scratch_folder
from fault.sectors import Disk

pytestmark = pytest.mark.root

POINTS_IN_CI = 8


def _operations(run: Run, engine: Engine, path: Path, start: Disk, *, recover: bool) -> int:
    """How many operations an undisturbed run has."""
    path.write_bytes(bytes(start))
    with FaultyDevice(path) as device:
        if recover:
            engine.recover(device, back=False)
        else:
            engine.run(device)
        return device.operations


def _fail_at(oracle: Oracle, engine: Engine, number: int, fault: Fault, *, recover: bool) -> None:
    """One run with one fault, then the judgement."""
    scratch = oracle.scratch
    said: DiskState | None = None
    with FaultyDevice(scratch.path, number, fault) as device:
        try:
            if recover:
                engine.recover(device, back=False)
            else:
                engine.run(device)
        except BlockrepError as error:
            said = error.state
    disk = scratch.read()
    before = oracle.check_before_recovery(disk)
    if said is DiskState.UNCHANGED and before != ("locked" if recover else "old"):
        raise Wrong(f"the error says the disk is unchanged, it is {before}")
    oracle.check_after_recovery(disk.after(oracle.recover(disk).writes))


def _try_points(run: Run, effort: Effort, *, start: Disk, recover: bool) -> None:
    wrong = []
    with scratch_folder() as folder:
        count = _operations(run, run.engine, folder / "disk.img", start, recover=recover)
        scratch = Scratch(folder / "disk.img", start)
        oracle = Oracle(run.truth, run.engine, scratch, random.Random(effort.seed))
        stride = max(1, count // POINTS_IN_CI) if effort.budget_s else 1
        first = 1 + effort.seed % stride
        for number in range(first, count + 1, stride):
            for fault in Fault:
                scratch.put(start)
                try:
                    _fail_at(oracle, run.engine, number, fault, recover=recover)
                except Wrong as error:
                    wrong.append(f"operation {number} of {count}, {fault.value}: {error}")
    assert not wrong, "\n".join(wrong[:10])


@pytest.mark.parametrize("kind", kinds("ext4_4k", "mbr"))
def test_io_error_while_dividing(kind: Kind, effort: Effort, memory: Path) -> None:
    run = divide_run(kind, memory)
    _try_points(run, effort, start=run.truth.old.content, recover=False)


@pytest.mark.parametrize("kind", kinds("ext4_4k"))
def test_io_error_while_undividing(kind: Kind, effort: Effort, memory: Path) -> None:
    run = undivide_run(kind, memory)
    _try_points(run, effort, start=run.truth.old.content, recover=False)


@pytest.mark.parametrize("kind", kinds("ext4_4k"))
def test_io_error_while_recovering(kind: Kind, effort: Effort, memory: Path) -> None:
    """From the middle of the staged writes: the disk is locked."""
    run = divide_run(kind, memory)
    windows = run.log.windows
    largest = max(range(4, len(windows)), key=lambda n: len(windows[n]))
    old = run.truth.old.content
    disk = old.after(run.log.placed(old.sectors)[:largest])
    _try_points(run, effort, start=disk, recover=True)
