"""The states a power cut can leave, from the log of writes and flushes.

What was written before the last completed flush is on the medium. Of the open window any part may
be there: every prefix, all but one write, one write torn, any seeded subset in any order.

A state is named by its window and, for each sector that the window touches, which of the window's
writes it shows (or none). Two states with the same content are one state.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fault.recorder import WriteLog, Written

SECTOR_BYTES = 512
TEAR_BYTES = (512, 4096)
Part = tuple[int, range | list[int]]  # a write, and which of its sectors landed
BASE = -1  # in a state: this sector still shows what was there before the window


@dataclass(frozen=True)
class State:
    """Window `window` lies open on the disk; `values[i]` says what its i-th sector shows."""

    window: int
    label: str
    values: array[int]

    @property
    def key(self) -> bytes:
        """The same for the same content, within a window."""
        return hashlib.blake2b(self.values.tobytes(), digest_size=16).digest()


class Window:
    """One flush window over the disk as it is before it: sectors, and the values they can take."""

    def __init__(self, number: int, writes: Sequence[Written], base: bytearray) -> None:
        self.number = number
        self.sectors: list[int] = []
        self.values: list[bytes] = []
        self._index: dict[int, int] = {}
        self._spans: list[list[tuple[int, int]]] = []  # per write: (sector index, value id)
        self._ids: dict[bytes, int] = {}
        for write in writes:
            self._spans.append(self._register(write, base))
        self._drop_what_changes_nothing()
        self.whole: list[Part] = [(n, range(len(spans))) for n, spans in enumerate(self._spans)]

    def _drop_what_changes_nothing(self) -> None:
        """Sectors that every write leaves as they are, and writes without any other sector."""
        changed = {index for spans in self._spans for index, value in spans if value != BASE}
        kept = {index: number for number, index in enumerate(sorted(changed))}
        self.sectors = [self.sectors[index] for index in kept]
        self._spans = [
            [(kept[index], value) for index, value in spans if index in kept]
            for spans in self._spans
            if any(index in kept for index, _ in spans)
        ]

    def _register(self, write: Written, base: bytearray) -> list[tuple[int, int]]:
        spans = []
        for at in range(0, len(write.data), SECTOR_BYTES):
            sector = (write.offset_bytes + at) // SECTOR_BYTES
            data = write.data[at : at + SECTOR_BYTES]
            index = self._index.setdefault(sector, len(self.sectors))
            if index == len(self.sectors):
                self.sectors.append(sector)
            if base[sector * SECTOR_BYTES : (sector + 1) * SECTOR_BYTES] == data:
                spans.append((index, BASE))
                continue
            value = self._ids.setdefault(data, len(self.values))
            if value == len(self.values):
                self.values.append(data)
            spans.append((index, value))
        return spans

    def __len__(self) -> int:
        return len(self._spans)

    def sectors_of(self, write: int) -> int:
        return len(self._spans[write])

    def state(self, label: str, parts: Sequence[Part]) -> State:
        """The state after `parts` landed in this order."""
        values = array("i", [BASE]) * len(self.sectors)
        for write, landed in parts:
            spans = self._spans[write]
            for position in landed:
                index, value = spans[position]
                values[index] = value
        return State(self.number, label, values)

    def patches(self, state: State) -> Iterator[tuple[int, bytes]]:
        """(offset in bytes, sector) of all that differs from the base."""
        for index, value in enumerate(state.values):
            if value != BASE:
                yield self.sectors[index] * SECTOR_BYTES, self.values[value]


def window_states(window: Window, rng: random.Random, *, random_states: int) -> Iterator[State]:
    """Every state of one window that is tried, once each, in a seeded order.

    The disk after the whole window comes first; then the sorts of states take turns, so that any
    beginning of the sequence is a fair sample. To its end it has every prefix, every single write
    dropped and alone, every write torn in four ways, and `random_states` subsets.
    """
    # An empty window shows the end of the one before.
    seen = {window.state("nothing", []).key} if window.number > 0 else set()
    for sort, number in _recipes(window, rng, random_states):
        state = _cook(window, rng, sort, number)
        if state.key not in seen:
            seen.add(state.key)
            yield state


def _recipes(window: Window, rng: random.Random, random_states: int) -> Iterator[tuple[str, int]]:
    writes = len(window)
    by_sort = {
        "prefix": list(range(writes)),
        "dropped": list(range(writes)),
        "alone": list(range(writes)),
        "torn": [*range(writes)] * 4,
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
    whole = window.whole
    if sort == "prefix":
        return window.state(f"first {number} of {writes} writes", whole[:number])
    if sort == "dropped":
        return window.state(f"write {number} dropped", whole[:number] + whole[number + 1 :])
    if sort == "alone":
        return window.state(f"write {number} alone", [whole[number]])
    if sort == "torn":
        landed = _torn(window.sectors_of(number), rng)
        others = whole[:number] if rng.random() < 0.5 else whole[:number] + whole[number + 1 :]
        return window.state(f"write {number} torn", [*others, (number, landed)])
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
        sectors = window.sectors_of(write)
        torn = rng.random() < tear
        parts.append((write, _torn(sectors, rng) if torn else range(sectors)))
    return window.state(f"random subset {number}", parts)


def _torn(sectors: int, rng: random.Random) -> list[int]:
    """Which sectors of a torn write landed: a prefix, suffix, middle, or any subset of units."""
    unit = rng.choice(TEAR_BYTES) // SECTOR_BYTES
    units = max(1, -(-sectors // unit))
    first, last = sorted((rng.randrange(units + 1), rng.randrange(units + 1)))
    chosen = rng.choice(
        (
            range(first),
            range(last, units),
            range(first, last),
            [n for n in range(units) if rng.random() < 0.5],
        )
    )
    return [s for n in chosen for s in range(n * unit, min(sectors, (n + 1) * unit))]


class Replay:
    """Walks through a log over an initial disk, window by window, holding the disk in memory."""

    def __init__(self, initial: bytes, log: WriteLog) -> None:
        self.base = bytearray(initial)
        self._log = log

    def windows(self) -> Iterator[Window]:
        """Each window while `base` holds the disk before it."""
        for number, writes in enumerate(self._log.windows):
            if not writes:
                continue
            yield Window(number, writes, self.base)
            for write in writes:
                self.base[write.offset_bytes : write.offset_bytes + len(write.data)] = write.data

    @contextmanager
    def disk_in(self, window: Window, state: State) -> Iterator[bytearray]:
        """The whole disk in a state of the current window: `base` itself, put back at the end."""
        patches = list(window.patches(state))
        before = [(offset, self.base[offset : offset + len(data)]) for offset, data in patches]
        try:
            for offset, data in patches:
                self.base[offset : offset + len(data)] = data
            yield self.base
        finally:
            for offset, data in before:
                self.base[offset : offset + len(data)] = data
