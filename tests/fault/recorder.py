"""Devices that remember every write and barrier, or fail where a test wants them to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.errors import DeviceIO
from fault.sectors import SECTOR_BYTES, Placed, Sectors, Writes

# What `Device` looks at to find the sector size of an image, before anything is asked of it.
IDENTIFYING_SECTORS = (1, 8)


@dataclass(frozen=True, slots=True)
class Written:
    """One write as it was issued."""

    offset_bytes: int
    data: bytes


@dataclass(slots=True)
class WriteLog:
    """Writes in order of issue, in windows: a flush ends a window. The last window is open."""

    windows: list[list[Written]] = field(default_factory=lambda: [[]])

    def write(self, offset_bytes: int, data: bytes) -> None:
        self.windows[-1].append(Written(offset_bytes, data))

    def flush(self) -> None:
        if self.windows[-1]:
            self.windows.append([])

    def placed(self, sectors: Sectors) -> Writes:
        """The same with numbers for contents."""
        return [
            [Placed(w.offset_bytes // SECTOR_BYTES, sectors.numbers(w.data)) for w in window]
            for window in self.windows
        ]


class RecordingDevice(Device):
    """Writes through, and keeps a log.

    `elsewhere` is set while another disk has writes that were not flushed: then nothing may be
    written here, or what a cut leaves could not be told from this log alone.
    """

    def __init__(self, path: Path) -> None:
        self.log = WriteLog()
        self.elsewhere = False
        super().__init__(path, writable=True)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        if self.elsewhere:
            raise AssertionError("the disk is written while another one is not flushed")
        super().write(offset_bytes, data)
        self.log.write(offset_bytes, bytes(data))

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        self.write(offset_bytes, bytes(length_bytes))

    def flush(self) -> None:
        super().flush()
        self.log.flush()


class TracingDevice(RecordingDevice):
    """Remembers besides which sectors were read, in order; not those that it wrote itself.

    These are all that a program which only has this device can depend on.
    """

    def __init__(self, path: Path) -> None:
        self.reads: list[tuple[int, int]] = []  # (first, end) in sectors, each sector once
        self._known = bytearray()
        super().__init__(path)
        self._known = bytearray(-(-self.size_bytes // SECTOR_BYTES))
        for place in IDENTIFYING_SECTORS:
            self._note(place, min(place + 1, len(self._known)))

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        data = super().read(offset_bytes, length_bytes)
        self._note(offset_bytes // SECTOR_BYTES, -(-(offset_bytes + length_bytes) // SECTOR_BYTES))
        return data

    def read_into(self, offset_bytes: int, view: memoryview) -> None:
        raise AssertionError("only what goes through `read` is remembered")

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        super().write(offset_bytes, data)
        first, count = offset_bytes // SECTOR_BYTES, len(data) // SECTOR_BYTES
        self._known[first : first + count] = b"\1" * count

    def _note(self, first: int, end: int) -> None:
        while (first := self._known.find(0, first, end)) >= 0:
            stop = self._known.find(1, first, end)
            stop = end if stop < 0 else stop
            self.reads.append((first, stop))
            self._known[first:stop] = b"\1" * (stop - first)


class Fault(Enum):
    """What goes wrong at the chosen operation."""

    ONCE = "once"  # it fails, the next ones succeed
    FOR_GOOD = "for good"  # it fails and all that follow do
    LOST = "lost"  # as FOR_GOOD, and writes not yet flushed never reach the medium


class FaultyDevice(Device):
    """The Nth read, write or flush fails with EIO; a failing write leaves a torn half behind.

    `operations` counts what was asked for, so that a run with `fail_at=0`, which never fails, tells
    how many there are.
    """

    def __init__(
        self,
        path: Path,
        fail_at: int = 0,
        fault: Fault = Fault.ONCE,
        *,
        verbs: Sequence[str] = ("read", "write", "flush"),
    ) -> None:
        self.verbs = verbs
        self.arm(fail_at, fault)
        super().__init__(path, writable=True)

    def arm(self, fail_at: int, fault: Fault = Fault.ONCE) -> None:
        """Count from here on; what was not flushed is no concern any more."""
        self.fail_at = fail_at
        self.fault = fault
        self.operations = 0
        self.failed = False
        self._before: list[tuple[int, bytes]] = []  # what unflushed writes replaced

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        self._count("read", offset_bytes)
        return super().read(offset_bytes, length_bytes)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        if self.fault is Fault.LOST and not self.failed:
            self._before.append((offset_bytes, super().read(offset_bytes, len(data))))
        try:
            self._count("write", offset_bytes)
        except DeviceIO:
            half = len(data) // 2 // self.sector_bytes * self.sector_bytes
            if half:
                super().write(offset_bytes, bytes(data[:half]))
            self._lose_unflushed()
            raise
        super().write(offset_bytes, data)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        self.write(offset_bytes, bytes(length_bytes))

    def flush(self) -> None:
        try:
            self._count("flush", 0)
        except DeviceIO:
            self._lose_unflushed()
            raise
        super().flush()
        self._before.clear()

    def _count(self, verb: str, offset_bytes: int) -> None:
        if verb not in self.verbs:
            return
        self.operations += 1
        due = self.operations == self.fail_at
        if due or (self.failed and self.fault is not Fault.ONCE):
            self.failed = True
            raise DeviceIO(f"{self.path}: cannot {verb} at byte {offset_bytes}: test fault")

    def _lose_unflushed(self) -> None:
        for offset, data in reversed(self._before):
            super().write(offset, data)
        self._before.clear()
