"""Plan a divide: layout, host, table and second area become one transaction, and a summary."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blockrep.closing import Closing
from blockrep.disk.area import Area
from blockrep.disk.device import Device
from blockrep.disk.holds import refuse_if_held
from blockrep.disk.table import Table, TableKind, read_table, table_stages
from blockrep.disk.whole import refuse_partition, refuse_unpartitionable
from blockrep.disk.writes import Stage, Write
from blockrep.divide.facts import Survey, survey_disk
from blockrep.divide.host import Goal, HostPlan, plan_host
from blockrep.divide.interrupted import refuse_interrupted
from blockrep.divide.journal_file import check_journal_file
from blockrep.divide.layout import Layout, describe_area, plan_layout
from blockrep.divide.log import ChangeStage, LogKind
from blockrep.divide.log_place import place_log
from blockrep.divide.moves import move_changes
from blockrep.divide.second_writes import second_area_writes
from blockrep.divide.summarise import summarise
from blockrep.divide.summary import (
    DivideRequest,
    DivideSummary,
)
from blockrep.divide.survey import find_pinned, refuse_bad_blocks
from blockrep.divide.transaction import (
    LogSite,
    Surroundings,
    Transaction,
    build_stages,
    log_size,
    new_identity,
    written_extents,
)
from blockrep.errors import FilesystemUnsupported
from blockrep.extents import Extent, intersect, scale, subtract
from blockrep.progress import Progress

FIRST_GAP_BYTES = 1 << 20
TABLE_SCRATCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan(Closing):
    """A change of a disk that was computed and proven, and has not changed a byte.

    `transaction` is None where no filesystem has to change: then `plain` is written, stage by
    stage. Close it to give the shadow's memory back. `request` is None for an undivide.
    """

    action: str  # "divided" or "undivided"
    summary: DivideSummary
    transaction: Transaction | None
    plain: tuple[Stage, ...]
    request: DivideRequest | None = None

    def close(self) -> None:
        """Safe to call twice."""
        if self.transaction:
            self.transaction.host.shadow.close()


def plan_divide(device: Device, request: DivideRequest, progress: Progress) -> Plan:
    """Survey the disk and plan; refuses by name whatever cannot be done.

    `device` is open for writing, hence held, but only --fsck writes (through e2fsck).
    """
    progress.phase("looking at the disk")
    refuse_partition(device.path)
    refuse_if_held(device.path)
    # The core and e2fsprogs read through the cache of the whole disk, which does not know what was
    # written through a partition's.
    device.drop_caches()
    if request.journal:
        check_journal_file(request.journal, device)
    refuse_interrupted(device)
    table = read_table(device)
    refuse_unpartitionable(device.path, table)
    survey = survey_disk(device, table, request)
    layout = plan_layout(
        table,
        request.first_bytes,
        request.peers,
        request.history_share,
        survey.facts,
        uuid.uuid4,
    )
    area = describe_area(layout, table, survey.facts, os.urandom(16), int(time.time()))
    second = second_area_writes(area)
    host_plan = _plan_host(device, survey, layout, request, progress)
    try:
        return _assemble(device, request, table, layout, area, second, host_plan)
    except BaseException:
        if host_plan:
            host_plan.shadow.close()
        raise


def _plan_host(
    device: Device,
    survey: Survey,
    layout: Layout,
    request: DivideRequest,
    progress: Progress,
) -> HostPlan | None:
    """None where no filesystem changes; a move needs one all the same, to hold the lock."""
    number = layout.host_partition
    if number is None and layout.moves:
        number = survey.anchor
        if number is None:
            raise FilesystemUnsupported(
                "partitions have to move, and there is no ext filesystem to protect that",
                hint="move them below the divider by hand",
            )
    if number is None:
        return None
    host = survey.open_host(device, number)
    blocks = host.superblock.blocks
    if layout.host_partition is not None:
        limit = layout.host_end_bytes - host.offset_bytes
        blocks = min(blocks, limit // host.block_bytes)
    refuse_bad_blocks(device, host.offset_bytes)
    pinned = find_pinned(device, host.offset_bytes, host.block_bytes)
    goal = Goal(blocks, request.join, pinned)
    return plan_host(device, host, goal, request.shadow_dir, progress)


def _assemble(
    device: Device,
    request: DivideRequest,
    table: Table,
    layout: Layout,
    area: Area,
    second: tuple[Write, ...],
    host_plan: HostPlan | None,
) -> Plan:
    steps = table_stages(device, table, layout.new_table, _table_scratch(table, layout))
    transaction, place, plain = None, "not needed", (Stage("second area", second), *steps)
    if host_plan:
        moves = tuple(c for m in layout.moves for c in move_changes(device, m))
        around = Surroundings(table=steps, others=moves, second_area=second)
        stages = build_stages(device, LogKind.DIVIDE, host_plan, around)
        place, site = choose_site(
            stages, host_plan, request.journal, divide_candidates(table, layout, host_plan)
        )
        transaction = Transaction(LogKind.DIVIDE, host_plan, stages, new_identity(), site)
        plain = ()
    after = (layout.new_table, area)
    summary = summarise(device, area, (table, None), after, host_plan, place, layout.notes)
    return Plan("divided", summary, transaction, plain, request)


def _table_scratch(table: Table, layout: Layout) -> Extent | None:
    """Room in the second area that no partition but the shrunk host has, going by the old table.

    The old table holds while this is written, and the host is in use again if there is a cut then.
    """
    start = layout.area_start_bytes
    others = [
        Extent(p.start_bytes, p.length_bytes)
        for p in table.partitions
        if not p.is_extended and p.number != layout.host_partition
    ]
    free = subtract([Extent(start, max(0, table.usable_end_bytes - start))], others)
    return next((e for e in free if e.length >= TABLE_SCRATCH_BYTES), None)


def divide_candidates(
    table: Table, layout: Layout, plan: HostPlan
) -> list[tuple[str, list[Extent]]]:
    """Where a log may lie, best first."""
    start, unit = plan.host.offset_bytes, plan.host.block_bytes
    free_before = scale(plan.free_before, unit, start)
    free_both = intersect(free_before, scale(plan.free_after, unit, start))
    new_end = start + plan.after.blocks * unit
    old_end = start + plan.host.superblock.blocks * unit
    taken = [Extent(p.start_bytes, p.length_bytes) for p in table.partitions]
    usable = Extent(FIRST_GAP_BYTES, max(0, table.usable_end_bytes - FIRST_GAP_BYTES))
    gaps = [] if table.kind is TableKind.NONE else subtract([usable], taken)
    if table.kind is TableKind.NONE:
        gaps = subtract([Extent(old_end, max(0, table.disk_bytes - old_end))], [])
    return [
        (
            "free blocks past the divider",
            intersect(free_before, [Extent(new_end, old_end - new_end)]),
        ),
        ("space outside the partitions", gaps),
        ("free blocks below the divider", free_both),
    ]


def choose_site(
    stages: Sequence[ChangeStage],
    plan: HostPlan,
    journal: Path | None,
    candidates: Sequence[tuple[str, Sequence[Extent]]],
) -> tuple[str, LogSite]:
    """The user's file, or the first place on the disk that has room."""
    if journal:
        return f"the file {journal}", LogSite(file=journal)
    copies = [Extent(c.dst, c.length) for c in plan.copies]
    avoid = [
        *written_extents(stages),
        *scale(copies, plan.host.block_bytes, plan.host.offset_bytes),
    ]
    name, extents = place_log(log_size(stages), candidates, avoid)
    return name, LogSite(extents)
