"""The header of a segment that is in use: what it says now, and how it is changed.

Each change is the next generation in the other slot and a flush, so that a cut leaves the header
before it or the one after it. The clocks of the holder are written along.
"""

from __future__ import annotations

from dataclasses import replace

from blockrep.disk.device import new_buffer
from blockrep.errors import InternalError, RecordDamaged, RecordUnsupported, UsageError
from blockrep.segment.assignment import Held
from blockrep.segment.clock import Clock
from blockrep.segment.header import (
    HEADER_BYTES,
    SLOT_OFFSETS,
    SegmentHeader,
    SegmentState,
    build_header,
    header_offset,
    parse_header,
    parse_slots,
)
from blockrep.segment.part import Disk, SegmentPart
from blockrep.segment.ring_log import Stamp


def read_header(disk: Disk, start_bytes: int) -> tuple[SegmentHeader, bool]:
    """The newest header of a segment, and whether the one beside it is what it must be.

    `RecordDamaged`, `RecordUnsupported`, `DeviceIO`.
    """
    page = new_buffer(HEADER_BYTES)
    slots = []
    for offset in SLOT_OFFSETS:
        disk.read_into(start_bytes + offset, page)
        slots.append(bytes(page))
    header = parse_slots((slots[0], slots[1]))
    if header is None:
        raise RecordDamaged(f"there is no segment at byte {start_bytes}")
    return header, _has_other(header, slots)


def _has_other(header: SegmentHeader, slots: list[bytes]) -> bool:
    """Whether the other slot has the header before: the newest of all may have been there."""
    if header.held is None:
        return True  # it may never have been written
    other = slots[1 - SLOT_OFFSETS.index(header_offset(header.generation))]
    try:
        return parse_header(other).generation == header.generation - 1
    except (RecordDamaged, RecordUnsupported):
        return False


class HeaderFile:
    """`header` is what is on the disk; it changes only when the write was flushed.

    `is_alone`: the other slot, where a newer one may have been, cannot be read.
    """

    def __init__(
        self, part: SegmentPart, header: SegmentHeader, clock: Clock, *, is_alone: bool
    ) -> None:
        self.header = header
        self.is_alone = is_alone
        self._part = part
        self._clock = clock
        self._opened_s = clock.uptime_s()
        self._uptime_before_s = header.held.uptime_s if header.held else 0

    @property
    def held(self) -> Held:
        """What an assigned segment holds; `UsageError` while it is not assigned."""
        if self.header.held is None:
            raise UsageError(f"segment {self.header.uuid} is not assigned to anybody")
        return self.header.held

    @property
    def is_applying(self) -> bool:
        return self.header.state is SegmentState.APPLYING

    def stamp(self) -> Stamp:
        """Both clocks now: the wall's, and how long this holder has been up with the segment."""
        up_s = max(0, self._clock.uptime_s() - self._opened_s)
        return Stamp(max(0, self._clock.wall_s()), self._uptime_before_s + up_s)

    def save(self, held: Held, state: SegmentState) -> None:
        """Write what is held now; `DeviceIO`, and then either header may be on the disk."""
        stamp = self.stamp()
        held = replace(held, uptime_s=stamp.uptime_s, clock_s=stamp.time_s)
        self._write(state, held)

    def assign(self, held: Held) -> None:
        """Write the first header of an assignment; its uptime begins."""
        self._opened_s, self._uptime_before_s = self._clock.uptime_s(), 0
        self.save(held, SegmentState.SETTLED)

    def clear(self) -> None:
        """Write that the segment belongs to nobody."""
        self._write(SegmentState.UNASSIGNED, None)

    def _write(self, state: SegmentState, held: Held | None) -> None:
        generation = self.header.generation + 1
        header = replace(self.header, generation=generation, state=state, held=held)
        record = build_header(header)
        # A header that could not be read again would be the end of the segment.
        if parse_header(record) != header:
            raise InternalError("a segment header is not what it was made of")
        self._part.write_header(generation, record)
        self.header = header
        self.is_alone = False
