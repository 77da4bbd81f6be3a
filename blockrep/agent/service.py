"""The agent as a whole: what it opens, in which order, and how it ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from typing import Protocol

from blockrep.agent.backup import BackupRequests
from blockrep.agent.config import AgentConfig
from blockrep.agent.exchange import Exchanger
from blockrep.agent.gate import Gate
from blockrep.agent.grant_requests import GrantRequests
from blockrep.agent.group_requests import GroupRequests
from blockrep.agent.held_device import HeldDevice
from blockrep.agent.jobs import Job, JobState, JobTable
from blockrep.agent.limits import ConnectionLimits
from blockrep.agent.listener import Listener
from blockrep.agent.local_server import LocalServer
from blockrep.agent.log import Log
from blockrep.agent.notify import Notifier
from blockrep.agent.replica_requests import ReplicaRequests
from blockrep.agent.reports import Reports
from blockrep.agent.requests import Requests
from blockrep.agent.seat import Seats
from blockrep.agent.takeover import TakeoverRequests
from blockrep.agent.world import World
from blockrep.errors import BlockrepError, UsageError
from blockrep.segment.clock import SystemClock

JOBS_END_WITHIN_S = 30.0
PEERS_END_WITHIN_S = 10.0
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
        self._seats = Seats()

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
        _make_folders(self._config)
        devices = self._open_devices(stack)
        clock, limits = SystemClock(), ConnectionLimits()
        gate = Gate(self._seats, limits, clock, self._log)
        listener = Listener(self._config.listen, gate.serve, limits, self._log)
        stack.callback(listener.close, PEERS_END_WITHIN_S)
        exchanger = Exchanger(self._seats, self._log)
        stack.callback(exchanger.close, PEERS_END_WITHIN_S)
        world = World(
            config=self._config,
            devices=devices,
            seats=self._seats,
            jobs=self._jobs,
            listener=listener,
            exchanger=exchanger,
            clock=clock,
            log=self._log,
        )
        self._sit_down(world)
        topics = (
            GroupRequests(world),
            GrantRequests(world),
            BackupRequests(world),
            Reports(world),
            TakeoverRequests(world),
            ReplicaRequests(world),
        )
        requests = Requests(self._jobs, *(topic.verbs() for topic in topics))
        local = LocalServer(self._config.socket, requests.handle, self._log)
        stack.callback(local.close)
        listener.start()
        exchanger.start()

    def _open_devices(self, stack: contextlib.ExitStack) -> Sequence[HeldDevice]:
        devices = []
        for path in self._config.devices:
            device = HeldDevice(path)
            stack.callback(device.close)
            devices.append(device)
        return devices

    def _sit_down(self, world: World) -> None:
        """In each group that the disks are in. One whose keys are damaged does not stop others."""
        members: dict[tuple[bytes, bytes], list[HeldDevice]] = {}
        for device in world.devices:
            if device.keys is not None:
                members.setdefault((device.keys.group_id, device.keys.key), []).append(device)
        for devices in members.values():
            try:
                seat = world.take_seat(devices)
                world.refresh(seat)
            except BlockrepError as error:
                self._log.error(f"{devices[0].path}: cannot take part: {error.message}")

    def run(self, stop: Stop) -> None:
        """Keep house until asked to stop."""
        count = len(self._config.devices)
        self._notifier.ready(f"{count} devices")
        self._log.notice(f"{self._config.name}: the agent is ready, with {count} devices")
        alive_every_s = (self._notifier.watchdog_s or 2 * TICK_S) / 2
        alive_at = tick_at = time.monotonic()
        while not stop.asked:
            now = time.monotonic()
            if now >= alive_at:
                alive_at = now + alive_every_s
                self._notifier.alive()
            if now >= tick_at:
                tick_at = now + TICK_S
                for seat in self._seats:
                    seat.holdings.tick()
            time.sleep(TURN_S)
        self._log.notice(f"{self._config.name}: asked to stop")

    def _on_job_end(self, job: Job) -> None:
        view = job.view()
        text = " ".join(word for word in (view.kind, view.subject) if word)
        if view.state is JobState.FAILED:
            self._log.error(f"{text} failed: {view.reason}")
        elif view.state is JobState.CANCELLED:
            self._log.notice(f"{text} was cancelled")
        else:
            self._log.notice(f"{text} is done")


def _make_folders(config: AgentConfig) -> None:
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        config.socket.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {error.filename}: {error.strerror}") from error
    if not os.access(config.state_dir, os.W_OK):
        raise UsageError(f"cannot write to {config.state_dir}")
