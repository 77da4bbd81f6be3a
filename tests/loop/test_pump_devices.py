"""The pump on block devices: large sectors, ends that are not on a block, a disk behind a file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from random import Random

import pytest
from loops import loop_device

from blockrep import chunks
from blockrep.errors import DeviceIO
from blockrep.extents import Extent, round_up
from blockrep.pump import Pump

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.mark.parametrize("direct", [0, os.O_DIRECT], ids=["buffered", "direct"])
@pytest.mark.parametrize(
    ("sector_bytes", "size"),
    [(512, 2 * MIB + 7 * 512), (512, MIB + 512), (512, 4096 + 512), (4096, 2 * MIB + 4096)],
)
def test_the_end_of_a_device(tmp_path: Path, direct: int, sector_bytes: int, size: int) -> None:
    disk = Random(size).randbytes(size)
    image = tmp_path / "disk.img"
    image.write_bytes(disk)
    new_map = bytearray(chunks.empty_pages(0, chunks.map_pages(size)))
    used = [Extent(0, round_up(size, 4096))]
    with loop_device(image, read_only=True, sector_bytes=sector_bytes) as node:
        fd = os.open(node, os.O_RDONLY | direct)
        with Pump(fd, size, used, None, new_map) as pump:
            os.close(fd)
            stored = b"".join(bytes(batch.blocks) for batch in pump)
    assert stored == disk + bytes(round_up(size, 4096) - size)
    chunk = chunks.chunk_count(size) - 1
    last = stored[chunk * chunks.CHUNK_BYTES :]
    mask = (1 << len(last) // 4096) - 1
    digest = hashlib.sha256(mask.to_bytes(2, "little") + last).digest()
    assert chunks.get_entry(new_map, 0, chunk) == (mask, 0, digest)


def test_a_device_that_is_shorter_than_its_content(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(Random(1).randbytes(3 * MIB + 512))
    size = 4 * MIB
    new_map = bytearray(chunks.empty_pages(0, chunks.map_pages(size)))
    with loop_device(image, read_only=True) as node:
        fd = os.open(node, os.O_RDONLY | os.O_DIRECT)
        with Pump(fd, size, [Extent(0, size)], None, new_map) as pump:
            os.close(fd)
            assert [next(pump).first_chunk for _ in range(3)] == [0, 16, 32]
            with pytest.raises(DeviceIO, match=f"{node} ends at byte {3 * MIB + 512}, before"):
                next(pump)


def test_a_disk_that_loses_its_sectors(tmp_path: Path) -> None:
    """The file behind the device was cut: the kernel says EIO, and where."""
    image = tmp_path / "disk.img"
    size = 4 * MIB
    image.write_bytes(Random(1).randbytes(size))
    new_map = bytearray(chunks.empty_pages(0, chunks.map_pages(size)))
    with loop_device(image, read_only=True) as node:
        os.truncate(image, 2 * MIB + 5 * 4096)
        fd = os.open(node, os.O_RDONLY | os.O_DIRECT)
        with Pump(fd, size, [Extent(0, size)], None, new_map) as pump:
            os.close(fd)
            assert [next(pump).first_chunk for _ in range(2)] == [0, 16]
            with pytest.raises(DeviceIO, match=f"{node}: cannot read at byte {2 * MIB + 5 * 4096}"):
                next(pump)
