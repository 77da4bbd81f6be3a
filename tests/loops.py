"""Loop devices and mounts that clean up after themselves, also when the process is killed.

A loop device is made with AUTOCLEAR and lives as long as the descriptor held here; mounts live in a
mount namespace of this process. So nothing is left behind, not even after SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LOOP_CONFIGURE = 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_READ_ONLY = 1
LO_FLAGS_AUTOCLEAR = 4

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOATIME = 1, 2, 4, 1024
MS_REC, MS_SLAVE = 16384, 1 << 19
CLONE_NEWNS = 0x00020000

_libc = ctypes.CDLL(None, use_errno=True)
_namespace_of_pid = 0


@contextlib.contextmanager
def loop_device(
    image: Path,
    offset_bytes: int = 0,
    length_bytes: int = 0,
    *,
    read_only: bool = False,
    sector_bytes: int = 512,
) -> Iterator[Path]:
    """A loop device over `[offset, offset + length)` of `image`; length 0 is "to its end"."""
    file_fd = os.open(image, os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR))
    try:
        fd, node = _bind_free_loop(file_fd, offset_bytes, length_bytes, read_only, sector_bytes)
    finally:
        os.close(file_fd)
    try:
        yield node
    finally:
        _forget_partitions(node)
        os.close(fd)
        _wait_until_free(node, image)


@contextlib.contextmanager
def as_disk(image: Path, sector_bytes: int, *, read_only: bool = True) -> Iterator[Path]:
    """The image itself, or a device where its sectors are larger than a program expects of it."""
    if sector_bytes == 512:
        yield image
        return
    with loop_device(image, read_only=read_only, sector_bytes=sector_bytes) as node:
        yield node


def _wait_until_free(node: Path, image: Path) -> None:
    """Whoever looks at all block devices just then keeps the binding for a moment longer."""
    for _ in range(2000):
        try:
            bound = Path("/sys/block", node.name, "loop/backing_file").read_text().strip()
        except OSError:
            return
        if bound != str(image.resolve()):
            return
        time.sleep(0.005)


def _forget_partitions(node: Path) -> None:
    """Partitions that the kernel was told of would outlive the binding."""
    if any(Path("/sys/block", node.name).glob(f"{node.name}p*")):
        subprocess.run(["partx", "-d", str(node)], capture_output=True, timeout=60, check=False)


def _bind_free_loop(
    file_fd: int, offset_bytes: int, length_bytes: int, read_only: bool, sector_bytes: int
) -> tuple[int, Path]:
    flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
    info = struct.pack("QQQQQ", 0, 0, 0, offset_bytes, length_bytes)
    info += struct.pack("IIII", 0, 0, 0, flags) + bytes(64 + 64 + 32 + 16)
    config = struct.pack("II", file_fd, sector_bytes) + info + bytes(64)
    for _ in range(200):  # another process may take the free number first
        with Path("/dev/loop-control").open("rb") as control:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        node = Path(f"/dev/loop{number}")
        try:
            fd = os.open(node, os.O_CLOEXEC | (os.O_RDONLY if read_only else os.O_RDWR))
        except OSError:
            time.sleep(0.01)
            continue
        try:
            fcntl.ioctl(fd, LOOP_CONFIGURE, config)
            # Held for reading alone: who looks for writers does not find us.
            return os.open(node, os.O_CLOEXEC | os.O_RDONLY), node
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.005)
        finally:
            os.close(fd)
    raise OSError(errno.EBUSY, "no free loop device")


@contextlib.contextmanager
def mounted(device: Path, options: str = "", *, read_only: bool = True) -> Iterator[Path]:
    """The ext filesystem on `device` mounted by the kernel; `OSError` when the kernel refuses."""
    own_mounts()
    point = Path(tempfile.mkdtemp(prefix="blockrep-mount-"))
    try:
        mount(device, point, options, read_only=read_only)
        try:
            yield point
        finally:
            unmount(point)
    finally:
        point.rmdir()


@contextlib.contextmanager
def mounted_image(image: Path, *, read_only: bool = False) -> Iterator[Path]:
    """The ext filesystem that an image file is."""
    with (
        loop_device(image, read_only=read_only) as node,
        mounted(node, read_only=read_only) as root,
    ):
        yield root


def mount(device: Path, point: Path, options: str = "", *, read_only: bool = True) -> None:
    """mount(2) with type ext4, which serves ext2 and ext3 too."""
    flags = MS_NOSUID | MS_NOATIME | (MS_RDONLY if read_only else 0)
    if _libc.mount(os.fsencode(device), os.fsencode(point), b"ext4", flags, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(device))


def unmount(point: Path) -> None:
    for _ in range(100):
        if not _libc.umount2(os.fsencode(point), 0):
            return
        number = ctypes.get_errno()
        if number != errno.EBUSY:
            break
        time.sleep(0.02)
    raise OSError(number, os.strerror(number), str(point))


def own_mounts() -> None:
    """Give this process a mount namespace of its own, once; children inherit it.

    Where mounts are shared, what others unmount goes away here too and is not kept alive.
    """
    global _namespace_of_pid
    if _namespace_of_pid == os.getpid():
        return
    if _libc.unshare(CLONE_NEWNS) or _libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")
    _namespace_of_pid = os.getpid()
