"""Copies within a filesystem, against moving one block after another."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrep.disk.device import Device
from blockrep.divide import copies as copies_module
from blockrep.divide.copies import run_copies
from blockrep.errors import Stopped
from blockrep.native import Copy
from blockrep.progress import Silent

BLOCKS, BLOCK, HOST = 64, 4096, 8192
CONTENT = random.Random(1).randbytes(HOST + BLOCKS * BLOCK)


class Recorder(Device):
    """Notes what is written and flushed, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, writable=True)
        self.events: list[tuple[int, int] | None] = []

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        self.events.append((offset_bytes, len(data)))
        super().write(offset_bytes, data)

    def flush(self) -> None:
        self.events.append(None)
        super().flush()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("copies") / "disk.img"


@pytest.fixture(scope="module", autouse=True)
def small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies_module, "BATCH_BYTES", 7 * BLOCK)
        yield


@st.composite
def plans(draw: st.DrawFn) -> list[Copy]:
    """Copies into free blocks: no destination is a source or another's destination."""
    order = draw(st.permutations(range(BLOCKS)))
    owners = draw(st.lists(st.sampled_from("sd "), min_size=BLOCKS, max_size=BLOCKS))
    runs = [list(_runs(sorted(b for b in order if owners[b] == kind))) for kind in "sd"]
    draw(st.randoms()).shuffle(runs[1])
    return list(_pair(*runs))


def _runs(blocks: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for i in range(1, len(blocks) + 1):
        if i == len(blocks) or blocks[i] != blocks[i - 1] + 1:
            yield blocks[start], i - start
            start = i


def _pair(sources: list[tuple[int, int]], free: list[tuple[int, int]]) -> Iterator[Copy]:
    sources, free = sources[::-1], free[::-1]
    while sources and free:
        (src, have), (dst, room) = sources.pop(), free.pop()
        length = min(have, room)
        yield Copy(src, dst, length)
        if have > length:
            sources.append((src + length, have - length))
        if room > length:
            free.append((dst + length, room - length))


def naive(copies: list[Copy]) -> bytes:
    result = bytearray(CONTENT)
    for src, dst, length in copies:
        for i in range(length):
            at, to = HOST + (src + i) * BLOCK, HOST + (dst + i) * BLOCK
            result[to : to + BLOCK] = CONTENT[at : at + BLOCK]
    return bytes(result)


@given(plans())
def test_as_if_one_block_after_another(disk: Path, copies: list[Copy]) -> None:
    disk.write_bytes(CONTENT)
    with Recorder(disk) as device:
        run_copies(device, HOST, BLOCK, copies, Silent())
        events = device.events
    assert disk.read_bytes() == naive(copies)
    assert events[-1] is None
    assert events.count(None) == 1
    writes = [event for event in events if event]
    assert sum(length for _, length in writes) == sum(c.length for c in copies) * BLOCK
    assert all(length <= 7 * BLOCK for _, length in writes)


def test_destinations_that_touch_are_written_in_one(disk: Path) -> None:
    disk.write_bytes(CONTENT)
    copies = [Copy(10, 42, 1), Copy(20, 40, 2), Copy(30, 43, 4), Copy(50, 0, 9)]
    with Recorder(disk) as device:
        run_copies(device, HOST, BLOCK, copies, Silent())
        at = [(offset - HOST, length) for offset, length in filter(None, device.events)]
    assert at == [(40 * BLOCK, 7 * BLOCK), (0, 7 * BLOCK), (7 * BLOCK, 2 * BLOCK)]
    assert disk.read_bytes() == naive(copies)


@given(plans(), st.integers(0, 4))
def test_a_stop_leaves_only_free_blocks_changed(
    disk: Path, copies: list[Copy], batches: int
) -> None:
    class Stops(Silent):
        left = batches

        def check(self) -> None:
            if not self.left:
                raise Stopped("stop")
            self.left -= 1

    disk.write_bytes(CONTENT)
    with Device(disk, writable=True) as device, contextlib.suppress(Stopped):
        run_copies(device, HOST, BLOCK, copies, Stops())
    found, wanted = disk.read_bytes(), naive(copies)
    for at in range(0, len(found), BLOCK):
        block = slice(at, at + BLOCK)
        assert found[block] in (CONTENT[block], wanted[block])
