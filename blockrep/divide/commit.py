"""Carry out a planned divide or undivide, and prove it."""

from __future__ import annotations

import time

from blockrep.disk.device import Device
from blockrep.disk.kernel import tell_kernel
from blockrep.disk.table import read_table
from blockrep.divide.apply import after_commit, write_stages
from blockrep.divide.host import Goal, HostPlan, find_host, plan_host
from blockrep.divide.log import LogKind
from blockrep.divide.plan import Plan, choose_site
from blockrep.divide.prove import prove_host
from blockrep.divide.summary import DivideRequest, Join, Outcome
from blockrep.divide.survey import find_pinned
from blockrep.divide.transaction import (
    Surroundings,
    Transaction,
    build_stages,
    new_identity,
    run_transaction,
)
from blockrep.errors import BlockrepError, DiskState
from blockrep.extents import intersect, scale
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
        if plan.request and plan.request.join is Join.DEFRAG:
            copied += defragment(device, offset, plan.request, progress, details)
        details += prove_host(device, offset, progress)
    write_stages(device, plan.plain)
    with after_commit():
        tell_kernel(device.path, read_table(device))
    elapsed = time.monotonic() - started
    return Outcome(plan.action, str(device.path), tuple(details), elapsed, copied)


def defragment(
    device: Device,
    offset_bytes: int,
    request: DivideRequest,
    progress: Progress,
    details: list[str],
) -> int:
    """Transactions that only join files, until one improves nothing; the bytes that were copied.

    The disk is divided already: what stops a pass before its lock ends the passes, and is told.
    """
    copied = 0
    for number in range(MAX_DEFRAG_PASSES):
        try:
            done = _join_once(device, offset_bytes, request, progress)
        except BlockrepError as error:
            if error.state is not DiskState.UNCHANGED:
                raise
            details.append(f"defragmenting ended early: {error.message}")
            break
        if done is None:
            break
        copied += done.copy_bytes
        before = done.picture_before.summary.fragmented_files
        after = done.picture_after.summary.fragmented_files
        details.append(f"pass {number + 1}: {before} fragmented files became {after}")
    return copied


def _join_once(
    device: Device, offset_bytes: int, request: DivideRequest, progress: Progress
) -> HostPlan | None:
    """One pass; None when there is nothing left to improve."""
    host = find_host(device, offset_bytes, device.size_bytes - offset_bytes)
    pinned = find_pinned(device, offset_bytes, host.block_bytes)
    goal = Goal(host.superblock.blocks, Join.DEFRAG, pinned)
    plan = plan_host(device, host, goal, request.shadow_dir, progress)
    with plan.shadow:
        before = plan.picture_before.summary.fragmented_files
        if plan.picture_after.summary.fragmented_files >= before:
            return None
        run_transaction(device, _join_transaction(device, plan, request), progress)
    return plan


def _join_transaction(device: Device, plan: HostPlan, request: DivideRequest) -> Transaction:
    """The log lies in blocks that stay free: the second area is carved already."""
    stages = build_stages(device, LogKind.DEFRAGMENT, plan, Surroundings())
    unit, start = plan.host.block_bytes, plan.host.offset_bytes
    free = intersect(scale(plan.free_before, unit, start), scale(plan.free_after, unit, start))
    _, site = choose_site(stages, plan, request.journal, [("free blocks", free)])
    return Transaction(LogKind.DEFRAGMENT, plan, stages, new_identity(), site)
