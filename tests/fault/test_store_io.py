"""The Nth read, write or flush of a segment fails: a clear error, and the next opening is fine."""

from __future__ import annotations

import contextlib
import random

import pytest
from replicas import START

from blockrep.errors import DeviceIO
from blockrep.segment.store import Store
from fault.campaign import Effort
from fault.recorder import Fault
from fault.sectors import Disk, Sectors
from fault.store_campaign import Judge, StoreScore
from fault.store_disk import FaultyDisk
from fault.store_runs import SCENARIOS, Scenario, StoreRun, World

POINTS_IN_CI = 3


def _world_on(scenario: Scenario, seed: int, disk: FaultyDisk) -> World:
    world = scenario.begin(seed)
    world.disk = disk  # type: ignore[assignment]
    return world


def _act(scenario: Scenario, world: World, disk: FaultyDisk) -> None:
    world.store = Store.open(disk, START, world.clock)
    scenario.act(world)


def _fail_at(
    run: StoreRun, seed: int, initial: bytes, number: int, fault: Fault, rng: random.Random
) -> None:
    """One run with one fault, then the judgement."""
    disk = FaultyDisk(initial, number, fault)
    world = _world_on(run.scenario, seed, disk)
    done = False
    try:
        _act(run.scenario, world, disk)
        done = True
    except DeviceIO as error:
        assert "test fault" in error.message
        # Whoever had the segment lets go of it as best it can.
        with contextlib.suppress(DeviceIO):
            world.store.undo()
    newest = {run.new or run.old} if done else {run.old, run.new or run.old}
    if run.scenario.base_may_be_lost and not done:
        newest.add(None)
    after = Disk.of(Sectors(), disk.cut())
    Judge(run, rng, StoreScore()).judge(after, newest, rng.choice(("resume", "undo", "other")))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_store_io_error(scenario: Scenario, effort: Effort) -> None:
    run = scenario.record(effort.seed)
    initial = bytes(run.initial)
    disk = FaultyDisk(initial)
    _act(scenario, _world_on(scenario, effort.seed, disk), disk)
    stride = max(1, disk.operations // POINTS_IN_CI) if effort.budget_s else 1
    rng = random.Random(effort.seed)
    for number in range(1 + effort.seed % stride, disk.operations + 1, stride):
        faults = (rng.choice(list(Fault)),) if effort.budget_s else tuple(Fault)
        for fault in faults:
            try:
                _fail_at(run, effort.seed, initial, number, fault, rng)
            except Exception as error:
                where = f"operation {number} of {disk.operations} fails, {fault.value}"
                raise AssertionError(f"{where}: {error!r}") from error
