"""What a recovery did is only looked up where it would do the same."""

from __future__ import annotations

import random
from array import array

import pytest

from fault.remembered import Recovery, Remembered
from fault.sectors import NUMBER, SECTOR_BYTES, Disk, Sectors


def _toy(disk: list[int], reads: list[tuple[int, int]]) -> int:
    """A program whose second read depends on its first."""
    reads.append((0, 1))
    if disk[0] == 0:
        return 0
    reads.append((disk[0], disk[0] + 2))
    return disk[disk[0]] * 10 + disk[disk[0] + 1]


def test_what_is_remembered_is_what_would_be_done() -> None:
    rng, sectors, memory = random.Random(1), Sectors(), Remembered()
    for value in range(4):
        sectors.numbers(bytes([value]) * SECTOR_BYTES)
    known = 0
    for _ in range(3000):
        values = [rng.randrange(3), *(rng.randrange(4) for _ in range(4))]
        disk = Disk(sectors, array(NUMBER, values))
        reads: list[tuple[int, int]] = []
        wanted = str(_toy(values, reads))
        found = memory.recall(disk)
        if found is None:
            memory.learn(disk, reads, Recovery(wanted, []))
            continue
        known += 1
        assert found.action == wanted
    assert known > 2900
    with pytest.raises(AssertionError, match="other sectors"):
        memory.learn(Disk(sectors, array(NUMBER, [3, 0, 0, 0, 0])), [(1, 2)], Recovery("", []))
