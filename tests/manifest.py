"""Everything that must survive of a filesystem, path by path, and what differs between two.

A manifest is read through a kernel mount (`read_manifest`), or through debugfs for what this kernel
cannot mount (`debugfs_manifest`). Holes may differ between two equal manifests, inode numbers too.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loops import loop_device, mounted

Manifest = dict[str, dict[str, object]]

FS_IOC_GETFLAGS = 0x80086601
# Changed by a new mapping of the same content: indexed directory, extents, inline data.
MAPPING_FLAGS = 0x1000 | 0x80000 | 0x10000000
STATX_BTIME = 0x800
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100

_libc = ctypes.CDLL(None, use_errno=True)


def filesystem_manifest(
    image: Path, offset_bytes: int, length_bytes: int, *, mountable: bool = True
) -> Manifest:
    """The manifest of the filesystem in `[offset, offset + length)`; changes nothing."""
    if not mountable:
        return debugfs_manifest(image, offset_bytes)
    with (
        loop_device(image, offset_bytes, length_bytes, read_only=True) as device,
        mounted(device, "noload") as root,
    ):
        return read_manifest(root)


def read_manifest(root: Path) -> Manifest:
    """Walk a mounted tree."""
    manifest: Manifest = {}
    first_path: dict[int, str] = {}
    for path in _walk(os.fsencode(root)):
        name = os.fsdecode(os.path.relpath(path, os.fsencode(root)))
        manifest[name] = _entry(path, name, first_path)
    return manifest


def _walk(root: bytes) -> Iterator[bytes]:
    pending = [root]
    while pending:
        path = pending.pop()
        yield path
        if stat.S_ISDIR(os.lstat(path).st_mode):
            with os.scandir(path) as entries:
                pending.extend(sorted((entry.path for entry in entries), reverse=True))


def _entry(path: bytes, name: str, first_path: dict[int, str]) -> dict[str, object]:
    status = os.lstat(path)
    entry: dict[str, object] = {
        "mode": oct(status.st_mode),
        "owner": (status.st_uid, status.st_gid),
        "links": status.st_nlink,
        "mtime": status.st_mtime_ns,
        "ctime": status.st_ctime_ns,
        "atime": status.st_atime_ns,
        "birth": _birth_time(path),
        "xattrs": _xattrs(path),
    }
    if not stat.S_ISDIR(status.st_mode):
        entry["size"] = status.st_size
        entry["same file as"] = first_path.setdefault(status.st_ino, name)
    if stat.S_ISREG(status.st_mode):
        entry["content"] = _digest(path)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        entry["flags"] = hex(_flags(path) & ~MAPPING_FLAGS)
    if stat.S_ISLNK(status.st_mode):
        entry["target"] = str(Path(os.fsdecode(path)).readlink())
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        entry["device"] = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return entry


def _birth_time(path: bytes) -> tuple[int, int] | None:
    buffer = ctypes.create_string_buffer(256)
    if _libc.statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, buffer):
        raise OSError(ctypes.get_errno(), "statx", os.fsdecode(path))
    if not struct.unpack_from("I", buffer, 0)[0] & STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("qI", buffer, 80)
    return int(seconds), int(nanoseconds)


def _xattrs(path: bytes) -> dict[str, str]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names}


def _digest(path: bytes) -> str:
    """sha256 of the data with its offsets: long holes are not read, but where data is counts."""
    total = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size < 64 << 20:
            while chunk := os.read(fd, 1 << 20):
                total.update(chunk)
            return total.hexdigest()
        for start, end in _data_runs(fd, size):
            for at in range(start, end, 4096):
                page = os.pread(fd, min(4096, end - at), at)
                if page.count(0) != len(page):
                    total.update(struct.pack("Q", at) + page)
        return "sparse " + total.hexdigest()
    finally:
        os.close(fd)


def _data_runs(fd: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        # Pages are compared from aligned offsets, whatever the granularity of the runs.
        yield start - start % 4096, at


def _flags(path: bytes) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            raw: bytes = fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))
            return int(struct.unpack_from("I", raw)[0])
        return 0
    finally:
        os.close(fd)


def debugfs_manifest(image: Path, offset_bytes: int) -> Manifest:
    """The same for what the kernel cannot mount: debugfs lists, stats and dumps every inode.

    `-c` is not given, so that wrong checksums and bitmaps are errors here.
    """
    target = f"{image}?offset={offset_bytes}"
    paths = _debugfs_tree(target)
    numbers = sorted(set(paths.values()))
    facts = dict(zip(numbers, _debugfs_stats(target, numbers), strict=True))
    contents = _debugfs_contents(target, [n for n in numbers if facts[n]["type"] == "regular"])
    manifest: Manifest = {}
    first_path: dict[int, str] = {}
    for path, number in sorted(paths.items()):
        entry = dict(facts[number])
        if entry["type"] != "directory":
            entry["same file as"] = first_path.setdefault(number, path)
        if number in contents:
            entry["content"] = contents[number]
        manifest[path] = entry
    return manifest


def _debugfs(target: str, commands: list[str]) -> list[str]:
    """The output of each command, in order."""
    with tempfile.NamedTemporaryFile("w", prefix="blockrep-debugfs-") as script:
        script.write("\n".join(commands) + "\n")
        script.flush()
        done = subprocess.run(
            ["debugfs", "-f", script.name, target],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
            env={**os.environ, "LC_ALL": "C", "DEBUGFS_PAGER": "__none__"},
        )
    output = done.stdout.decode("utf-8", "surrogateescape")
    parts = re.split(r"^debugfs: .*\n", output, flags=re.MULTILINE)[1:]
    if len(parts) != len(commands):
        raise AssertionError(f"debugfs {target}: {done.stderr.decode(errors='replace')[:500]}")
    return parts


def _debugfs_tree(target: str) -> dict[str, int]:
    paths = {".": 2}
    level = {2: "."}
    while level:
        listings = _debugfs(target, [f"ls -p <{number}>" for number in level])
        deeper: dict[int, str] = {}
        for parent, listing in zip(level.values(), listings, strict=True):
            for line in listing.splitlines():
                fields = line.split("/")
                if len(fields) < 7 or fields[5] in ("", ".", "..") or fields[1] == "0":
                    continue
                number, mode, path = int(fields[1]), int(fields[2], 8), f"{parent}/{fields[5]}"
                paths[path] = number
                if stat.S_ISDIR(mode):
                    deeper[number] = path
        level = deeper
    return paths


def _debugfs_stats(target: str, numbers: list[int]) -> list[dict[str, object]]:
    return [_parse_stat(text) for text in _debugfs(target, [f"stat <{n}>" for n in numbers])]


def _parse_stat(text: str) -> dict[str, object]:
    """What must survive of debugfs's `stat`: not the number, the mapping, the block count."""
    kind = re.search(r"Type: (.+?)\s+Mode:\s+(\d+)\s+Flags: (\S+)", text)
    if kind is None:
        raise AssertionError(f"debugfs stat says: {text[:200]}")
    entry: dict[str, object] = {
        "type": kind[1],
        "mode": kind[2],
        "flags": hex(int(kind[3], 16) & ~MAPPING_FLAGS),
    }
    for name in ("Generation", "User", "Group", "Project", "Links", "Size", "Fast link dest"):
        found = re.search(rf"\b{name}:\s+(.+?)(?:\s{{2,}}|$)", text, re.MULTILINE)
        if found and not (name == "Size" and kind[1] == "directory"):
            entry[name] = found[1]
    for name in ("ctime", "atime", "mtime", "crtime"):
        found = re.search(rf"^\s*{name}: (0x\S+)", text, re.MULTILINE)
        entry[name] = found[1] if found else None
    if "Device major/minor" in text:
        found = re.search(r"Device major/minor number: (.+)", text)
        entry["device"] = found[1] if found else None
    after = text.split("Extended attributes:\n", 1)
    if len(after) == 2:
        lines = after[1].splitlines()
        entry["xattrs"] = [line for line in lines if re.match(r"  \S", line) and " (" in line]
    return entry


def _debugfs_contents(target: str, numbers: list[int]) -> dict[int, str]:
    with tempfile.TemporaryDirectory(prefix="blockrep-dump-") as folder:
        _debugfs(target, [f"dump <{n}> {folder}/{n}" for n in numbers])
        return {n: _digest(os.fsencode(f"{folder}/{n}")) for n in numbers}


def differences(wanted: Manifest, found: Manifest, limit: int = 10) -> list[str]:
    """What differs, one line per path and field, at most `limit` lines; empty when nothing does."""
    lines = [f"{path!r} is missing" for path in wanted if path not in found]
    lines += [f"{path!r} should not be there" for path in found if path not in wanted]
    for path, entry in wanted.items():
        other = found.get(path)
        if other is None or other == entry:
            continue
        for field in sorted({*entry, *other}):
            if entry.get(field) != other.get(field):
                lines.append(f"{path!r} {field}: {entry.get(field)!r} -> {other.get(field)!r}")
    if len(lines) > limit:
        lines[limit:] = [f"... and {len(lines) - limit} more"]
    return lines
