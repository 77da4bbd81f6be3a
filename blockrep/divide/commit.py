"""Carry out a planned divide or undivide, and prove it."""

from __future__ import annotations

import time

from blockrep.disk.device import Device
from blockrep.disk.kernel import tell_kernel
from blockrep.disk.table import read_table
from blockrep.divide.host import Goal, HostPlan, find_host, plan_host
from blockrep.divide.log import LogKind
from blockrep.divide.log_place import place_log
from blockrep.divide.plan import Plan
from blockrep.divide.prove import prove_host
from blockrep.divide.summary import Join, Outcome
from blockrep.divide.survey import find_pinned
from blockrep.divide.transaction import (
    LogSite,
    Surroundings,
    Transaction,
    build_stages,
    log_size,
    new_identity,
    run_transaction,
    written_extents,
)
from blockrep.errors import NoRoomForLog
from blockrep.extents import Extent, intersect, scale
from blockrep.progress import Progress

MAX_DEFRAG_PASSES = 16


def commit_plan(device: Device, plan: Plan, progress: Progress) -> Outcome:
    """Change the disk. Errors say in `state` whether the disk is unchanged or resumable."""
    started = time.monotonic()
    details: list[str] = []
    copied = 0
    if plan.transaction:
        run_transaction(device, plan.transaction, progress)
        copied = plan.transaction.host.copy_bytes
        offset = plan.transaction.host.host.offset_bytes
        if plan.join is Join.DEFRAG:
            copied += defragment(device, offset, progress, details)
        details += prove_host(device, offset, progress)
    for stage in plan.plain:
        for write in stage.writes:
            device.write(write.offset_bytes, write.data)
        device.flush()
    tell_kernel(device.path, read_table(device))
    elapsed = time.monotonic() - started
    return Outcome(plan.action, str(device.path), tuple(details), elapsed, copied)


def defragment(device: Device, offset_bytes: int, progress: Progress, details: list[str]) -> int:
    """Transactions that only join files, until one improves nothing; the bytes that were copied."""
    copied = 0
    for number in range(MAX_DEFRAG_PASSES):
        host = find_host(device, offset_bytes, device.size_bytes - offset_bytes)
        pinned = find_pinned(device, offset_bytes, host.block_bytes)
        goal = Goal(host.superblock.blocks, Join.DEFRAG, pinned)
        plan = plan_host(device, host, goal, None, progress)
        with plan.shadow:
            before = plan.picture_before.summary.fragmented_files
            after = plan.picture_after.summary.fragmented_files
            if after >= before:
                break
            try:
                run_transaction(device, _join_transaction(device, plan), progress)
            except NoRoomForLog as error:
                details.append(f"defragmenting stopped: {error.message}")
                break
            copied += plan.copy_bytes
            details.append(f"pass {number + 1}: {before} fragmented files became {after}")
    return copied


def _join_transaction(device: Device, plan: HostPlan) -> Transaction:
    """The log lies in blocks that stay free: the second area is carved already."""
    stages = build_stages(device, LogKind.DEFRAGMENT, plan, Surroundings())
    unit, start = plan.host.block_bytes, plan.host.offset_bytes
    free = intersect(scale(plan.free_before, unit, start), scale(plan.free_after, unit, start))
    copies = scale([Extent(c.dst, c.length) for c in plan.copies], unit, start)
    avoid = [*written_extents(stages), *copies]
    _, extents = place_log(log_size(stages), [("free blocks", free)], avoid)
    return Transaction(LogKind.DEFRAGMENT, plan, stages, new_identity(), LogSite(extents))
