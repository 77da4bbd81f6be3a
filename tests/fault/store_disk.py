"""A disk in memory that keeps a log of writes, as bytes or as numbered sectors."""

from __future__ import annotations

from replicas import MemoryDisk

from fault.recorder import WriteLog
from fault.sectors import Disk, Sectors


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
