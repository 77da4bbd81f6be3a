"""Disks in memory: one that keeps a log of writes, and one that fails."""

from __future__ import annotations

from replicas import MemoryDisk

from blockrep.errors import DeviceIO
from fault.recorder import Fault, WriteLog
from fault.sectors import SECTOR_BYTES, Disk, Sectors


class RecordingDisk(MemoryDisk):
    """Keeps what was written, and the barriers."""

    def __init__(self, content: bytes | bytearray) -> None:
        super().__init__(content)
        self.log = WriteLog()

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        super().write(offset_bytes, data)
        self.log.write(offset_bytes, bytes(data))

    def flush(self) -> None:
        self.log.flush()

    def numbered(self) -> Disk:
        """The disk as it is now."""
        return Disk.of(Sectors(), bytes(self.content))


class FaultyDisk(MemoryDisk):
    """The Nth operation fails; a failing write leaves a torn half behind.

    `operations` counts what was asked for, so that a disk with `fail_at` 0, which never fails,
    tells how many there are.
    """

    def __init__(self, content: bytes | bytearray, fail_at: int = 0, fault: Fault = Fault.ONCE):
        super().__init__(content)
        self.fail_at = fail_at
        self.fault = fault
        self.operations = 0
        self.failed = False
        self._before: list[tuple[int, bytes]] = []  # what unflushed writes replaced

    def read_into(self, offset_bytes: int, view: memoryview) -> None:
        self._count("read", offset_bytes)
        super().read_into(offset_bytes, view)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        end = offset_bytes + len(data)
        self._before.append((offset_bytes, bytes(self.content[offset_bytes:end])))
        try:
            self._count("write", offset_bytes)
        except DeviceIO:
            half = len(data) // 2 // SECTOR_BYTES * SECTOR_BYTES
            super().write(offset_bytes, bytes(data[:half]))
            raise
        super().write(offset_bytes, data)

    def flush(self) -> None:
        self._count("flush", 0)
        self._before.clear()

    def cut(self) -> bytes:
        """What is on the medium when the power goes: with `LOST` nothing that was not flushed."""
        if self.fault is Fault.LOST:
            for offset, data in reversed(self._before):
                self.content[offset : offset + len(data)] = data
        return bytes(self.content)

    def _count(self, verb: str, offset_bytes: int) -> None:
        self.operations += 1
        if self.operations == self.fail_at or (self.failed and self.fault is not Fault.ONCE):
            self.failed = True
            raise DeviceIO(f"cannot {verb} at byte {offset_bytes}: test fault")
