"""The bytes of one segment of a device: the only way from the store to a disk.

Nothing outside the segment can be written through it, nor its front and tail but for the headers,
nor the guard page where the ring leaves it out (S2 of docs/invariants.md). Buffers come from
`new_buffer`; the device's own bounce buffer is not used, because several segments of one device
are written at the same time.
"""

from __future__ import annotations

from typing import Protocol

from blockrep.disk.device import new_buffer
from blockrep.errors import DeviceIO, InternalError
from blockrep.segment.geometry import BLOCK_BYTES, CHUNK_BYTES, FRONT_BYTES, TAIL_BYTES, Geometry
from blockrep.segment.header import GUARD_PAGE_OFFSET, HEADER_BYTES, header_offset

PIECE_BYTES = 1 << 20  # of what is read or written in a row by the way


class Disk(Protocol):
    """What the store needs of a device (`disk.device.Device`)."""

    def read_into(self, offset_bytes: int, view: memoryview) -> None: ...
    def write(self, offset_bytes: int, data: bytes | memoryview) -> None: ...
    def flush(self) -> None: ...


class SegmentPart:
    """Reads, writes and barriers within a segment; offsets are from its start.

    After a write or a flush that failed nothing is known of what is on the medium: every later one
    fails as well, until the segment is opened again and settled.
    """

    def __init__(self, disk: Disk, start_bytes: int, geometry: Geometry) -> None:
        self.geometry = geometry
        self.failure: str | None = None
        self._disk = disk
        self._start = start_bytes

    def read(self, offset: int, view: memoryview) -> None:
        """Fill `view`; `DeviceIO`."""
        if offset < 0 or offset + len(view) > self.geometry.segment_bytes:
            raise InternalError(f"a read at {offset} lies outside the segment")
        self._disk.read_into(self._start + offset, view)

    def write(self, offset: int, view: memoryview) -> None:
        """Write into map, ring or data; not durable before `flush`. `DeviceIO`."""
        end = offset + len(view)
        if offset < FRONT_BYTES or end > self.geometry.segment_bytes - TAIL_BYTES:
            raise InternalError(f"a write at {offset} lies outside map, ring and data")
        in_map = end <= self.geometry.ring_offset
        if not in_map and offset < GUARD_PAGE_OFFSET + BLOCK_BYTES and end > GUARD_PAGE_OFFSET:
            raise InternalError("a write over the guard page")
        self._write(offset, view)

    def write_header(self, generation: int, record: bytes) -> None:
        """A header into the slot of its generation, and a flush: the other slot stays whole."""
        page = new_buffer(HEADER_BYTES)
        page[:] = record
        self._write(header_offset(generation), page)
        self.flush()

    def flush(self) -> None:
        """A barrier; `DeviceIO`."""
        self.require_usable()
        try:
            self._disk.flush()
        except DeviceIO as error:
            self.failure = error.message
            raise

    def read_slots(self, chunks: list[int], buffer: memoryview) -> None:
        """Whole chunks into slots of the buffer, neighbours in one go."""
        at = 0
        while at < len(chunks):
            end = at + 1
            while end < len(chunks) and chunks[end] == chunks[end - 1] + 1:
                end += 1
            self.read(self.chunk_offset(chunks[at]), buffer[at * CHUNK_BYTES : end * CHUNK_BYTES])
            at = end

    def chunk_offset(self, chunk: int) -> int:
        """Where a chunk of the data begins."""
        return self.geometry.data_offset + chunk * CHUNK_BYTES

    def _write(self, offset: int, view: memoryview) -> None:
        self.require_usable()
        try:
            self._disk.write(self._start + offset, view)
        except DeviceIO as error:
            self.failure = error.message
            raise

    def require_usable(self) -> None:
        """`DeviceIO` after a write or a flush that failed."""
        # A flush that failed once may succeed when repeated, with the data gone.
        if self.failure is not None:
            raise DeviceIO(f"the segment failed before and must be opened again: {self.failure}")
