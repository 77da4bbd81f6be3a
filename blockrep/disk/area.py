"""The area: the partition that says what a divided disk holds (docs/area-format.md).

Here is where its two records lie and how they are found, read and written.
"""

from __future__ import annotations

from blockrep.disk.area_record import (
    AREA_BYTES,
    AREA_RECORD,
    MAX_CHANGED,
    MAX_SEGMENTS,
    MIB,
    RECORD_BYTES,
    Area,
    AreaSegment,
    ChangedPartition,
    build_area,
    parse_area,
)
from blockrep.disk.device import Device
from blockrep.disk.records import newest_record, slot_of
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.disk.writes import Write

__all__ = [
    "AREA_BYTES",
    "AREA_TYPE",
    "MAX_CHANGED",
    "MAX_SEGMENTS",
    "OUR_MBR_TYPE",
    "RESERVE_TYPE",
    "SEGMENT_TYPE",
    "Area",
    "AreaSegment",
    "ChangedPartition",
    "area_writes",
    "bare_area_start",
    "build_area",
    "find_area",
    "fresh_area_writes",
    "may_be_area",
    "parse_area",
    "read_area",
]

SLOT_OFFSETS = (1536 << 10, 2560 << 10)

AREA_TYPE = "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE40A5A"
SEGMENT_TYPE = "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE4005E"
RESERVE_TYPE = "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE400F0"
OUR_MBR_TYPE = "da"


def read_area(device: Device, start_bytes: int) -> Area | None:
    """The newest record of the area that starts there; None where there is none.

    `RecordDamaged`, `RecordUnsupported`, `DeviceIO`.
    """
    if start_bytes < 0 or start_bytes + AREA_BYTES > device.size_bytes:
        return None
    slots = [device.read(start_bytes + offset, RECORD_BYTES) for offset in SLOT_OFFSETS]
    newest = newest_record(AREA_RECORD, slots)
    return None if newest is None else parse_area(newest)


def area_writes(area: Area) -> tuple[Write, ...]:
    """The writes that put this generation into its slot; flush before the next generation."""
    offset = area.area_start_bytes + SLOT_OFFSETS[slot_of(area.generation)]
    return (Write(offset, build_area(area)),)


def fresh_area_writes(area: Area) -> tuple[Write, ...]:
    """The writes that make a new area: its record, and zeros over everything else."""
    slot = SLOT_OFFSETS[slot_of(area.generation)]
    start = area.area_start_bytes
    return (
        Write(start, bytes(slot)),
        *area_writes(area),
        Write(start + slot + RECORD_BYTES, bytes(AREA_BYTES - slot - RECORD_BYTES)),
    )


def bare_area_start(disk_bytes: int) -> int:
    """Where the area of a disk without a table lies; negative if the disk is too small."""
    return disk_bytes // MIB * MIB - AREA_BYTES


def find_area(device: Device, table: Table) -> tuple[int, Area] | None:
    """The place and record of the area of this disk; None where no place has a record.

    The first record found counts. Errors are those of `read_area`.
    """
    for start in _places(device, table):
        area = read_area(device, start)
        if area is not None:
            return start, area
    return None


def _places(device: Device, table: Table) -> list[int]:
    if table.kind is TableKind.NONE:
        return [bare_area_start(device.size_bytes)]
    return [p.start_bytes for p in table.partitions if may_be_area(table.kind, p)]


def may_be_area(kind: TableKind, partition: Partition) -> bool:
    """Whether a table's entry looks like an area; on MBR only its record is proof."""
    if kind is TableKind.GPT:
        return partition.type == AREA_TYPE
    return partition.type == OUR_MBR_TYPE and partition.length_bytes == AREA_BYTES
