"""Give the second area back: the table first, the filesystem last, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from blockrep.disk.area import AREA_BYTES, Area, find_area
from blockrep.disk.device import Device
from blockrep.disk.holds import refuse_if_held
from blockrep.disk.superblock import SUPERBLOCK_BYTES
from blockrep.disk.table import Table, read_table, table_stages
from blockrep.disk.whole import refuse_partition
from blockrep.disk.writes import Stage, Write
from blockrep.divide.host import Goal, Host, HostPlan, find_host, plan_host
from blockrep.divide.interrupted import refuse_interrupted
from blockrep.divide.journal_file import check_journal_file
from blockrep.divide.layout import PartitionMove
from blockrep.divide.log import Change, LogKind
from blockrep.divide.moves import move_changes
from blockrep.divide.plan import Plan, choose_site
from blockrep.divide.summarise import summarise
from blockrep.divide.summary import Join, UndivideRequest
from blockrep.divide.survey import (
    judge_cleanliness,
    judge_host,
    refuse_bad_blocks,
)
from blockrep.divide.transaction import (
    Surroundings,
    Transaction,
    build_stages,
    new_identity,
)
from blockrep.divide.undo_layout import plan_undo
from blockrep.errors import NotDivided
from blockrep.extents import Extent, intersect, scale, subtract
from blockrep.progress import Progress


def plan_undivide(device: Device, request: UndivideRequest, progress: Progress) -> Plan:
    """Plan the way back; `NotDivided` when there is no area. What peers stored is lost with it."""
    progress.phase("looking at the disk")
    refuse_partition(device.path)
    refuse_if_held(device.path)
    if request.journal:
        check_journal_file(request.journal, device)
    # The core and e2fsprogs read through the cache of the whole disk, which does not know what was
    # written through a partition's.
    device.drop_caches()
    refuse_interrupted(device)
    table = read_table(device)
    found = find_area(device, table)
    if found is None:
        raise NotDivided(f"{device.path} is not divided")
    area = found[1]
    new_table, notes = plan_undo(table, area, return_swaps=area.host is not None)
    notes = ("what peers have stored on this disk will be lost", *_key_notes(area), *notes)
    sides = ((table, area), (new_table, None))
    host, blocks = _host_and_goal(device, area, new_table)
    steps = table_stages(device, table, new_table, _area_extent(area))
    if host is None:
        wipe = Stage("second-area", (Write(area.area_start_bytes, bytes(AREA_BYTES)),))
        summary = summarise(device, area, *sides, None, "not needed", notes)
        return Plan("undivided", summary, None, (*steps, wipe))
    goal = Goal(blocks, Join.NO_JOIN, {})
    plan = plan_host(device, host, goal, request.shadow_dir, progress)
    try:
        moved = (c for m in _returning(table, new_table) for c in move_changes(device, m))
        around = Surroundings(steps, (*moved, *_wiped_area(device, area, plan)))
        stages = build_stages(device, LogKind.UNDIVIDE, plan, around)
        place, site = choose_site(stages, plan, request.journal, _candidates(area, plan))
        transaction = Transaction(LogKind.UNDIVIDE, plan, stages, new_identity(), site)
        summary = summarise(device, area, *sides, plan, place, notes)
        return Plan("undivided", summary, transaction, ())
    except BaseException:
        plan.shadow.close()
        raise


def _key_notes(area: Area) -> list[str]:
    """The keys go with the area: from then on only the recovery key opens this disk's replicas."""
    if area.keys is None:
        return []
    lost = (
        f"this disk is in the group {area.keys.group_name}, and its keys are lost with the area: "
        "what peers hold of it can then only be brought back with the recovery key"
    )
    if not any(area.keys.wrap_key):
        return [lost + ", and there is none"]
    return [lost]


def _host_and_goal(device: Device, area: Area, new_table: Table) -> tuple[Host | None, int]:
    """The host filesystem and its old size, or less where its partition cannot grow so far."""
    if area.host is None:
        return None, 0
    start, length = 0, device.size_bytes
    for part in new_table.partitions:
        if part.number == area.host:
            start, length = part.start_bytes, part.length_bytes
    host = find_host(device, start, length)
    judge_host(device, host.superblock, length)
    judge_cleanliness(host.superblock)
    refuse_bad_blocks(device, start)
    blocks = min(area.host_old_blocks, length // host.block_bytes)
    return host, max(blocks, host.superblock.blocks)


def _returning(table: Table, new_table: Table) -> list[PartitionMove]:
    """Swaps that go back to where they were: the only partitions that an undivide moves."""
    new_starts = {p.number: p.start_bytes for p in new_table.partitions}
    return [
        PartitionMove(p.number, p.start_bytes, new_starts[p.number], p.length_bytes, is_swap=True)
        for p in table.partitions
        if not p.is_extended and new_starts.get(p.number, p.start_bytes) != p.start_bytes
    ]


def _area_extent(area: Area) -> Extent:
    return Extent(area.area_start_bytes, AREA_BYTES)


def _wiped_area(device: Device, area: Area, plan: HostPlan) -> list[Change]:
    """The record goes with the rest: a disk without a table would still be found divided.

    The host grows over the area and may have metadata there: that is no longer ours to wipe.
    """
    writes = plan.writes
    metadata = [Extent(c.offset_bytes, c.length_bytes) for c in writes.metadata]
    supers = [Extent(at, SUPERBLOCK_BYTES) for at, _ in (*writes.supers_old, *writes.backups_new)]
    return [
        Change(at, length, old=partial(device.read, at, length), zeros=True)
        for at, length in subtract([_area_extent(area)], [*metadata, *supers])
    ]


def _candidates(area: Area, plan: HostPlan) -> list[tuple[str, Sequence[Extent]]]:
    """In the segments, which nobody needs any more; else where both filesystems are free.

    Not between the segments: an MBR has records there, and they stand until the table is changed.
    What the grown host keeps in the second area is taken, whether it is written or stands there
    already (zeros of an inode table).
    """
    unit, start = plan.host.block_bytes, plan.host.offset_bytes
    free_after = scale(plan.free_after, unit, start)
    free = intersect(scale(plan.free_before, unit, start), free_after)
    used_after = subtract([Extent(start, plan.after.blocks * unit)], free_after)
    segments = [Extent(s.start_bytes, s.length_bytes) for s in area.segments]
    segments += [area.reserve] if area.reserve else []
    second = subtract(segments, used_after)
    return [("the segments", second), ("free blocks of the filesystem", free)]
