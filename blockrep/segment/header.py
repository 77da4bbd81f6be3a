"""The headers of a segment and the writes that make a new one (docs/segment-format.md)."""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from blockrep.disk.records import (
    PREFIX,
    RecordKind,
    build_prefix,
    check_known,
    check_sealed,
    newest_record,
    seal_record,
    slot_of,
)
from blockrep.disk.writes import Write
from blockrep.errors import DoesNotFit, RecordDamaged, RecordUnsupported
from blockrep.segment.assignment import Held, build_assignment, parse_assignment
from blockrep.segment.geometry import (
    BLOCK_BYTES,
    CHUNK_BYTES,
    FRONT_BYTES,
    MAP_ENTRY_BYTES,
    TAIL_BYTES,
    Geometry,
    geometry_with_ring,
)

HEADER_BYTES = 4096
SLOT_OFFSETS = (1536 << 10, 1792 << 10)
TRAILER_FROM_END = 768 << 10
GUARD_PAGE_OFFSET = 4 << 20

_INCOMPAT_ASSIGNED = 1
_INCOMPAT_OFFSET = 20
_KIND = RecordKind("segment header", b"BLKRSEGM", HEADER_BYTES, incompat_known=_INCOMPAT_ASSIGNED)
_FIXED = struct.Struct("<16s16sIIQQQQQQQIII")


class SegmentState(IntEnum):
    """What a segment is used for."""

    UNASSIGNED = 0
    SETTLED = 1  # it holds an epoch, or none yet, and nothing is under way
    APPLYING = 2


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What one header says; `uuid` is canonical upper case, `instance_id` 16 bytes.

    `held` is None exactly when the segment is unassigned.
    """

    generation: int
    uuid: str
    instance_id: bytes
    number: int
    state: SegmentState
    geometry: Geometry
    held: Held | None = None


class PlannedSegment(Protocol):
    """What the making of a segment needs to know of its plan."""

    @property
    def number(self) -> int: ...
    @property
    def start_bytes(self) -> int: ...
    @property
    def length_bytes(self) -> int: ...
    @property
    def history_bytes(self) -> int: ...
    @property
    def uuid(self) -> str: ...


def build_header(header: SegmentHeader) -> bytes:
    """The 4 KiB of a header."""
    g = header.geometry
    record = bytearray(HEADER_BYTES)
    record[: PREFIX.size] = build_prefix(_KIND, header.generation)
    _FIXED.pack_into(
        record,
        PREFIX.size,
        uuid.UUID(header.uuid).bytes,
        header.instance_id,
        header.number,
        header.state,
        *(g.segment_bytes, g.map_offset, g.map_bytes, g.ring_offset, g.ring_bytes),
        *(g.data_offset, g.data_bytes),
        *(CHUNK_BYTES, BLOCK_BYTES, MAP_ENTRY_BYTES),
    )
    if header.held is not None:
        # A program that knows no assignments must not take the segment for a free one.
        struct.pack_into("<I", record, _INCOMPAT_OFFSET, _INCOMPAT_ASSIGNED)
        build_assignment(header.held, record)
    return seal_record(record)


def parse_header(data: bytes) -> SegmentHeader:
    """The opposite of `build_header`.

    `RecordDamaged` for what is no whole header that makes sense, `RecordUnsupported` for one that a
    newer version wrote.
    """
    check_sealed(_KIND, data)
    check_known(_KIND, data)
    *_, incompat, generation = PREFIX.unpack_from(data)
    ident, instance_id, number, state, *rest = _FIXED.unpack_from(data, PREFIX.size)
    if state not in tuple(SegmentState):
        raise RecordUnsupported(f"segment {number} is in the unknown state {state}")
    geometry = _checked_geometry(rest)
    return SegmentHeader(
        generation=generation,
        uuid=str(uuid.UUID(bytes=ident)).upper(),
        instance_id=instance_id,
        number=number,
        state=SegmentState(state),
        geometry=geometry,
        held=_parse_held(data, SegmentState(state), bool(incompat & _INCOMPAT_ASSIGNED), geometry),
    )


def parse_slots(slots: tuple[bytes, bytes]) -> SegmentHeader | None:
    """The newest header of the two; None where neither slot has one. Errors as `parse_header`."""
    newest = newest_record(_KIND, slots)
    return None if newest is None else parse_header(newest)


def header_offset(generation: int) -> int:
    """Where the header of this generation lies in its segment."""
    return SLOT_OFFSETS[slot_of(generation)]


def segment_writes(segment: PlannedSegment, instance_id: bytes) -> tuple[Write, ...]:
    """The writes that make a new, unassigned segment.

    Zeros over front and tail and over the page at 4 MiB, with the header and the trailer in their
    places: whatever the old filesystem left there can no longer be probed.
    """
    geometry = geometry_with_ring(segment.length_bytes, segment.history_bytes)
    header = build_header(
        SegmentHeader(
            generation=1,
            uuid=segment.uuid,
            instance_id=instance_id,
            number=segment.number,
            state=SegmentState.UNASSIGNED,
            geometry=geometry,
        )
    )
    start, tail = segment.start_bytes, segment.start_bytes + segment.length_bytes - TAIL_BYTES
    return (
        *_zeros_around(start, FRONT_BYTES, header_offset(1), header),
        Write(start + GUARD_PAGE_OFFSET, bytes(BLOCK_BYTES)),
        *_zeros_around(tail, TAIL_BYTES, TAIL_BYTES - TRAILER_FROM_END, header),
    )


def _parse_held(
    data: bytes, state: SegmentState, assigned: bool, geometry: Geometry
) -> Held | None:
    if assigned != (state is not SegmentState.UNASSIGNED):
        raise RecordDamaged("the segment header contradicts itself about being assigned")
    if not assigned:
        return None
    held = parse_assignment(data, state is SegmentState.APPLYING)
    ring_pages = geometry.ring_bytes // BLOCK_BYTES
    if held.content_bytes > geometry.data_bytes or held.head - held.tail > ring_pages:
        raise RecordDamaged("the segment header says that it holds more than it can")
    return held


def _zeros_around(start: int, length: int, offset: int, record: bytes) -> tuple[Write, ...]:
    after = offset + len(record)
    return (
        Write(start, bytes(offset)),
        Write(start + offset, record),
        Write(start + after, bytes(length - after)),
    )


def _checked_geometry(fields: list[int]) -> Geometry:
    geometry = Geometry(*fields[:7])
    if tuple(fields[7:]) != (CHUNK_BYTES, BLOCK_BYTES, MAP_ENTRY_BYTES):
        raise RecordUnsupported(f"a segment with units of {fields[7:]} bytes")
    try:
        expected = geometry_with_ring(geometry.segment_bytes, geometry.ring_bytes)
    except (ValueError, DoesNotFit) as error:
        raise RecordDamaged(f"the segment header makes no sense: {error}") from error
    if geometry != expected:
        raise RecordDamaged("the segment header's regions do not follow from its lengths")
    return geometry
