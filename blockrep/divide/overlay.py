"""A device as it will be: what is planned laid over what is there."""

from __future__ import annotations

from collections.abc import Sequence

from blockrep.disk.device import Device
from blockrep.disk.writes import Stage


class Overlay:
    """Reads like the device after `stages`; nothing is written."""

    def __init__(self, device: Device, stages: Sequence[Stage]) -> None:
        self._device = device
        self._writes = [write for stage in stages for write in stage.writes]
        self.path = device.path
        self.size_bytes = device.size_bytes
        self.sector_bytes = device.sector_bytes

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that many bytes."""
        data = bytearray(self._device.read(offset_bytes, length_bytes))
        for write in self._writes:
            start = max(offset_bytes, write.offset_bytes)
            end = min(offset_bytes + length_bytes, write.end_bytes)
            if start < end:
                piece = write.data[start - write.offset_bytes : end - write.offset_bytes]
                data[start - offset_bytes : end - offset_bytes] = piece
        return bytes(data)
