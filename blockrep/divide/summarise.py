"""Tell a plan, of either direction, to people."""

from __future__ import annotations

from blockrep.disk.area import Area
from blockrep.disk.device import Device
from blockrep.disk.table import Table
from blockrep.divide.host import HostPlan, Picture
from blockrep.divide.regions import list_regions
from blockrep.divide.show import name_filesystem, segments_of
from blockrep.divide.summary import Cell, DivideSummary, Region

# What the estimate goes by: a middling disk, read and written in turn.
ASSUMED_BYTES_PER_S = 150_000_000

Side = tuple[Table, Area | None]


def summarise(
    device: Device,
    area: Area,
    before: Side,
    after: Side,
    plan: HostPlan | None,
    place: str,
    notes: tuple[str, ...],
) -> DivideSummary:
    """`before` and `after` are the tables, with the area on the side where the disk is divided.

    `plan` is None where no filesystem changes; `place` says where the log will lie.
    """
    table = before[0]
    named = {p.number: name_filesystem(device, p) for p in table.partitions if not p.is_extended}
    bare = plan.host.superblock.kind if plan and not named else ""

    def regions(side: Side) -> tuple[Region, ...]:
        end_bytes = side[1].first_end_bytes if side[1] else device.size_bytes
        return list_regions(*side, lambda p: named.get(p.number, bare), end_bytes)

    stats = plan.stats if plan else None
    copied = plan.copy_bytes if plan else 0
    metadata = sum(c.length_bytes for c in plan.writes.metadata) if plan else 0
    return DivideSummary(
        disk=str(device.path),
        disk_bytes=device.size_bytes,
        sector_bytes=device.sector_bytes,
        table=table.kind.value,
        divider_bytes=area.divider_bytes,
        before=regions(before),
        after=regions(after),
        host_partition=area.host,
        host_end_bytes=plan.end_bytes if plan else 0,
        host_blocks_before=plan.host.superblock.blocks if plan else 0,
        host_blocks_after=plan.after.blocks if plan else 0,
        files_moved=stats.files_moved if stats else 0,
        files_joined=stats.files_joined if stats else 0,
        fragmented_before=plan.picture_before.summary.fragmented_files if plan else 0,
        fragmented_after=plan.picture_after.summary.fragmented_files if plan else 0,
        copy_bytes=copied,
        metadata_bytes=metadata,
        log_place=place,
        estimated_s=1 + (2 * copied + 4 * metadata) / ASSUMED_BYTES_PER_S,
        segments=segments_of(area),
        cells_before=_cells(plan.picture_before) if plan else (),
        cells_after=_cells(plan.picture_after) if plan else (),
        notes=notes,
    )


def _cells(picture: Picture) -> tuple[Cell, ...]:
    return tuple(Cell(*cell) for cell in picture.cells)
