"""The pump when things go wrong: disks that break or end, consumers that stop, arguments."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from blockrep import chunks
from blockrep.errors import DeviceIO
from blockrep.extents import Extent
from blockrep.pump import WINDOW_BYTES, Batch, Pump

KEY = bytes(range(64))
MIB = 1 << 20
SIZE = 16 * MIB


def empty_map(content_bytes: int) -> bytearray:
    return bytearray(chunks.empty_pages(0, chunks.map_pages(content_bytes)))


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    before = threads()
    yield
    gc.collect()
    assert threads() == before


@pytest.fixture
def image(tmp_path: Path, no_thread_stays: None) -> Iterator[int]:
    """16 MiB of random bytes."""
    path = tmp_path / "image"
    path.write_bytes(Random(1).randbytes(SIZE))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def pump_of(fd: int, size: int = SIZE, workers: int = 3, slots: int = 4) -> Pump:
    return Pump(fd, size, [Extent(0, size)], None, empty_map(size), workers, slots)


# ---- a disk that breaks: our own memory, of which some pages are not mapped

BASE = 1 << 30  # where nothing else is mapped, and the map of so large a disk is still small

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
MAP_FIXED_NOREPLACE = 0x100000


@contextmanager
def broken_disk(size: int, broken: list[Extent]) -> Iterator[int]:
    """Reading it at BASE gives 0xAA bytes, and in `broken` the kernel returns EIO."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    assert _libc.mmap(BASE, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) == BASE
    ctypes.memset(BASE, 0xAA, size)
    for extent in broken:
        assert _libc.munmap(BASE + extent.start, extent.length) == 0
    fd = os.open("/proc/self/mem", os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)
        _libc.munmap(BASE, size)


def on_base(extents: list[Extent]) -> list[Extent]:
    return [Extent(BASE + e.start, e.length) for e in extents]


def test_a_block_that_cannot_be_read_is_named(no_thread_stays: None) -> None:
    size, bad = 16 * MIB, 5 * MIB + 7 * 4096
    with broken_disk(size, [Extent(bad, 8192)]) as fd:
        used = on_base([Extent(0, size)])
        with Pump(fd, BASE + size, used, None, empty_map(BASE + size), 4, 8) as pump:
            good = [next(pump).first_chunk for _ in range(5)]
            assert good == [(BASE + i * MIB) // chunks.CHUNK_BYTES for i in range(5)]
            for _ in range(2):
                with pytest.raises(DeviceIO, match=f"cannot read at byte {BASE + bad}: Input"):
                    next(pump)


def test_what_is_not_used_may_be_broken(no_thread_stays: None) -> None:
    size = 3 * MIB
    used = [Extent(0, 8192), Extent(5 * 4096, 4096), Extent(9 * 4096, MIB), Extent(2 * MIB, MIB)]
    broken = [Extent(8192, 3 * 4096), Extent(8 * 4096, 4096), Extent(MIB + 9 * 4096, 8192)]
    with broken_disk(size, broken) as fd:
        new_map = empty_map(BASE + size)
        with Pump(fd, BASE + size, on_base(used), None, new_map) as pump:
            blocks = [bytes(batch.blocks) for batch in pump]
    assert b"".join(blocks) == b"\xaa" * sum(e.length for e in used)


def test_a_disk_that_ends_too_early(image: int) -> None:
    os.truncate(image, 9 * MIB + 1000)
    with pump_of(image) as pump:
        assert [next(pump).first_chunk for _ in range(9)] == list(range(0, 144, 16))
        with pytest.raises(DeviceIO, match=f"image ends at byte {9 * MIB + 1000}, before its"):
            next(pump)


def test_what_is_no_disk(tmp_path: Path, no_thread_stays: None) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pump_of(fd) as pump, pytest.raises(DeviceIO, match="at byte 0: Is a directory"):
        next(pump)
    os.close(fd)


# ---- a consumer that stops, waits, or goes away


@pytest.mark.parametrize("batches", [0, 1, 3, 15, 16])
def test_closing_at_any_time(image: int, batches: int) -> None:
    before = threads()
    pump = pump_of(image)
    assert threads() == before + 3
    for _ in range(batches):
        next(pump)
    pump.close()
    assert threads() == before
    pump.close()
    assert list(pump) == []


def test_a_batch_outlives_the_pump(image: int) -> None:
    """Nothing that Python holds ever points to memory that is gone."""
    with pump_of(image) as pump:
        batch = next(pump)
    wanted = os.pread(image, MIB, 0)
    del pump
    gc.collect()
    assert batch.blocks == wanted
    assert batch.blocks.readonly


def test_a_map_in_a_file_can_be_closed_after_the_pump(image: int) -> None:
    with mmap.mmap(-1, chunks.map_pages(SIZE) * chunks.PAGE_BYTES) as new_map:
        chunks.clear_pages(new_map, 0)
        with Pump(image, SIZE, [Extent(0, SIZE)], None, new_map) as pump:
            next(pump)
            with pytest.raises(BufferError):
                new_map.close()
        assert chunks.get_entry(new_map, 0, 15).mask == 0xFFFF


def test_a_pump_that_is_forgotten(image: int) -> None:
    before = threads()
    pump = pump_of(image)
    next(pump)
    del pump
    gc.collect()
    assert threads() == before


def test_an_error_of_the_consumer_ends_the_threads(image: int) -> None:
    before = threads()
    with pytest.raises(RuntimeError), pump_of(image) as pump:
        for _ in pump:
            raise RuntimeError
    assert threads() == before


def test_threads_do_not_run_ahead_of_the_consumer(image: int) -> None:
    """With three slots, windows 3 and on are read only after windows 0 and on are let go of."""
    with pump_of(image, slots=3) as pump:
        next(pump)
        time.sleep(0.1)
        os.pwrite(image, b"\1" * (SIZE - 3 * MIB), 3 * MIB)
        rest = list(map(copied, pump))
    assert all(blocks == b"\1" * MIB for _, blocks in rest[2:])
    assert len(rest) == 15


def copied(batch: Batch) -> tuple[int, bytes]:
    return batch.first_chunk, bytes(batch.blocks)


def test_a_batch_stays_until_the_next_one(image: int) -> None:
    with pump_of(image, slots=2) as pump:
        for number, batch in enumerate(pump):
            time.sleep(0.01 if number < 3 else 0)
            assert batch.blocks == os.pread(image, MIB, number * MIB)


# ---- arguments


def test_the_key_is_checked(image: int) -> None:
    for key in (KEY[:32], KEY[:32] * 2, b""):
        with pytest.raises(ValueError, match="key"):
            Pump(image, MIB, [Extent(0, MIB)], key, empty_map(MIB))


@pytest.mark.parametrize(
    "used",
    [
        [Extent(0, 4096), Extent(0, 4096)],
        [Extent(4096, 4096), Extent(0, 4096)],
        [Extent(0, 0)],
        [Extent(512, 4096)],
        [Extent(0, 512)],
        [Extent(0, MIB + 4096)],
        [Extent(-4096, 8192)],
        [Extent(2**64, 4096)],
    ],
)
def test_the_extents_are_checked(image: int, used: list[Extent]) -> None:
    with pytest.raises(ValueError, match="extent"):
        Pump(image, MIB, used, None, empty_map(MIB))


def test_the_map_is_checked(image: int) -> None:
    used = [Extent(0, MIB)]
    with pytest.raises(ValueError, match="map"):
        Pump(image, MIB, used, None, empty_map(8 * MIB))
    with pytest.raises(BufferError):
        Pump(image, MIB, used, None, bytes(empty_map(MIB)))


@pytest.mark.parametrize(("workers", "slots"), [(0, 1), (65, 1), (1, 0), (1, 4097)])
def test_threads_and_slots_are_checked(image: int, workers: int, slots: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        pump_of(image, workers=workers, slots=slots)


def test_a_disk_without_anything_used(image: int) -> None:
    new_map = empty_map(MIB)
    with Pump(image, MIB, [], None, new_map) as pump:
        assert list(pump) == []
    assert new_map == empty_map(MIB)


def test_a_disk_without_content(image: int) -> None:
    with Pump(image, 0, [], None, bytearray()) as pump:
        assert list(pump) == []


def test_zeros_are_not_stored(image: int) -> None:
    os.pwrite(image, bytes(WINDOW_BYTES), 0)
    new_map = empty_map(SIZE)
    with Pump(image, SIZE, [Extent(0, MIB)], KEY, new_map) as pump:
        assert [(b.masks, bytes(b.blocks)) for b in pump] == [((0,) * 16, b"")]
    assert new_map == empty_map(SIZE)
