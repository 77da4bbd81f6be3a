"""Try crash states of one recorded run until all are tried or the time is up."""

from __future__ import annotations

import os
import pickle
import random
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loops import own_mounts

from fault.engine import Engine
from fault.oracle import Oracle
from fault.outside import Wrong
from fault.recorder import WriteLog
from fault.remembered import Recovery
from fault.scratch import Scratch, scratch_folder
from fault.sectors import Disk, Writes
from fault.states import State, Window, any_state, walk_windows, window_states
from fault.truth import Truth

MOST_FAILURES = 8
COUNTS = ("tried", "same", "nested", "back", "touched", "failed", "runs")


@dataclass(frozen=True)
class Effort:
    """How much to try. `budget_s` 0 is no limit."""

    seed: int = 1
    budget_s: float = 0.0
    random_per_window: int = 20
    tears_per_write: int = 4
    most_per_window: int = 1_000_000
    back_share: float = 1.0  # of the locked states are also taken back
    nested_share: float = 0.15  # of the recoveries are cut again
    nested_states: int = 3
    nested_depth: int = 3
    # Of the unlocked states are mounted and written first, besides the first of each sort.
    touched_share: float = 0.005
    doubt: float = 0.002  # of what is known from an equal disk is tried again
    workers: int = 2


@dataclass
class Score:
    """What a campaign found."""

    tried: int = 0
    same: int = 0  # states besides, whose bytes are those of one that was tried
    nested: int = 0
    back: int = 0
    touched: int = 0
    before: dict[str, int] = field(default_factory=dict)  # old, locked, new
    after: dict[str, int] = field(default_factory=dict)  # old, new
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    runs: int = 0  # recoveries that were run; the others were known from what they read
    seconds: float = 0.0
    complete: bool = True  # all states tried, not stopped by the time

    def add(self, other: Score) -> None:
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.before, other.before), (self.after, other.after)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        self.failures += other.failures
        self.seconds += other.seconds
        self.complete &= other.complete

    def __str__(self) -> str:
        return (
            f"{self.tried} states tried, {self.nested} of them nested, {self.failed} failed; "
            f"{self.same} more show the same bytes; "
            f"before recover {self.before}, after {self.after}; {self.back} taken back, "
            f"{self.touched} written to first; {self.runs} recoveries run; {self.seconds:.0f} s, "
            f"{self.seconds * 1000 / max(1, self.tried):.1f} ms "
            f"each{'' if self.complete else '; a sample'}"
        )


def run_campaign(truth: Truth, log: WriteLog, engine: Engine, effort: Effort) -> Score:
    """Judge the states of `log` on the old disk, in `effort.workers` processes."""
    if effort.workers == 1:
        return _work(truth, log, engine, effort, 0)
    pipes = [_fork(truth, log, engine, effort, number) for number in range(effort.workers)]
    score = Score()
    for child, pipe in pipes:
        with os.fdopen(pipe, "rb") as stream:
            data = stream.read()
        os.waitpid(child, 0)
        if not data:
            raise AssertionError("a worker of the campaign died")
        score.add(pickle.loads(data))
    return score


def _fork(
    truth: Truth, log: WriteLog, engine: Engine, effort: Effort, number: int
) -> tuple[int, int]:
    """Forked, not spawned: the disks stay shared. The answer comes through a pipe."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        return child, read_end
    status = 1
    try:
        os.close(read_end)
        try:
            score = _work(truth, log, engine, effort, number)
        except Exception:
            score = Score(failed=1, failures=[traceback.format_exc()], complete=False)
        with os.fdopen(write_end, "wb") as stream:
            stream.write(pickle.dumps(score))
        status = 0
    finally:
        os._exit(status)


def _work(truth: Truth, log: WriteLog, engine: Engine, effort: Effort, number: int) -> Score:
    own_mounts()
    started = time.monotonic()
    with scratch_folder() as folder:
        worker = _Worker(truth, engine, effort, folder, number)
        worker.run(log.placed(truth.old.content.sectors))
    worker.score.runs = worker.oracle.runs
    worker.score.seconds = time.monotonic() - started
    return worker.score


class _Worker:
    def __init__(
        self, truth: Truth, engine: Engine, effort: Effort, folder: Path, number: int
    ) -> None:
        self.effort = effort
        self.number = number
        self.score = Score()
        self.truth = truth
        self.rng = random.Random(f"{effort.seed}/{number}")
        scratch = Scratch(folder / "disk.img", truth.old.content)
        self.oracle = Oracle(truth, engine, scratch, self.rng, effort.doubt)
        self._deadline = time.monotonic() + effort.budget_s if effort.budget_s else float("inf")
        self._seen: set[bytes] = set()
        self._touched: set[Recovery] = set()

    def run(self, writes: Writes) -> None:
        """Rounds over all windows, each with more states of every window than the one before."""
        # The first round is never cut short: every window gets its states.
        done, size = 0, 2 if self.effort.budget_s else self.effort.most_per_window
        while True:
            found = 0
            for window in walk_windows(self.truth.old.content, writes, self.truth.sector_bytes):
                for state in self._share(window, done, done + size):
                    found += 1
                    if done and self._finished():
                        self.score.complete = False
                        return
                    self._try(state, f"window {window.number}", 0)
            if not found or done + size >= self.effort.most_per_window:
                return
            done, size = done + size, size * 2

    def _share(self, window: Window, first: int, last: int) -> Iterator[State]:
        rng = random.Random(f"{self.effort.seed}/{window.number}")
        effort = self.effort
        states = window_states(
            window, rng, random_states=effort.random_per_window, tears=effort.tears_per_write
        )
        for position, state in enumerate(states):
            if position >= min(last, self.effort.most_per_window):
                return
            if position >= first and state.key[0] % self.effort.workers == self.number:
                yield state

    def _finished(self) -> bool:
        return time.monotonic() > self._deadline or self.score.failed >= MOST_FAILURES

    def _try(self, state: State, where: str, depth: int) -> None:
        where = f"{where}, {state.label}"
        if state.key in self._seen:
            self.score.same += 1
            return
        self._seen.add(state.key)
        self.score.tried += 1
        self.score.nested += depth > 0
        try:
            self._judge(state.disk, where, depth)
        except Wrong as wrong:
            self.score.failed += 1
            self.score.failures.append(f"{where}: {wrong}")
        except Exception:
            self.score.failed += 1
            self.score.failures.append(f"{where}: {traceback.format_exc()}")

    def _judge(self, disk: Disk, where: str, depth: int) -> None:
        effort, oracle = self.effort, self.oracle
        before = oracle.check_before_recovery(disk)
        _count(self.score.before, before)
        recovery = oracle.recover(disk)
        after = oracle.check_after_recovery(disk.after(recovery.writes))
        _count(self.score.after, after)
        if before == "new" and after != "new":
            raise Wrong(
                "the filesystem was the new one before recover, and is the old one after it"
            )
        if before == "locked" and self.rng.random() < effort.back_share:
            back = oracle.recover(disk, back=True)
            side = oracle.check_after_recovery(disk.after(back.writes))
            if side != oracle.expected_back(disk):
                raise Wrong(f"recover back gives the {side} state")
            self.score.back += 1
            self._nest(disk, back, f"{where}, recover back", depth)
        if before != "locked" and self.truth.mountable:
            self._touch(disk, recovery)
        self._nest(disk, recovery, f"{where}, recover", depth)

    def _touch(self, disk: Disk, recovery: Recovery) -> None:
        """Once for everything that a recovery does to such disks, and a share of the others."""
        if recovery in self._touched and self.rng.random() >= self.effort.touched_share:
            return
        self._touched.add(recovery)
        self.oracle.check_touched(disk)
        self.score.touched += 1

    def _nest(self, disk: Disk, recovery: Recovery, where: str, depth: int) -> None:
        """Cut the recovery of `disk`, and judge that."""
        effort = self.effort
        if depth >= effort.nested_depth or recovery.idle:
            return
        if self.rng.random() >= effort.nested_share:
            return
        filled = [n for n, writes in enumerate(recovery.writes) if writes]
        chosen = self.rng.sample(filled, min(len(filled), effort.nested_states))
        for window in walk_windows(disk, recovery.writes, self.truth.sector_bytes):
            if window.number not in chosen or not len(window) or self._finished():
                continue
            name = f"{where}: window {window.number}"
            self._try(any_state(window, self.rng), name, depth + 1)


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
