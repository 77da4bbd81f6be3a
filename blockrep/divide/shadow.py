"""The shadow: a sparse copy of a filesystem's metadata, at its own offsets, for planners to change.

A hole in it is neither "unused" nor "zero": it is a block whose content nobody here needs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from blockrep.closing import Closing
from blockrep.disk.device import Device, new_buffer
from blockrep.errors import DeviceIO, NoRoomForShadow
from blockrep.extents import Extent, total
from blockrep.progress import Progress
from blockrep.units import format_bytes

PIECE_BYTES = 4 << 20
GRAIN_BYTES = 64 << 10


class Shadow(Closing):
    """A sparse file of `size_bytes` without a name: anonymous memory, or space in `folder`."""

    def __init__(self, size_bytes: int, folder: Path | None) -> None:
        self.size_bytes = size_bytes
        if folder is None:
            self._fd = os.memfd_create("blockrep-shadow", os.MFD_CLOEXEC)
        else:
            self._fd = _create_in(folder)
        os.ftruncate(self._fd, size_bytes)

    @property
    def path(self) -> Path:
        """Where other programs of this machine can open it."""
        return Path(f"/proc/{os.getpid()}/fd/{self._fd}")

    def close(self) -> None:
        """Give its space back; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def resize(self, size_bytes: int) -> None:
        """Make room for a larger filesystem; the new part is a hole."""
        os.ftruncate(self._fd, size_bytes)
        self.size_bytes = size_bytes

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly so many bytes; holes are zeros."""
        data = os.pread(self._fd, length_bytes, offset_bytes)
        if len(data) != length_bytes:
            raise DeviceIO(f"the shadow ends before byte {offset_bytes + length_bytes}")
        return data

    def write(self, offset_bytes: int, data: memoryview) -> None:
        """Put what is not zero; `NoRoomForShadow` when memory or folder is full."""
        zeros = bytes(GRAIN_BYTES)
        for at in range(0, len(data), GRAIN_BYTES):
            piece = data[at : at + GRAIN_BYTES]
            if piece == zeros[: len(piece)]:
                continue
            try:
                written = os.pwrite(self._fd, piece, offset_bytes + at)
            except OSError as error:
                raise NoRoomForShadow(f"no room for the shadow: {error.strerror}") from error
            if written != len(piece):  # a folder that is just getting full
                raise NoRoomForShadow("no room for the shadow: only a part could be written")


def _create_in(folder: Path) -> int:
    """A new file that has no name any more."""
    try:
        fd, name = tempfile.mkstemp(prefix="blockrep-shadow-", dir=folder)
        Path(name).unlink()
    except OSError as error:
        raise _unusable(folder, error) from error
    return fd


def _unusable(folder: Path, error: OSError) -> NoRoomForShadow:
    return NoRoomForShadow(f"the shadow cannot be in {folder}: {error.strerror}")


def fill_shadow(
    shadow: Shadow,
    device: Device,
    host_offset_bytes: int,
    block_bytes: int,
    metadata: Sequence[Extent],
    progress: Progress,
) -> None:
    """Copy the metadata extents (in blocks) of the host into a new shadow."""
    progress.phase("copying metadata", total(metadata) * block_bytes)
    buffer = new_buffer(PIECE_BYTES)
    for start, length in metadata:
        at, end = start * block_bytes, (start + length) * block_bytes
        while at < end:
            progress.check()
            view = buffer[: min(PIECE_BYTES, end - at)]
            device.read_into(host_offset_bytes + at, view)
            shadow.write(at, view)
            progress.advance(len(view))
            at += len(view)


def check_room(needed_bytes: int, folder: Path | None) -> None:
    """`NoRoomForShadow` with the numbers when it cannot fit; leaves a reserve for the programs."""
    if folder is not None:
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise _unusable(folder, error) from error
        where = str(folder)
    else:
        free = _available_memory() // 2
        where = "half of the free memory"
    if needed_bytes > free:
        raise NoRoomForShadow(
            f"the shadow needs {format_bytes(needed_bytes)} and {where} has {format_bytes(free)}"
        )


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
