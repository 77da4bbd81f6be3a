"""What a divided disk says of itself: its area record, held against its table."""

from __future__ import annotations

from blockrep.disk.area import Area, find_area
from blockrep.disk.device import Device
from blockrep.disk.filesystems import identify
from blockrep.disk.table import Partition, read_table
from blockrep.divide.interrupted import refuse_interrupted
from blockrep.divide.regions import list_regions
from blockrep.divide.summary import DividedDisk, SegmentSummary
from blockrep.errors import NotDivided


def show_disk(device: Device) -> DividedDisk:
    """The divider, the first area and the segments; `NotDivided` when there is no area."""
    refuse_interrupted(device)
    table = read_table(device)
    found = find_area(device, table)
    if found is None:
        raise NotDivided(f"{device.path} is not divided")
    _, area = found
    regions = list_regions(
        table, area, lambda part: name_filesystem(device, part), area.first_end_bytes
    )
    return DividedDisk(
        str(device.path),
        device.size_bytes,
        device.sector_bytes,
        table.kind.value,
        area.divider_bytes,
        area.first_end_bytes,
        area.instance_id.hex(),
        next(r for r in regions if r.start_bytes == area.area_start_bytes),
        segments_of(area),
        regions,
    )


def segments_of(area: Area) -> tuple[SegmentSummary, ...]:
    """The segment table of an area record, for people."""
    return tuple(
        SegmentSummary(
            s.number,
            s.start_bytes,
            s.length_bytes,
            s.capacity_bytes,
            s.history_bytes,
            s.uuid,
            s.owner_name,
        )
        for s in area.segments
    )


def name_filesystem(device: Device, part: Partition) -> str:
    """What a partition holds, in blkid's words; empty for nothing known."""
    return identify(device.path, part.start_bytes, part.length_bytes).type
