"""Devices that remember every write and barrier, or fail where a test wants them to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.errors import DeviceIO


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

    @property
    def writes(self) -> int:
        return sum(len(window) for window in self.windows)


class RecordingDevice(Device):
    """Writes through, and keeps a log."""

    def __init__(self, path: Path) -> None:
        self.log = WriteLog()
        super().__init__(path, writable=True)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        super().write(offset_bytes, data)
        self.log.write(offset_bytes, bytes(data))

    def flush(self) -> None:
        super().flush()
        self.log.flush()


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
        self.fail_at = fail_at
        self.fault = fault
        self.verbs = verbs
        self.operations = 0
        self.failed = False
        self._before: list[tuple[int, bytes]] = []  # what unflushed writes replaced
        super().__init__(path, writable=True)

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
