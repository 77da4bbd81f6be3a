"""The states a power cut can leave, from the log of writes and flushes.

What was written before the last completed flush is on the medium. Of the open window any part may
be there: every prefix, all but one write, one write torn, any seeded subset in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from fault.sectors import SECTOR_BYTES, Disk, Placed, Writes

TEAR_BYTES = (512, 4096)
Part = tuple[int, Sequence[int] | None]  # a write, and which of its sectors landed; None is all


@dataclass(frozen=True)
class State:
    """A disk after a power cut."""

    label: str
    disk: Disk

    @cached_property
    def key(self) -> bytes:
        """The same for the same bytes."""
        return self.disk.digest


class Window:
    """The writes between two flushes, over the disk as it is before them.

    `atom_bytes` is what the disk never tears, its sector.
    """

    def __init__(
        self, number: int, writes: Sequence[Placed], base: Disk, atom_bytes: int = SECTOR_BYTES
    ) -> None:
        self.number = number
        self._base = base
        self._atom_bytes = atom_bytes
        self.writes = _without_idle(writes, base)
        self._units: dict[tuple[int, int], list[list[int]]] = {}

    def __len__(self) -> int:
        return len(self.writes)

    def disk(self, parts: Sequence[Part]) -> Disk:
        """The disk after `parts` landed in this order."""
        disk = self._base.copy()
        for number, landed in parts:
            write = self.writes[number]
            if landed is None:
                disk.put(write)
                continue
            for position in landed:
                disk.numbers[write.first + position] = write.numbers[position]
        return disk

    def units(self, number: int, tear_bytes: int) -> list[list[int]]:
        """The pieces that a write can be torn into: aligned, and each changes the disk.

        A piece is the positions of its sectors within the write.
        """
        if (number, tear_bytes) not in self._units:
            self._units[number, tear_bytes] = list(self._find_units(number, tear_bytes))
        return self._units[number, tear_bytes]

    def _find_units(self, number: int, tear_bytes: int) -> Iterator[list[int]]:
        write, base = self.writes[number], self._base.numbers
        size = max(tear_bytes, self._atom_bytes) // SECTOR_BYTES
        for start in range(write.first - write.first % size, write.end, size):
            first, end = max(start, write.first), min(start + size, write.end)
            if write.numbers[first - write.first : end - write.first] != base[first:end]:
                yield list(range(first - write.first, end - write.first))


def _without_idle(writes: Sequence[Placed], base: Disk) -> list[Placed]:
    """Without those that write what is there, unless another write of the window changes it."""
    changing = [w for w in writes if base.numbers[w.first : w.end] != w.numbers]
    touched = bytearray(len(base.numbers))
    for write in changing:
        touched[write.first : write.end] = b"\1" * len(write.numbers)
    return [w for w in writes if touched.find(1, w.first, w.end) >= 0]


def window_states(
    window: Window, rng: random.Random, *, random_states: int, tears: int
) -> Iterator[State]:
    """Every state of one window that is tried, in a seeded order; some may show the same disk.

    The disk after the whole window comes first; then the sorts of states take turns, so that any
    beginning of the sequence is a fair sample. To its end it has every prefix, every single write
    dropped and alone, every write torn in `tears` ways, the sizes of `TEAR_BYTES` taking turns, and
    `random_states` subsets.
    """
    for sort, number in _recipes(window, rng, random_states, tears):
        yield _cook(window, rng, sort, number)


def any_state(window: Window, rng: random.Random) -> State:
    """One state of a window that has writes."""
    sort = rng.choice(("prefix", "dropped", "alone", "torn", "random"))
    tears = len(TEAR_BYTES) if sort == "torn" else 1
    return _cook(window, rng, sort, rng.randrange(tears * len(window)))


def _recipes(
    window: Window, rng: random.Random, random_states: int, tears: int
) -> Iterator[tuple[str, int]]:
    writes = len(window)
    by_sort = {
        "prefix": list(range(writes)),
        "dropped": list(range(writes)),
        "alone": list(range(writes)),
        "torn": list(range(writes * tears)),
        "random": list(range(random_states)),
    }
    for numbers in by_sort.values():
        rng.shuffle(numbers)
    yield "prefix", writes
    while any(by_sort.values()):
        for sort, numbers in by_sort.items():
            if numbers:
                yield sort, numbers.pop()


def _cook(window: Window, rng: random.Random, sort: str, number: int) -> State:
    writes = len(window)
    whole: list[Part] = [(n, None) for n in range(writes)]
    if sort == "prefix":
        return State(f"first {number} of {writes} writes", window.disk(whole[:number]))
    if sort == "dropped":
        return State(f"write {number} dropped", window.disk(whole[:number] + whole[number + 1 :]))
    if sort == "alone":
        return State(f"write {number} alone", window.disk([whole[number]]))
    if sort == "torn":
        turn, number = divmod(number, writes)
        tear_bytes = TEAR_BYTES[turn % len(TEAR_BYTES)]
        landed = _torn(window.units(number, tear_bytes), rng)
        others = whole[:number] if rng.random() < 0.5 else whole[:number] + whole[number + 1 :]
        label = f"write {number} torn in pieces of {tear_bytes}"
        return State(label, window.disk([*others, (number, landed)]))
    return _random_state(window, rng, number)


def _random_state(window: Window, rng: random.Random, number: int) -> State:
    """Any subset in any order, some of it torn."""
    share = rng.random()
    chosen = [n for n in range(len(window)) if rng.random() < share]
    if rng.random() < 0.5:
        rng.shuffle(chosen)
    tear = rng.choice((0.0, 0.1, 0.5))
    parts: list[Part] = []
    for write in chosen:
        torn = rng.random() < tear
        units = window.units(write, rng.choice(TEAR_BYTES)) if torn else []
        parts.append((write, _torn(units, rng) if torn else None))
    return State(f"random subset {number}", window.disk(parts))


def _torn(units: Sequence[list[int]], rng: random.Random) -> list[int]:
    """Which sectors of a torn write landed: a prefix, suffix, middle, or any subset of units."""
    first, last = sorted((rng.randrange(len(units) + 1), rng.randrange(len(units) + 1)))
    chosen = rng.choice(
        (
            units[:first],
            units[last:],
            units[first:last],
            [unit for unit in units if rng.random() < 0.5],
        )
    )
    return [position for unit in chosen for position in unit]


def walk_windows(initial: Disk, writes: Writes, atom_bytes: int) -> Iterator[Window]:
    """The windows of a run, one after the other, each over the disk as it is before it."""
    base = initial
    for number, window in enumerate(writes):
        if window:
            yield Window(number, window, base, atom_bytes)
            base = base.after([window])
