"""What is planned laid over what is there, against really writing it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrep.disk.device import Device
from blockrep.disk.writes import Stage, Write
from blockrep.divide.overlay import Overlay

SIZE, SECTOR = 64 * 512, 512
CONTENT = random.Random(2).randbytes(SIZE)

writes = st.builds(
    lambda at, count, fill: Write(at * SECTOR, bytes([fill]) * (min(count, 64 - at) * SECTOR)),
    st.integers(0, 63),
    st.integers(1, 20),
    st.integers(0, 255),
)
stages = st.lists(
    st.builds(Stage, st.just("x"), st.lists(writes, max_size=4).map(tuple)), max_size=4
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("overlay") / "disk.img"
    path.write_bytes(CONTENT)
    return path


@given(stages, st.integers(0, SIZE), st.integers(0, SIZE))
def test_it_reads_as_if_written(disk: Path, planned: list[Stage], at: int, end: int) -> None:
    wanted = bytearray(CONTENT)
    for stage in planned:
        for write in stage.writes:
            wanted[write.offset_bytes : write.end_bytes] = write.data
    at, end = min(at, end), max(at, end)
    with Device(disk) as device:
        overlay = Overlay(device, planned)
        assert overlay.read(at, end - at) == wanted[at:end]
        assert (overlay.size_bytes, overlay.sector_bytes) == (SIZE, SECTOR)
    assert disk.read_bytes() == CONTENT
