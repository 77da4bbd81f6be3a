"""A disk image file that is put into one state after another, quickly."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 1 << 20
COMPARE_BYTES = 1 << 16  # small enough for slices to stay in the processor's cache

Disk = bytes | bytearray | mmap.mmap


class Scratch:
    """A file on a memory filesystem, seen through a mapping; only what differs is written."""

    def __init__(self, path: Path, content: Disk) -> None:
        self.path = path
        path.write_bytes(content)
        with path.open("r+b") as file:
            self.content = mmap.mmap(file.fileno(), 0)

    def put(self, disk: Disk) -> None:
        """Make the file's content `disk`, whatever it was."""
        for at in range(0, len(disk), COMPARE_BYTES):
            wanted = disk[at : at + COMPARE_BYTES]
            if self.content[at : at + COMPARE_BYTES] != wanted:
                self.content[at : at + COMPARE_BYTES] = wanted


def same_bytes(a: Disk, b: Disk, start: int, end: int) -> bool:
    """Whether `[start, end)` is the same in both, without large copies."""
    for at in range(start, end, COMPARE_BYTES):
        stop = min(end, at + COMPARE_BYTES)
        if a[at:stop] != b[at:stop]:
            return False
    return True


def changed_ranges(before: Disk, after: Disk) -> list[tuple[int, int]]:
    """(offset, length) of the 512-byte sectors that differ, joined; for messages."""
    ranges: list[tuple[int, int]] = []
    for chunk in range(0, len(before), CHUNK_BYTES):
        if before[chunk : chunk + CHUNK_BYTES] == after[chunk : chunk + CHUNK_BYTES]:
            continue
        for at in range(chunk, min(chunk + CHUNK_BYTES, len(before)), 512):
            if before[at : at + 512] == after[at : at + 512]:
                continue
            if ranges and sum(ranges[-1]) == at:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + 512)
            else:
                ranges.append((at, 512))
    return ranges


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """In memory where there is a memory filesystem with room."""
    memory = Path("/dev/shm")
    room = memory.is_dir() and os.statvfs(memory).f_bavail * os.statvfs(memory).f_frsize > 1 << 30
    with tempfile.TemporaryDirectory(
        prefix="blockrep-fault-", dir=memory if room else None
    ) as folder:
        yield Path(folder)
