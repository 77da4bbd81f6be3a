"""Fill a directory with everything a filesystem can hold, and age it."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import socket
import stat
import struct
from pathlib import Path

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FLAG_IMMUTABLE, FLAG_APPEND, FLAG_NODUMP, FLAG_TOPDIR = 0x10, 0x20, 0x40, 0x20000
FALLOC_FL_KEEP_SIZE = 1

_libc = ctypes.CDLL(None, use_errno=True)


def fill_tree(
    root: Path, rng: random.Random, *, sparse_bytes: int = 1_200_000_000, flags: bool = True
) -> None:
    """One of everything, and some hundred small files in directories spread over the groups."""
    _make_small_files(root, rng)
    _make_links(root / "links", rng)
    _make_xattrs(root / "xattrs", rng)
    _make_specials(root / "specials")
    _make_sparse(root / "sparse", rng, sparse_bytes)
    _make_deep(root / "deep", rng)
    _make_wide(root / "wide")
    _make_interleaved(root / "interleaved", rng)
    _make_large(root / "large", rng)
    if flags:
        _make_flagged(root / "flagged", rng)
    _set_times(root, rng)


def age(root: Path, rng: random.Random, used_percent: int) -> None:
    """Fill nearly to the end with files of mixed sizes, then delete until `used_percent` is used.

    What stays lies everywhere, the last block group too; what went left its data in free blocks.
    """
    made = []
    (root / "aged").mkdir()
    for number in range(100_000):
        if _used_percent(root) > 88:
            break
        folder = root / "aged" / f"{number % 24:02}"
        folder.mkdir(exist_ok=True)
        path = folder / f"file-{number:05}"
        size = rng.choice((0, 100, 3000, 4096, 9000, 20000, 70000, 200_000))
        _write(path, rng.randbytes(size))
        made.append(path)
    rng.shuffle(made)
    kept = []
    while made and _used_percent(root) > used_percent:
        made.pop().unlink()
        if len(made) % 32 == 0:
            os.sync()
    for path in made[::9]:
        with path.open("ab") as file:  # appends land elsewhere by now
            file.write(rng.randbytes(12_000))
            os.fsync(file.fileno())
        kept.append(path)
    _set_times(root / "aged", rng)


def _used_percent(root: Path) -> int:
    status = os.statvfs(root)
    return 100 - 100 * status.f_bfree // status.f_blocks


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_small_files(root: Path, rng: random.Random) -> None:
    for number in range(14):
        folder = root / f"d{number:02}"
        folder.mkdir(mode=rng.choice((0o755, 0o700, 0o1777, 0o2775)))
        (folder / "nested").mkdir()
        for item in range(28):
            path = folder / ("nested" if item % 5 == 4 else "") / f"s{item:03}.txt"
            path.write_bytes(rng.randbytes(rng.choice((0, 17, 90, 700, 1024, 4096, 5000, 12000))))
            path.chmod(rng.choice((0o644, 0o600, 0o4755, 0o2755, 0o444)))
            os.chown(path, rng.choice((0, 1000, 70_000)), rng.choice((0, 100, 4_000_000_000)))


def _make_links(folder: Path, rng: random.Random) -> None:
    folder.mkdir()
    _write(folder / "one", rng.randbytes(30_000))
    (folder / "sub").mkdir()
    for number in range(5):
        os.link(folder / "one", folder / "sub" / f"link{number}")
    (folder / "fast").symlink_to("one")
    (folder / "edge59").symlink_to("x" * 59)
    (folder / "edge60").symlink_to("x" * 60)
    (folder / "slow").symlink_to("../" + "long-name/" * 30)
    (folder / "longest").symlink_to("y" * 1000)
    (folder / "dangling").symlink_to("/nowhere")
    os.link(folder / "slow", folder / "sub" / "slow-too", follow_symlinks=False)


def _make_xattrs(folder: Path, rng: random.Random) -> None:
    folder.mkdir()
    shared = {b"user.shared": rng.randbytes(400), b"trusted.also": b"t" * 100}
    for number in range(6):
        path = folder / f"shared{number}"
        path.write_bytes(b"shared attribute block")
        for name, value in shared.items():
            os.setxattr(path, name, value)
    _write(folder / "small", b"attributes in the inode")
    os.setxattr(folder / "small", b"user.mime", b"text/plain")
    _write(folder / "block", b"attributes in a block of their own")
    for number in range(5):
        os.setxattr(folder / "block", f"user.k{number}".encode(), rng.randbytes(90))
    os.setxattr(folder, b"user.directory", b"too")
    os.setxattr(
        folder / "block", b"security.capability", bytes.fromhex("0100000200040000") + bytes(12)
    )
    # Access control list, version 2: user::rw-, user:1000:r--, group::r--, mask::r--, other::r--
    entries = ((1, 6, -1), (2, 4, 1000), (4, 4, -1), (16, 4, -1), (32, 4, -1))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    with contextlib.suppress(OSError):
        os.setxattr(folder / "small", b"system.posix_acl_access", acl)
    (folder / "link").symlink_to("small")
    os.setxattr(folder / "link", b"trusted.link", b"on a symlink", follow_symlinks=False)


def _make_specials(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "fifo", 0o620)
    os.mknod(folder / "char", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(folder / "block", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    here = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{here}/socket")
    os.close(here)


def _make_sparse(folder: Path, rng: random.Random, end: int) -> None:
    folder.mkdir()
    with (folder / "holes").open("wb") as file:
        for at in (0, 300_000, 5_000_000, end // 9, end // 2):
            file.seek(at)
            file.write(rng.randbytes(6000))
        file.truncate(end)
    with (folder / "only-hole").open("wb") as file:
        file.truncate(end // 11)
    with (folder / "unwritten").open("wb") as file:
        file.write(rng.randbytes(10_000))
        file.flush()
        _fallocate(file.fileno(), 0, 600_000)
        file.seek(400_000)
        file.write(rng.randbytes(9_000))
    with (folder / "past-end").open("wb") as file:
        file.write(rng.randbytes(5_000))
        file.flush()
        _fallocate(file.fileno(), FALLOC_FL_KEEP_SIZE, 300_000)


def _fallocate(fd: int, mode: int, length: int) -> None:
    """fallocate(2); ext2 and ext3 know none and stay as they are."""
    _libc.fallocate(fd, mode, ctypes.c_int64(0), ctypes.c_int64(length))


def _make_deep(folder: Path, rng: random.Random) -> None:
    for depth in range(16):
        folder.mkdir()
        (folder / f"at {depth} ü").write_bytes(rng.randbytes(500))
        folder = folder / f"level{depth}"


def _make_wide(folder: Path) -> None:
    """A directory with an index: some hundred long names, most of them links to one file."""
    folder.mkdir()
    (folder / "original").write_bytes(b"one file, many names")
    for number in range(500):
        os.link(folder / "original", folder / f"{number:04}-{'name' * 20}")
    for number in range(60):
        (folder / f"file-{number:03}-{'name' * 20}").write_bytes(str(number).encode())
    for number in range(100, 300):
        (folder / f"{number:04}-{'name' * 20}").unlink()


def _make_interleaved(folder: Path, rng: random.Random) -> None:
    """Two files with several hundred runs each: an extent tree with nodes, indirect blocks."""
    folder.mkdir()
    with (folder / "a").open("wb") as a, (folder / "b").open("wb") as b:
        for _ in range(350):
            for file in (a, b):
                file.write(rng.randbytes(4096))
                file.flush()
                os.fsync(file.fileno())


def _make_large(folder: Path, rng: random.Random) -> None:
    folder.mkdir()
    for number, mib in enumerate((3, 2, 1)):
        _write(folder / f"large{number}", rng.randbytes(mib << 20))


def _make_flagged(folder: Path, rng: random.Random) -> None:
    folder.mkdir()
    (folder / "topdir").mkdir()
    for name, flag, data in (
        ("append", FLAG_APPEND, rng.randbytes(5000)),
        ("nodump", FLAG_NODUMP, rng.randbytes(2000)),
        ("immutable", FLAG_IMMUTABLE, b""),
        ("topdir", FLAG_TOPDIR, None),
    ):
        path = folder / name
        if data is not None:
            path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        current: bytes = fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))
        wanted = struct.unpack_from("I", current)[0] | flag
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("Q", wanted))
        os.close(fd)


def _set_times(root: Path, rng: random.Random) -> None:
    """Odd times: before 1970, after 2038, with nanoseconds; directories after what is in them."""
    for folder, names, files in os.walk(root, topdown=False):
        for name in sorted([*names, *files]):
            seconds = rng.choice(
                (-86_400, 0, 951_782_400, 1_700_000_000, 2_200_000_000, 4_400_000_000)
            )
            when = seconds * 10**9 + rng.randrange(10**9)
            with contextlib.suppress(OSError):  # immutable
                os.utime(Path(folder) / name, ns=(when, when + 5), follow_symlinks=False)
