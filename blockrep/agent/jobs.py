"""Jobs: work that takes long, that is watched and can be cancelled.

A job runs in a thread of its own and is known until `KEPT_JOBS` later ones have ended. Cancelling
is a wish: the work asks at its safe points, by `Progress.check`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from blockrep.errors import BlockrepError, DeviceBusy, InternalError, Stopped

Document = dict[str, Any]
KEPT_JOBS = 100
MAX_RUNNING = 32


class JobState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job at one moment. `total_bytes` is 0 where the size of the phase is not known.

    `reason` says why it failed or was cancelled; `ended_s` is 0 while it runs.
    """

    id: int
    kind: str
    subject: str
    state: JobState
    phase: str
    done_bytes: int
    total_bytes: int
    started_s: int
    ended_s: int
    reason: str


class Job:
    """One piece of work. Implements `blockrep.progress.Progress` for it."""

    def __init__(self, number: int, kind: str, subject: str) -> None:
        self.id = number
        self.kind = kind
        self.subject = subject
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._state = JobState.RUNNING
        self._phase, self._done, self._total = "", 0, 0
        self._started_s, self._ended_s = int(time.time()), 0
        self._error: BlockrepError | None = None
        self._result: Document = {}

    def phase(self, name: str, total_bytes: int = 0) -> None:
        with self._lock:
            self._phase, self._done, self._total = name, 0, total_bytes

    def advance(self, done_bytes: int) -> None:
        with self._lock:
            self._done += done_bytes

    def check(self) -> None:
        if self.cancelled.is_set():
            raise Stopped(f"the {self.kind} was cancelled")

    def view(self) -> JobView:
        with self._lock:
            reason = self._error.message if self._error else ""
            return JobView(
                id=self.id,
                kind=self.kind,
                subject=self.subject,
                state=self._state,
                phase=self._phase,
                done_bytes=self._done,
                total_bytes=self._total,
                started_s=self._started_s,
                ended_s=self._ended_s,
                reason=reason,
            )

    def result(self) -> Document:
        """What an ended job came to; raises the error with which it failed."""
        self.ended.wait()
        if self._error is not None:
            raise self._error
        return self._result

    def run(self, work: Callable[[Job], Document]) -> None:
        """Do the work to its end. Never raises."""
        error: BlockrepError | None = None
        result: Document = {}
        try:
            result = work(self)
        except BlockrepError as failure:
            error = failure
        except Exception as failure:
            error = InternalError(f"unexpected {type(failure).__name__}: {failure}")
            error.__cause__ = failure
        with self._lock:
            self._error, self._result = error, result
            self._state = _state_after(error)
            self._ended_s = int(time.time())
        self.ended.set()


def _state_after(error: BlockrepError | None) -> JobState:
    if error is None:
        return JobState.DONE
    return JobState.CANCELLED if isinstance(error, Stopped) else JobState.FAILED


class JobTable:
    """All jobs of an agent. `on_end` hears of each when it has ended, in the job's thread."""

    def __init__(self, on_end: Callable[[Job], None]) -> None:
        self._on_end = on_end
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._next = 1
        self._closed = False

    def start(self, kind: str, subject: str, work: Callable[[Job], Document]) -> Job:
        """Begin a job; `DeviceBusy` while one of this kind and subject runs, or too many do."""
        with self._lock:
            self._refuse(kind, subject)
            job = Job(self._next, kind, subject)
            self._next += 1
            self._jobs[job.id] = job
            thread = threading.Thread(
                target=self._run, args=(job, work), name=f"{kind}-{job.id}", daemon=True
            )
            self._threads[job.id] = thread
            thread.start()
        return job

    def _refuse(self, kind: str, subject: str) -> None:
        if self._closed:
            raise Stopped("the agent is stopping")
        running = [job for job in self._jobs.values() if not job.ended.is_set()]
        for job in running:
            if (job.kind, job.subject) == (kind, subject):
                raise DeviceBusy(
                    f"the {kind} of {subject} is running already, as job {job.id}",
                    hint=f"wait for it, or end it with `blockrep jobs --cancel {job.id}`",
                )
        if len(running) >= MAX_RUNNING:
            raise DeviceBusy(f"{len(running)} jobs are running, which is as many as there may be")

    def _run(self, job: Job, work: Callable[[Job], Document]) -> None:
        job.run(work)
        self._on_end(job)
        with self._lock:
            del self._threads[job.id]
            ended = [number for number, other in self._jobs.items() if other.ended.is_set()]
            for number in ended[:-KEPT_JOBS]:
                del self._jobs[number]

    def views(self) -> list[JobView]:
        """All that are known, the newest last."""
        with self._lock:
            jobs = list(self._jobs.values())
        return [job.view() for job in jobs]

    def last_ended(self, kind: str, subject: str) -> Job | None:
        """The last job of this kind and subject that came to an end; not one that was cancelled."""
        with self._lock:
            jobs = list(self._jobs.values())
        meant = (job for job in reversed(jobs) if (job.kind, job.subject) == (kind, subject))
        ended = {JobState.DONE, JobState.FAILED}
        return next((job for job in meant if job.view().state in ended), None)

    def running(self) -> int:
        """How many have not ended, their last words included."""
        with self._lock:
            return len(self._threads)

    def find(self, number: int) -> Job | None:
        with self._lock:
            return self._jobs.get(number)

    def close(self, timeout_s: float) -> bool:
        """Cancel all, start no more, and wait; whether all have ended in time."""
        with self._lock:
            self._closed = True
            jobs, threads = list(self._jobs.values()), list(self._threads.values())
        for job in jobs:
            job.cancelled.set()
        until = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)
