"""The agent as a whole: what it opens, in which order, and how it ends."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Protocol

from blockrep.agent.config import AgentConfig
from blockrep.agent.held_device import HeldDevice
from blockrep.agent.jobs import Job, JobState, JobTable
from blockrep.agent.local_server import LocalServer
from blockrep.agent.log import Log
from blockrep.agent.notify import Notifier
from blockrep.agent.requests import Requests
from blockrep.errors import UsageError

JOBS_END_WITHIN_S = 30.0
TURN_S = 0.2
TICK_S = 30.0


class Stop(Protocol):
    """The wish to end, as a signal handler sets it."""

    @property
    def asked(self) -> bool: ...


class Agent:
    """All of one agent; a context manager, open from `__enter__` on."""

    def __init__(self, config: AgentConfig, log: Log, notifier: Notifier) -> None:
        self._config = config
        self._log = log
        self._notifier = notifier
        self._stack = contextlib.ExitStack()
        self._jobs = JobTable(self._on_job_end)

    def __enter__(self) -> Agent:
        """Open everything or nothing; errors are those of opening a disk, a port, a socket."""
        with contextlib.ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        """Jobs end at a safe point, then what they used is closed, in the reverse order."""
        self._notifier.stopping()
        if not self._jobs.close(JOBS_END_WITHIN_S):
            self._log.warning("a job did not end in time; what it left undone is undone later")
        self._stack.close()

    def _open(self, stack: contextlib.ExitStack) -> None:
        _make_folder(self._config)
        devices = []
        for path in self._config.devices:
            device = HeldDevice(path)
            stack.callback(device.close)
            devices.append(device)
        requests = Requests(self._jobs, devices)
        local = LocalServer(self._config.socket, requests.handle, self._log)
        stack.callback(local.close)

    def run(self, stop: Stop) -> None:
        """Keep house until asked to stop."""
        count = len(self._config.devices)
        self._notifier.ready(f"{count} devices")
        self._log.notice(f"{self._config.name}: the agent is ready, with {count} devices")
        alive_every_s = (self._notifier.watchdog_s or 2 * TICK_S) / 2
        alive_at = time.monotonic()
        while not stop.asked:
            now = time.monotonic()
            if now >= alive_at:
                alive_at = now + alive_every_s
                self._notifier.alive()
            time.sleep(TURN_S)
        self._log.notice(f"{self._config.name}: asked to stop")

    def _on_job_end(self, job: Job) -> None:
        view = job.view()
        text = f"{view.kind} of {view.subject or 'everything'}: {view.state}"
        if view.state is JobState.FAILED:
            self._log.error(f"{text}: {view.reason}")
        else:
            self._log.notice(f"{text}{': ' if view.reason else ''}{view.reason}")


def _make_folder(config: AgentConfig) -> None:
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.socket.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {error.filename}: {error.strerror}") from error
    if not os.access(config.state_dir, os.W_OK):
        raise UsageError(f"cannot write to {config.state_dir}")
