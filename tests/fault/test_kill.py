"""SIGKILL of a real `blockrep` at seeded moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from images.kinds import Kind

from fault.campaign import Effort
from fault.conftest import kinds
from fault.oracle import Oracle
from fault.outside import Wrong
from fault.runs import Run, divide_run, undivide_run
from fault.scratch import Scratch, scratch_folder

pytestmark = pytest.mark.root

KILLS_IN_CI = 8
KILLS = 60
PROGRAM = Path(sys.executable).with_name("blockrep")


def _try_kills(run: Run, arguments: list[str], effort: Effort) -> None:
    rng = random.Random(effort.seed)
    wrong = []
    with scratch_folder() as folder:
        image = folder / "disk.img"
        scratch = Scratch(image, run.truth.old.content)
        oracle = Oracle(run.truth, run.engine, scratch, rng)
        command = [str(PROGRAM), arguments[0], str(image), *arguments[1:]]
        whole_s = _run_for(command, 60)
        scratch.read()
        for _ in range(KILLS_IN_CI if effort.budget_s else KILLS):
            scratch.put(run.truth.old.content)
            after_s = whole_s * rng.uniform(0.2, 1.0)
            _run_for(command, after_s)
            disk = scratch.read()
            try:
                oracle.check_before_recovery(disk)
                oracle.check_after_recovery(disk.after(oracle.recover(disk).writes))
            except Wrong as error:
                wrong.append(f"killed after {after_s:.3f} of {whole_s:.3f} s: {error}")
    assert not wrong, "\n".join(wrong)


def _run_for(command: list[str], seconds: float) -> float:
    """Run it for so long at most, then kill it and whatever it started; how long it took."""
    started = time.monotonic()
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=30)
    return time.monotonic() - started


@pytest.mark.parametrize("kind", kinds("ext4_4k", "mbr", "bare"))
def test_kill_while_dividing(kind: Kind, effort: Effort, memory: Path) -> None:
    run = divide_run(kind, memory)
    first = str(run.disk.first_bytes)
    _try_kills(run, ["divide", "--first", first, "--peers", str(kind.peers), "--yes"], effort)


@pytest.mark.parametrize("kind", kinds("ext4_4k", "mbr"))
def test_kill_while_undividing(kind: Kind, effort: Effort, memory: Path) -> None:
    run = undivide_run(kind, memory)
    _try_kills(run, ["undivide", "--yes"], effort)
