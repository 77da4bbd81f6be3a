"""The one way to read and write a disk: whole-device offsets, full transfers, real barriers.

A device is opened once and for all its bytes. Nothing else of blockrep writes to a disk, so a test
that wraps `write` and `flush` sees every write and every barrier.

Block devices and files that allow it are written with O_DIRECT, so that no stale page cache of a
partition or of the whole disk stands between us and the medium; reads go the same way.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import threading
from pathlib import Path

from blockrep.buffers import new_buffer as new_buffer
from blockrep.closing import Closing
from blockrep.errors import (
    DeviceBusy,
    DeviceIO,
    DeviceNotFound,
    DeviceUnsupported,
    PermissionMissing,
)
from blockrep.extents import round_up

BLKGETSIZE64 = 0x80081272
BLKSSZGET = 0x1268
BLKROGET = 0x125E
BLKFLSBUF = 0x1261
BLKZEROOUT = 0x127F
F_OFD_SETLK = 37
PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01

DIRECT_ALIGN_BYTES = 4096
SMALL_SECTOR_BYTES = 512
LARGE_SECTOR_BYTES = 4096
GPT_SIGNATURE = b"EFI PART"
CHUNK_BYTES = 8 << 20


class Device(Closing):
    """A block device or a disk image file.

    `sector_bytes` is the logical sector size; a file has 512, or what its GPT was made for.
    Errors are `DeviceIO` with the offset; a failed write leaves its range undefined.
    """

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        """Open `path`; writable opens hold it against every other user of the device (I1).

        A block device is held with O_EXCL (no mount, swap, md, dm or second blockrep), a file with
        an open-file-description lock. `DeviceBusy` when somebody else has it.
        """
        self.path = path
        self.writable = writable
        self._bounce = mmap.mmap(-1, CHUNK_BYTES)
        # Several threads may use one device (its segments belong to several owners), and what goes
        # through this memory goes one at a time. Reads and writes of a `new_buffer` need no turn.
        self._turn = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._fd = _open(self.path, self.writable)
        self._direct_fd = -1
        try:
            status = os.fstat(self._fd)
            self.is_block = stat.S_ISBLK(status.st_mode)
            if self.is_block:
                self.size_bytes = _ioctl_u64(self._fd, BLKGETSIZE64)
                self.sector_bytes = _ioctl_int(self._fd, BLKSSZGET)
                if self.writable and _ioctl_int(self._fd, BLKROGET):
                    raise DeviceUnsupported(f"{self.path} is read-only")
            else:
                self.size_bytes = status.st_size
                self.sector_bytes = self._image_sector_bytes()
                if self.writable:
                    _lock_file(self._fd, self.path)
            self._direct_fd = _open_direct(self.path, self.writable, self.is_block)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the device; safe to call twice."""
        for name in ("_direct_fd", "_fd"):
            fd = getattr(self, name)
            setattr(self, name, -1)
            if fd >= 0:
                os.close(fd)

    @property
    def bulk_fd(self) -> int:
        """What to read much of the device from: round the page cache where that is possible."""
        return self._direct_fd if self._direct_fd >= 0 else self._fd

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly `length_bytes` from any offset; `DeviceIO` past the end or on an error."""
        self._check_range(offset_bytes, length_bytes)
        parts = []
        at, end = offset_bytes, offset_bytes + length_bytes
        with self._turn, memoryview(self._bounce) as bounce:
            while at < end:
                base = at - at % DIRECT_ALIGN_BYTES
                span = min(CHUNK_BYTES, round_up(end, DIRECT_ALIGN_BYTES) - base)
                span = min(span, self.size_bytes - base)
                self._read_full(base, bounce[:span])
                take = min(end, base + span) - at
                parts.append(bytes(bounce[at - base : at - base + take]))
                at += take
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, offset_bytes: int, view: memoryview) -> None:
        """Fill `view`, a part of a `new_buffer`, from whole sectors; errors as in `read`."""
        self._check_range(offset_bytes, len(view))
        self._read_full(offset_bytes, view)

    def _read_full(self, base: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            fd = self._fd_for(base + done, len(view) - done)
            try:
                got = os.preadv(fd, [view[done:]], base + done)
            except OSError as error:
                raise self._io_error("read", base + done, error) from error
            if got == 0:
                raise DeviceIO(f"{self.path} ends at byte {base + done}, before its stated size")
            done += got

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        """Write whole sectors. Not durable before `flush`.

        A writable memoryview is a part of a `new_buffer` and goes out without a copy.
        """
        length = len(data)
        self._check_range(offset_bytes, length)
        if offset_bytes % self.sector_bytes or length % self.sector_bytes:
            raise ValueError("a write must cover whole sectors")
        with memoryview(data) as source:
            if not source.readonly:
                self._write_full(offset_bytes, source)
            else:
                self._write_bounced(offset_bytes, source)

    def _write_bounced(self, offset_bytes: int, source: memoryview) -> None:
        with self._turn, memoryview(self._bounce) as bounce:
            for at in range(0, len(source), CHUNK_BYTES):
                span = min(CHUNK_BYTES, len(source) - at)
                bounce[:span] = source[at : at + span]
                self._write_full(offset_bytes + at, bounce[:span])

    def _write_full(self, base: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            fd = self._fd_for(base + done, len(view) - done)
            try:
                done += os.pwritev(fd, [view[done:]], base + done)
            except OSError as error:
                raise self._io_error("write", base + done, error) from error

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make whole sectors read as zeros, without sending them where the device can do that.

        Not durable before `flush`; an error leaves the range undefined.
        """
        self._check_range(offset_bytes, length_bytes)
        if offset_bytes % self.sector_bytes or length_bytes % self.sector_bytes:
            raise ValueError("zeros must cover whole sectors")
        try:
            if length_bytes and self.is_block:
                fcntl.ioctl(self._fd, BLKZEROOUT, struct.pack("QQ", offset_bytes, length_bytes))
            elif length_bytes:
                _punch_hole(self._fd, offset_bytes, length_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL):
                raise self._io_error("write", offset_bytes, error) from error
            self._write_zeros(offset_bytes, length_bytes)

    def _write_zeros(self, offset_bytes: int, length_bytes: int) -> None:
        zeros = new_buffer(min(length_bytes, CHUNK_BYTES))
        for at in range(offset_bytes, offset_bytes + length_bytes, CHUNK_BYTES):
            self._write_full(at, zeros[: min(CHUNK_BYTES, offset_bytes + length_bytes - at)])

    def flush(self) -> None:
        """A barrier: everything written before is on the medium when it returns.

        fsync is one on a raw device; sync(2) and BLKFLSBUF are not.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._io_error("flush", 0, error) from error

    def drop_caches(self) -> None:
        """Make buffered readers of the whole device see the medium (block devices only)."""
        if self.is_block:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, BLKFLSBUF, 0)

    def _image_sector_bytes(self) -> int:
        """The header of a GPT lies in sector 1: where it is tells how large sectors are."""
        try:
            large = os.pread(self._fd, len(GPT_SIGNATURE), LARGE_SECTOR_BYTES) == GPT_SIGNATURE
            small = os.pread(self._fd, len(GPT_SIGNATURE), SMALL_SECTOR_BYTES) == GPT_SIGNATURE
        except OSError as error:
            raise self._io_error("read", 0, error) from error
        return LARGE_SECTOR_BYTES if large and not small else SMALL_SECTOR_BYTES

    def _fd_for(self, offset_bytes: int, length_bytes: int) -> int:
        # For a file it is the disk below it that decides, whose sectors may be larger.
        unit = self.sector_bytes if self.is_block else DIRECT_ALIGN_BYTES
        aligned = not (offset_bytes % unit or length_bytes % unit)
        return self._direct_fd if aligned and self._direct_fd >= 0 else self._fd

    def _check_range(self, offset_bytes: int, length_bytes: int) -> None:
        if offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            raise DeviceIO(
                f"{self.path}: bytes {offset_bytes} to {offset_bytes + length_bytes} lie outside "
                f"its {self.size_bytes}"
            )

    def _io_error(self, verb: str, offset_bytes: int, error: OSError) -> DeviceIO:
        return DeviceIO(
            f"{self.path}: cannot {verb} at byte {offset_bytes}: {os.strerror(error.errno or 0)}"
        )


def _open(path: Path, writable: bool) -> int:
    flags = os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY)
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
            raise DeviceUnsupported(f"{path} is neither a block device nor a file")
        if writable and stat.S_ISBLK(mode):
            flags |= os.O_EXCL
        return os.open(path, flags)
    except FileNotFoundError as error:
        raise DeviceNotFound(f"{path} does not exist") from error
    except PermissionError as error:
        raise PermissionMissing(f"no permission to open {path}") from error
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise DeviceBusy(f"{path} is in use") from error
        if error.errno == errno.EROFS:
            raise DeviceUnsupported(f"{path} is read-only") from error
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise DeviceNotFound(f"cannot open {path}: {error.strerror}") from error
        raise DeviceIO(f"cannot open {path}: {error.strerror}") from error


def _open_direct(path: Path, writable: bool, is_block: bool) -> int:
    """A second descriptor with O_DIRECT, or -1 where the file system knows no direct I/O.

    Opened through /proc so that it names the same device even if the path was replaced; O_EXCL is
    held by the first descriptor.
    """
    flags = os.O_CLOEXEC | os.O_DIRECT | (os.O_RDWR if writable else os.O_RDONLY)
    try:
        return os.open(path, flags)
    except OSError as error:
        if is_block and error.errno != errno.EINVAL:
            raise DeviceIO(f"cannot open {path}: {error.strerror}") from error
        return -1


def _lock_file(fd: int, path: Path) -> None:
    """An OFD write lock over the whole file; it ends with the descriptor."""
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(fd, F_OFD_SETLK, lock)
    except OSError as error:
        raise DeviceBusy(f"{path} is in use by another program") from error


def _punch_hole(fd: int, offset_bytes: int, length_bytes: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    offset, length = ctypes.c_int64(offset_bytes), ctypes.c_int64(length_bytes)
    if libc.fallocate(fd, PUNCH_HOLE_KEEP_SIZE, offset, length):
        raise OSError(ctypes.get_errno(), "fallocate")


def _ioctl_u64(fd: int, request: int) -> int:
    return int(struct.unpack("Q", fcntl.ioctl(fd, request, bytes(8)))[0])


def _ioctl_int(fd: int, request: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, request, bytes(4)))[0])
