"""The area record: values, bytes, and whether they make sense. Byte tables: docs/area-format.md."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from itertools import pairwise

from blockrep.disk.area_keys import KEYS_BYTES, AreaKeys, build_keys, parse_keys
from blockrep.disk.records import (
    PREFIX,
    RecordKind,
    build_prefix,
    check_known,
    check_sealed,
    incompat_of,
    seal_record,
)
from blockrep.disk.table import TableKind
from blockrep.errors import RecordDamaged
from blockrep.extents import Extent

MIB = 1 << 20
AREA_BYTES = 4 * MIB
RECORD_BYTES = 64 << 10
MAX_SEGMENTS = 64
MAX_CHANGED = 128

_HAS_KEYS = 1
AREA_RECORD = RecordKind("area record", b"BLKRAREA", RECORD_BYTES, incompat_known=_HAS_KEYS)
_FIXED = struct.Struct("<16sQQIIQQQQIIQQQII")
_SEGMENT = struct.Struct("<I4xQQQQ16s32s64s104x")
_CHANGED = struct.Struct("<IIQQ40x")
_SEGMENTS_OFFSET = 4096
_CHANGED_OFFSET = 20480
_KEYS_OFFSET = 28672
_OWNER_NAME_BYTES = 64
_NO_HOST = 0xFFFFFFFF
_FLAG_SWAP = 1
_FLAG_ABSENT = 2
_TABLE_CODES = (TableKind.NONE, TableKind.GPT, TableKind.MBR)
_SECTOR_SIZES = (512, 1024, 2048, 4096)


@dataclass(frozen=True, slots=True)
class AreaSegment:
    """A segment as the area lists it. `owner_name` is empty while it is not assigned."""

    number: int
    start_bytes: int
    length_bytes: int
    capacity_bytes: int
    history_bytes: int
    uuid: str
    owner_name: str = ""
    owner_key: bytes = bytes(32)

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + self.length_bytes


@dataclass(frozen=True, slots=True)
class ChangedPartition:
    """A partition before the divide changed it; length 0 when the divide made it."""

    number: int
    old_start_bytes: int
    old_length_bytes: int
    is_swap: bool = False


@dataclass(frozen=True, slots=True)
class Area:
    """What one record says. `host` is a partition number, 0 for a bare filesystem, None for none.

    `first_end_bytes` is where the last partition or filesystem below the divider ends. `keys` are
    those of the group that the disk is in.
    """

    instance_id: bytes
    generation: int
    created_s: int
    disk_bytes: int
    sector_bytes: int
    table_kind: TableKind
    divider_bytes: int
    area_start_bytes: int
    first_end_bytes: int
    host: int | None
    host_block_bytes: int
    host_old_blocks: int
    reserve: Extent | None
    segments: tuple[AreaSegment, ...]
    changed: tuple[ChangedPartition, ...]
    keys: AreaKeys | None = None


def build_area(area: Area) -> bytes:
    """The 64 KiB of a record. `ValueError` for what the format cannot hold."""
    if len(area.segments) > MAX_SEGMENTS or len(area.changed) > MAX_CHANGED:
        raise ValueError("more segments or changed partitions than an area record holds")
    record = bytearray(RECORD_BYTES)
    flags = 0 if area.keys is None else _HAS_KEYS
    record[: PREFIX.size] = build_prefix(AREA_RECORD, area.generation, flags)
    _FIXED.pack_into(record, PREFIX.size, *_fixed_fields(area))
    for index, segment in enumerate(area.segments):
        _pack_segment(record, _SEGMENTS_OFFSET + index * _SEGMENT.size, segment)
    for index, changed in enumerate(area.changed):
        _pack_changed(record, _CHANGED_OFFSET + index * _CHANGED.size, changed)
    if area.keys is not None:
        record[_KEYS_OFFSET : _KEYS_OFFSET + KEYS_BYTES] = build_keys(area.keys)
    _check_sense(area)
    return seal_record(record)


def parse_area(data: bytes) -> Area:
    """The opposite of `build_area`.

    `RecordDamaged` for anything that is not a whole record that makes sense, `RecordUnsupported`
    for one that a newer version wrote.
    """
    check_sealed(AREA_RECORD, data)
    check_known(AREA_RECORD, data)
    area = _unpack(data)
    try:
        _check_sense(area)
    except ValueError as error:
        raise RecordDamaged(f"the area record makes no sense: {error}") from error
    return area


def _fixed_fields(area: Area) -> tuple[bytes | int, ...]:
    reserve = area.reserve or Extent(0, 0)
    return (
        area.instance_id,
        area.created_s,
        area.disk_bytes,
        area.sector_bytes,
        _TABLE_CODES.index(area.table_kind),
        area.divider_bytes,
        area.area_start_bytes,
        AREA_BYTES,
        area.first_end_bytes,
        _NO_HOST if area.host is None else area.host,
        area.host_block_bytes,
        area.host_old_blocks,
        reserve.start,
        reserve.length,
        len(area.segments),
        len(area.changed),
    )


def _pack_segment(record: bytearray, offset: int, segment: AreaSegment) -> None:
    name = segment.owner_name.encode()
    if len(name) > _OWNER_NAME_BYTES or len(segment.owner_key) != 32:
        raise ValueError("an owner's name has at most 64 bytes, its key 32")
    _SEGMENT.pack_into(
        record,
        offset,
        segment.number,
        segment.start_bytes,
        segment.length_bytes,
        segment.capacity_bytes,
        segment.history_bytes,
        uuid.UUID(segment.uuid).bytes,
        segment.owner_key,
        name,
    )


def _pack_changed(record: bytearray, offset: int, changed: ChangedPartition) -> None:
    absent = _FLAG_ABSENT if changed.old_length_bytes == 0 else 0
    flags = absent | (_FLAG_SWAP if changed.is_swap else 0)
    fields = (changed.number, flags, changed.old_start_bytes, changed.old_length_bytes)
    _CHANGED.pack_into(record, offset, *fields)


def _unpack(data: bytes) -> Area:
    generation = PREFIX.unpack_from(data)[5]
    (
        instance_id,
        created_s,
        disk_bytes,
        sector_bytes,
        table_code,
        divider_bytes,
        area_start_bytes,
        area_length_bytes,
        first_end_bytes,
        host,
        host_block_bytes,
        host_old_blocks,
        reserve_start,
        reserve_length,
        segment_count,
        changed_count,
    ) = _FIXED.unpack_from(data, PREFIX.size)
    if segment_count > MAX_SEGMENTS or changed_count > MAX_CHANGED:
        raise RecordDamaged(f"an area record with {segment_count} and {changed_count} entries")
    if table_code >= len(_TABLE_CODES) or area_length_bytes != AREA_BYTES:
        raise RecordDamaged(f"the area record has table {table_code}, length {area_length_bytes}")
    return Area(
        instance_id=instance_id,
        generation=generation,
        created_s=created_s,
        disk_bytes=disk_bytes,
        sector_bytes=sector_bytes,
        table_kind=_TABLE_CODES[table_code],
        divider_bytes=divider_bytes,
        area_start_bytes=area_start_bytes,
        first_end_bytes=first_end_bytes,
        host=None if host == _NO_HOST else host,
        host_block_bytes=host_block_bytes,
        host_old_blocks=host_old_blocks,
        reserve=Extent(reserve_start, reserve_length) if reserve_length else None,
        segments=tuple(
            _unpack_segment(data, _SEGMENTS_OFFSET + i * _SEGMENT.size)
            for i in range(segment_count)
        ),
        changed=tuple(
            _unpack_changed(data, _CHANGED_OFFSET + i * _CHANGED.size) for i in range(changed_count)
        ),
        keys=_unpack_keys(data),
    )


def _unpack_keys(data: bytes) -> AreaKeys | None:
    if not incompat_of(data) & _HAS_KEYS:
        return None
    return parse_keys(data[_KEYS_OFFSET : _KEYS_OFFSET + KEYS_BYTES])


def _unpack_segment(data: bytes, offset: int) -> AreaSegment:
    number, start, length, capacity, history, ident, key, name = _SEGMENT.unpack_from(data, offset)
    try:
        owner_name = name.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise RecordDamaged(f"the owner's name of segment {number} is not UTF-8") from error
    return AreaSegment(
        number=number,
        start_bytes=start,
        length_bytes=length,
        capacity_bytes=capacity,
        history_bytes=history,
        uuid=str(uuid.UUID(bytes=ident)).upper(),
        owner_name=owner_name,
        owner_key=key,
    )


def _unpack_changed(data: bytes, offset: int) -> ChangedPartition:
    number, flags, start, length = _CHANGED.unpack_from(data, offset)
    return ChangedPartition(number, start, length, bool(flags & _FLAG_SWAP))


def _check_sense(area: Area) -> None:
    """`ValueError` when the values contradict each other or the disk's size."""
    if len(area.instance_id) != 16:
        raise ValueError("an instance id has 16 bytes")
    if area.sector_bytes not in _SECTOR_SIZES:
        raise ValueError(f"sector size {area.sector_bytes}")
    _check_sectors(area)
    if not area.first_end_bytes <= area.divider_bytes <= area.area_start_bytes:
        raise ValueError("first area, divider and area are out of order")
    _check_second_area(area)
    if any(not name.isprintable() for name in (s.owner_name for s in area.segments)):
        raise ValueError("an owner's name with control characters")
    numbers = [c.number for c in area.changed]
    if len(set(numbers)) != len(numbers):
        raise ValueError("a partition is listed twice")
    if any(c.old_start_bytes + c.old_length_bytes > area.disk_bytes for c in area.changed):
        raise ValueError("a partition past the end of the disk")
    if area.host_old_blocks * area.host_block_bytes > area.disk_bytes:
        raise ValueError("a filesystem larger than the disk")


def _check_sectors(area: Area) -> None:
    places = [area.divider_bytes, area.area_start_bytes, area.first_end_bytes]
    places += [place for s in area.segments for place in (s.start_bytes, s.length_bytes)]
    places += list(area.reserve or ())
    if any(place % area.sector_bytes for place in places):
        raise ValueError("a place inside a sector")


def _check_second_area(area: Area) -> None:
    """Area, segments and reserve are behind the divider, inside the disk, and apart."""
    parts = [Extent(s.start_bytes, s.length_bytes) for s in area.segments]
    if parts != sorted(parts) or any(part.length == 0 for part in parts):
        raise ValueError("segments out of order")
    numbers = [s.number for s in area.segments]
    if numbers != sorted(set(numbers)) or 0 in numbers:
        raise ValueError("segment numbers out of order")
    if any(s.capacity_bytes + s.history_bytes > s.length_bytes for s in area.segments):
        raise ValueError("a segment that holds more than its length")
    parts.append(Extent(area.area_start_bytes, AREA_BYTES))
    if area.reserve is not None:
        parts.append(area.reserve)
    parts.sort()
    if parts[0].start < area.divider_bytes or parts[-1].end > area.disk_bytes:
        raise ValueError("the second area leaves its bounds")
    if any(a.end > b.start for a, b in pairwise(parts)):
        raise ValueError("parts of the second area overlap")
