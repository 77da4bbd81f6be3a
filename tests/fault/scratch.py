"""A disk image file that is put into one state after another, quickly."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 1 << 20
COMPARE_BYTES = 1 << 16  # small enough for slices to stay in the processor's cache

Disk = bytes | bytearray


class Scratch:
    """A file on a memory filesystem; only chunks that differ are written."""

    def __init__(self, path: Path, content: Disk) -> None:
        self.path = path
        path.write_bytes(content)
        self._buffer = bytearray(len(content))

    def put(self, disk: Disk) -> None:
        """Make the file's content `disk`, whatever it was."""
        now = self.content()
        with self.path.open("r+b", buffering=0) as file:
            for at in range(0, len(disk), COMPARE_BYTES):
                wanted = disk[at : at + COMPARE_BYTES]
                if now[at : at + COMPARE_BYTES] != wanted:
                    os.pwrite(file.fileno(), wanted, at)

    def content(self) -> bytearray:
        """What the file holds; valid until the next call."""
        with self.path.open("rb", buffering=0) as file:
            got = file.readinto(self._buffer)
        if got != len(self._buffer) or self.path.stat().st_size != got:
            raise AssertionError("the scratch disk changed its size")
        return self._buffer


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
