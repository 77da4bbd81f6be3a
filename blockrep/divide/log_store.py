"""Where the bytes of a log go: extents of the disk itself, or a file on another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from blockrep.disk.device import Device
from blockrep.errors import DeviceIO, NoRoomForLog, RecoverFailed
from blockrep.extents import Extent, total
from blockrep.folders import flush_folder

ALIGN_BYTES = 4096


class LogStore(Protocol):
    """A flat run of bytes; positions and lengths are multiples of 4096."""

    def read(self, position: int, length: int) -> bytes: ...

    def write(self, position: int, data: bytes) -> None: ...

    def flush(self) -> None: ...


class DiskStore:
    """Extents of the disk, in bytes, one behind the other."""

    def __init__(self, device: Device, extents: tuple[Extent, ...]) -> None:
        self._device = device
        self.extents = extents

    def read(self, position: int, length: int) -> bytes:
        parts = [self._device.read(at, size) for at, size in self._pieces(position, length)]
        return b"".join(parts)

    def write(self, position: int, data: bytes) -> None:
        done = 0
        for at, size in self._pieces(position, len(data)):
            self._device.write(at, data[done : done + size])
            done += size

    def flush(self) -> None:
        self._device.flush()

    def _pieces(self, position: int, length: int) -> list[tuple[int, int]]:
        result = []
        base = 0
        for start, size in self.extents:
            lower = max(position, base)
            upper = min(position + length, base + size)
            if lower < upper:
                result.append((start + lower - base, upper - lower))
            base += size
        if sum(size for _, size in result) != length:
            raise RecoverFailed(f"the log has no bytes {position} to {position + length}")
        return result

    @property
    def size_bytes(self) -> int:
        return total(self.extents)


class FileStore:
    """A file on another disk; `create` makes it, and makes its name durable too."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        flags = os.O_CLOEXEC | os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0)
        try:
            self._fd = os.open(path, flags, 0o600)
        except FileExistsError as error:
            raise NoRoomForLog(f"{path} exists already", hint="name a new file") from error
        except OSError as error:
            raise NoRoomForLog(f"cannot open {path}: {error.strerror}") from error
        self.inode = os.fstat(self._fd).st_ino
        if create:
            flush_folder(self.path.resolve().parent)

    def close(self) -> None:
        os.close(self._fd)

    def remove(self) -> None:
        """Nobody needs it any more."""
        self.path.unlink(missing_ok=True)

    def read(self, position: int, length: int) -> bytes:
        data = os.pread(self._fd, length, position)
        if len(data) != length:
            raise RecoverFailed(f"{self.path} is shorter than the log it should hold")
        return data

    def write(self, position: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            try:
                done += os.pwrite(self._fd, data[done:], position + done)
            except OSError as error:
                raise DeviceIO(f"cannot write {self.path}: {error.strerror}") from error

    def flush(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise DeviceIO(f"cannot flush {self.path}: {error.strerror}") from error
