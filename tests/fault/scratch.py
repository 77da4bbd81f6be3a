"""A disk image file that is put into one state after another, quickly."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault.sectors import SECTOR_BYTES, Disk, differing

COMPARE_SECTORS = 128  # small enough for slices to stay in the processor's cache


class Scratch:
    """A file on a memory filesystem, seen through a mapping; only what differs is written.

    What the file holds is known as long as only `put` and recorded writes change it. `read` finds
    out what anybody else wrote to it.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        path.write_bytes(bytes(disk))
        with path.open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), 0)
        self._holds = disk.copy()

    def put(self, disk: Disk) -> None:
        """Make the file's content `disk`; nobody else has written since `put` or `read`."""
        for first, end in differing(self._holds.numbers, disk.numbers):
            self._file[first * SECTOR_BYTES : end * SECTOR_BYTES] = disk.sectors.content(
                disk.numbers[first:end]
            )
        self._holds = disk.copy()

    def read(self) -> Disk:
        """The disk that the file holds now, whoever wrote it."""
        sectors, numbers = self._holds.sectors, self._holds.numbers
        for first in range(0, len(numbers), COMPARE_SECTORS):
            known = numbers[first : first + COMPARE_SECTORS]
            start = first * SECTOR_BYTES
            data = self._file[start : start + len(known) * SECTOR_BYTES]
            if data != sectors.content(known):
                numbers[first : first + COMPARE_SECTORS] = sectors.numbers(data)
        return self._holds.copy()

    def expect(self, disk: Disk) -> None:
        """`AssertionError` when the file does not hold `disk`."""
        if ranges := changed_ranges(disk, self.read()):
            raise AssertionError(f"somebody wrote past the device: {ranges[:5]}")


def changed_ranges(before: Disk, after: Disk) -> list[tuple[int, int]]:
    """(offset, length) in bytes of what differs; for messages."""
    return [
        (first * SECTOR_BYTES, (end - first) * SECTOR_BYTES)
        for first, end in differing(before.numbers, after.numbers)
    ]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """In memory where there is a memory filesystem with room."""
    memory = Path("/dev/shm")
    room = memory.is_dir() and os.statvfs(memory).f_bavail * os.statvfs(memory).f_frsize > 1 << 30
    with tempfile.TemporaryDirectory(
        prefix="blockrep-fault-", dir=memory if room else None
    ) as folder:
        yield Path(folder)
