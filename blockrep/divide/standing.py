"""The second area of a committed divide whose log is lost, from what the disk itself says.

The table names the place of every part, and the plan of a second area is pure arithmetic: it is
made again from the divider and the number of the parts, and believed only if it comes out as the
table has it. The size that the host had stands in the backups that still hold the divide's lock.
What nothing says any more is left out: where other partitions were before they moved, and a history
share that was asked for.
"""

from __future__ import annotations

import os
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

from blockrep.disk.area import (
    AREA_BYTES,
    RESERVE_TYPE,
    Area,
    AreaSegment,
    ChangedPartition,
    find_area,
    may_be_area,
)
from blockrep.disk.device import Device
from blockrep.disk.superblock import SUPERBLOCK_BYTES, Superblock
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.divide.layout_values import first_end
from blockrep.divide.lock import parse_lock
from blockrep.divide.second_area import SecondArea, plan_second_area, start_gap_bytes
from blockrep.errors import BlockrepError, RecordDamaged
from blockrep.extents import Extent

BLOCKS_LOW_OFFSET = 0x4
BLOCKS_HIGH_OFFSET = 0x150


def find_standing_area(
    device: Device, table: Table, host_offset_bytes: int, host: Superblock, transaction: bytes
) -> Area | None:
    """The record of the second area that `table` names; None when it names none, or another one.

    `host` is the committed superblock of the filesystem at `host_offset_bytes`, `transaction` the
    one of its mark.
    """
    parts = _parts_behind(table)
    written = _written_record(device, table, parts)
    if written is not None:
        return written
    number = next((p.number for p in _plain(table) if p.start_bytes == host_offset_bytes), None)
    second = _planned(table, parts) if parts and number is not None else None
    if number is None or second is None or _places(second) != [_place(p) for p in parts]:
        return None
    old_blocks = _old_blocks(device, host_offset_bytes, host, transaction)
    return Area(
        instance_id=os.urandom(16),
        generation=1,
        created_s=int(time.time()),
        disk_bytes=table.disk_bytes,
        sector_bytes=table.sector_bytes,
        table_kind=table.kind,
        divider_bytes=parts[0].start_bytes - start_gap_bytes(table),
        area_start_bytes=second.area_start_bytes,
        first_end_bytes=first_end(table, parts[0].start_bytes - start_gap_bytes(table)),
        host=number,
        host_block_bytes=host.block_bytes,
        host_old_blocks=old_blocks,
        reserve=second.reserve,
        segments=tuple(
            AreaSegment(
                s.number, s.start_bytes, s.length_bytes, s.capacity_bytes, s.history_bytes, s.uuid
            )
            for s in second.segments
        ),
        changed=(ChangedPartition(number, host_offset_bytes, old_blocks * host.block_bytes),),
    )


def _written_record(device: Device, table: Table, parts: list[Partition]) -> Area | None:
    """A record that the divide wrote before it was cut, not one that an earlier one left there."""
    try:
        found = find_area(device, table)
    except RecordDamaged:  # torn by the cut
        return None
    if found is None or table.kind is TableKind.NONE:
        return found[1] if found else None
    area = found[1]
    uuids = {p.uuid for p in parts}
    known = table.kind is not TableKind.GPT or all(s.uuid in uuids for s in area.segments)
    return area if known and _places(area) == [_place(p) for p in parts] else None


def _plain(table: Table) -> list[Partition]:
    return sorted(
        (p for p in table.partitions if not p.is_extended), key=lambda part: part.start_bytes
    )


def _parts_behind(table: Table) -> list[Partition]:
    """The area and everything behind it; nothing where no entry looks like an area."""
    parts = _plain(table)
    at = next((n for n, p in enumerate(parts) if may_be_area(table.kind, p)), len(parts))
    return parts[at:]


def _planned(table: Table, parts: list[Partition]) -> SecondArea | None:
    """What a divide with as many peers lays out; of one part on MBR, a segment where one fits."""
    area, *rest = parts
    others = tuple(p for p in table.partitions if p not in parts)
    numbers = [0] if rest and rest[0].type == RESERVE_TYPE else [len(rest)]
    if table.kind is TableKind.MBR and len(rest) == 1:
        numbers.append(0)
    for peers in numbers:
        try:
            return plan_second_area(
                replace(table, partitions=others),
                area.start_bytes - start_gap_bytes(table),
                peers,
                None,
                _uuids_of(rest),
            )
        except BlockrepError:
            continue
    return None


def _uuids_of(parts: list[Partition]) -> Callable[[], uuid.UUID]:
    """A segment has its partition's; on MBR, where there is none, a new one."""

    def each() -> Iterator[uuid.UUID]:
        for part in parts:
            yield uuid.UUID(part.uuid) if part.uuid else uuid.uuid4()

    known = each()
    return lambda: next(known)


def _place(part: Partition) -> Extent:
    return Extent(part.start_bytes, part.length_bytes)


def _places(second: SecondArea | Area) -> list[Extent]:
    segments = [Extent(s.start_bytes, s.length_bytes) for s in second.segments]
    reserve = [second.reserve] if second.reserve else []
    return [Extent(second.area_start_bytes, AREA_BYTES), *segments, *reserve]


def _old_blocks(device: Device, offset: int, host: Superblock, transaction: bytes) -> int:
    """The host's size before the divide, from a backup past its end; its size now if none is left.

    Only one that holds this transaction's lock counts: others may be of anybody's filesystem.
    """
    most = (device.size_bytes - offset) // host.block_bytes
    widest = _with_blocks(host, most)
    for group in widest.backup_groups:
        at = offset + widest.backup_block(group) * host.block_bytes
        if group < host.groups or at + SUPERBLOCK_BYTES > device.size_bytes:
            continue
        raw = device.read(at, SUPERBLOCK_BYTES)
        lock = parse_lock(raw)
        if lock is not None and lock.transaction == transaction:
            return min(Superblock(raw).blocks, most)
    return host.blocks


def _with_blocks(host: Superblock, blocks: int) -> Superblock:
    """The same filesystem if it had so many blocks, to know where its backups would be."""
    raw = bytearray(host.raw)
    struct.pack_into("<I", raw, BLOCKS_LOW_OFFSET, blocks & 0xFFFFFFFF)
    struct.pack_into("<I", raw, BLOCKS_HIGH_OFFSET, blocks >> 32)
    return Superblock(bytes(raw))
