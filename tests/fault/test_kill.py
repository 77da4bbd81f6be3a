"""SIGKILL of a real `blockrep` at seeded moments of its writing."""

from __future__ import annotations

import contextlib
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
POLL_S = 0.0002
PROGRAM = Path(sys.executable).with_name("blockrep")


def _try_kills(run: Run, arguments: list[str], effort: Effort) -> None:
    rng = random.Random(effort.seed)
    wrong, found = [], []
    with scratch_folder() as folder:
        image = folder / "killed.img"  # the command refuses an image that a test has open
        scratch = Scratch(folder / "disk.img", run.truth.old.content)
        oracle = Oracle(run.truth, run.engine, scratch)
        command = [str(PROGRAM), arguments[0], str(image), *arguments[1:]]
        image.write_bytes(run.truth.old.content)
        writing_s = _writing_time(command, image)
        for _ in range(KILLS_IN_CI if effort.budget_s else KILLS):
            image.write_bytes(run.truth.old.content)
            after_s = writing_s * rng.random()
            _run_and_kill(command, image, after_s)
            scratch.put(image.read_bytes())
            try:
                found.append(oracle.check_before_recovery(scratch.content))
                oracle.recover()
                oracle.check_after_recovery()
            except Wrong as error:
                wrong.append(f"killed {after_s * 1000:.1f} ms after its first write: {error}")
    assert not wrong, "\n".join(wrong)
    print("killed while", found)
    assert set(found) != {"old"}, "every kill came before the first write that matters"


def _writing_time(command: list[str], image: Path) -> float:
    """Seconds from the first write to the last one, of a run that nobody disturbs."""
    child = _start(command)
    changed = image.stat().st_mtime_ns
    times: list[float] = []
    while child.poll() is None:
        if (now := image.stat().st_mtime_ns) != changed:
            changed = now
            times.append(time.monotonic())
        time.sleep(POLL_S)
    assert child.returncode == 0 and times
    return times[-1] - times[0]


def _run_and_kill(command: list[str], image: Path, after_s: float) -> None:
    """Kill it, and what it started, so long after its first write."""
    before = image.stat().st_mtime_ns
    child = _start(command)
    try:
        while image.stat().st_mtime_ns == before:
            assert child.poll() is None, f"it ended without a write: {child.returncode}"
            time.sleep(POLL_S)
        time.sleep(after_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(timeout=30)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """In a mount namespace of its own, so that a mount it is killed in goes with it."""
    return subprocess.Popen(
        ["unshare", "--mount", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.parametrize("kind", kinds("ext4_4k", "mbr", "bare"))
def test_kill_while_dividing(kind: Kind, effort: Effort, memory: Path) -> None:
    run = divide_run(kind, memory)
    first = str(run.disk.first_bytes)
    _try_kills(run, ["divide", "--first", first, "--peers", str(kind.peers), "--yes"], effort)


@pytest.mark.parametrize("kind", kinds("ext4_4k", "mbr"))
def test_kill_while_undividing(kind: Kind, effort: Effort, memory: Path) -> None:
    run = undivide_run(kind, memory)
    _try_kills(run, ["undivide", "--yes"], effort)
