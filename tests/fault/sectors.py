"""A disk as a list of numbers, one for each content that a sector can have.

Two sectors hold the same bytes exactly when they have the same number. So a disk is copied,
compared and hashed at a 128th of its size, and a crash state costs no copy of the image.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SECTOR_BYTES = 512
NUMBER = "I"  # the type of a number in an array


class Sectors:
    """All contents of sectors that were ever seen, numbered in the order of their appearance."""

    def __init__(self) -> None:
        self._contents: list[bytes] = []
        self._numbers: dict[bytes, int] = {}

    def numbers(self, data: bytes | memoryview) -> array[int]:
        """Of whole sectors."""
        if len(data) % SECTOR_BYTES:
            raise ValueError("not whole sectors")
        known, contents = self._numbers, self._contents
        found = array(NUMBER)
        for at in range(0, len(data), SECTOR_BYTES):
            content = bytes(data[at : at + SECTOR_BYTES])
            number = known.setdefault(content, len(contents))
            if number == len(contents):
                contents.append(content)
            found.append(number)
        return found

    def content(self, numbers: Iterable[int]) -> bytes:
        """The bytes behind the numbers."""
        return b"".join(map(self._contents.__getitem__, numbers))


@dataclass(frozen=True, slots=True)
class Placed:
    """One write: `numbers` go to the sectors from `first` on."""

    first: int
    numbers: array[int]

    @property
    def end(self) -> int:
        return self.first + len(self.numbers)


Writes = list[list[Placed]]  # a flush behind each list


class Disk:
    """The content of a disk. Slices are bytes, as those of a `bytes` object are."""

    __slots__ = ("numbers", "sectors")

    def __init__(self, sectors: Sectors, numbers: array[int]) -> None:
        self.sectors = sectors
        self.numbers = numbers

    @classmethod
    def of(cls, sectors: Sectors, data: bytes) -> Disk:
        return cls(sectors, sectors.numbers(data))

    def copy(self) -> Disk:
        return Disk(self.sectors, self.numbers[:])

    def after(self, writes: Writes) -> Disk:
        """This disk when all of them have landed."""
        copy = self.copy()
        for window in writes:
            for write in window:
                copy.put(write)
        return copy

    def put(self, write: Placed) -> None:
        self.numbers[write.first : write.end] = write.numbers

    def __len__(self) -> int:
        return len(self.numbers) * SECTOR_BYTES

    def __bytes__(self) -> bytes:
        return self.sectors.content(self.numbers)

    def __getitem__(self, part: slice) -> bytes:
        start, end, step = part.indices(len(self))
        if step != 1:
            raise ValueError("a disk is read forwards, without gaps")
        first, last = start // SECTOR_BYTES, -(-end // SECTOR_BYTES)
        skipped = first * SECTOR_BYTES
        return self.sectors.content(self.numbers[first:last])[start - skipped : end - skipped]

    def same(self, other: Disk, start: int, end: int, other_start: int | None = None) -> bool:
        """Whether the bytes `[start, end)` are those that `other` has, there or elsewhere."""
        at = start if other_start is None else other_start
        if start % SECTOR_BYTES or at % SECTOR_BYTES or end % SECTOR_BYTES:
            return self[start:end] == other[at : at + end - start]
        first, count = at // SECTOR_BYTES, (end - start) // SECTOR_BYTES
        mine = self.numbers[start // SECTOR_BYTES : end // SECTOR_BYTES]
        return mine == other.numbers[first : first + count]

    def part(self, start: int, end: int) -> Disk:
        """Its sectors in the bytes `[start, end)`, as a disk of their own."""
        return Disk(self.sectors, self.numbers[start // SECTOR_BYTES : end // SECTOR_BYTES])

    @property
    def digest(self) -> bytes:
        return hashlib.blake2b(self.numbers.tobytes(), digest_size=16).digest()


def differing(a: Sequence[int], b: Sequence[int], chunk: int = 1024) -> list[tuple[int, int]]:
    """(first, end) of the runs in which two lists of the same length differ."""
    runs: list[tuple[int, int]] = []
    for base in range(0, len(a), chunk):
        mine, theirs = a[base : base + chunk], b[base : base + chunk]
        if mine == theirs:
            continue
        for at, (x, y) in enumerate(zip(mine, theirs, strict=True), base):
            if x == y:
                continue
            if runs and runs[-1][1] == at:
                runs[-1] = (runs[-1][0], at + 1)
            else:
                runs.append((at, at + 1))
    return runs
