"""A pass of the pump against reading the same extents and doing nothing with them.

The ways take turns, and medians count, so that a machine that is busy for a while is so for all.
"""

from __future__ import annotations

import mmap
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from threading import Thread
from time import perf_counter

import pytest

from blockrep import chunks
from blockrep.buffers import new_buffer
from blockrep.extents import Extent, scale, total
from blockrep.native import Filesystem
from blockrep.pump import Pump

GIB = 1 << 30
SIZE = 4 * GIB
PIECE_BYTES = 1 << 20
ROUNDS = 7
KEY = bytes(range(64))
AGED_IMAGE = Path(__file__).resolve().parents[2] / "scripts" / "aged-image"


@dataclass(frozen=True)
class Subject:
    """An aged filesystem and what it uses."""

    image: Path
    used: list[Extent]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    image = tmp_path_factory.mktemp("pump") / "disk.img"
    command = [AGED_IMAGE, "--bare", "--size", SIZE, "--data", 1_200_000_000, image]
    subprocess.run([str(word) for word in command], check=True)
    with Filesystem.open(image) as filesystem:
        used = scale(filesystem.used(), filesystem.geometry.block_bytes)
    os.sync()
    return Subject(image, used)


def read_pieces(fd: int, pieces: SimpleQueue[Extent], buffer: memoryview | mmap.mmap) -> None:
    with memoryview(buffer) as view:
        while True:
            try:
                piece = pieces.get_nowait()
            except Empty:
                return
            assert os.preadv(fd, [view[: piece.length]], piece.start) == piece.length


def read_all(fd: int, used: Sequence[Extent], buffers: Sequence[memoryview | mmap.mmap]) -> None:
    """A thread for each buffer."""
    pieces: SimpleQueue[Extent] = SimpleQueue()
    for extent in used:
        for at in range(extent.start, extent.end, PIECE_BYTES):
            pieces.put(Extent(at, min(PIECE_BYTES, extent.end - at)))
    threads = [Thread(target=read_pieces, args=(fd, pieces, buffer)) for buffer in buffers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def read_as_dd(fd: int, used: Sequence[Extent]) -> None:
    read_all(fd, used, [mmap.mmap(-1, PIECE_BYTES)])


def read_at_best(fd: int, used: Sequence[Extent]) -> None:
    memory = new_buffer(4 * PIECE_BYTES)
    read_all(fd, used, [memory[i * PIECE_BYTES : (i + 1) * PIECE_BYTES] for i in range(4)])


def pump(fd: int, used: Sequence[Extent], key: bytes | None) -> None:
    new_map = bytearray(chunks.empty_pages(0, chunks.map_pages(SIZE)))
    with Pump(fd, SIZE, used, key, new_map) as batches:
        assert 0 < sum(len(batch.blocks) for batch in batches) <= total(used)


WAYS: dict[str, Callable[[int, Sequence[Extent]], None]] = {
    "one thread reads": read_as_dd,
    "four threads read": read_at_best,
    "pump": lambda fd, used: pump(fd, used, None),
    "pump, encrypted": lambda fd, used: pump(fd, used, KEY),
}


def test_a_pass_takes_no_longer_than_reading(subject: Subject) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    fd = os.open(subject.image, os.O_RDONLY | os.O_DIRECT)
    for _ in range(ROUNDS):
        for name, way in WAYS.items():
            begun = perf_counter()
            way(fd, subject.used)
            seconds[name].append(perf_counter() - begun)
    os.close(fd)
    print(f"\n{total(subject.used) / 1e6:.0f} MB in {len(subject.used)} extents")
    for name, listed in seconds.items():
        middle = median(listed)
        rate = total(subject.used) / middle / 1e6
        print(f"{name:20} {middle:.2f} s ({min(listed):.2f} to {max(listed):.2f}), {rate:.0f} MB/s")
    assert median(seconds["pump"]) <= median(seconds["one thread reads"]) / 0.95
