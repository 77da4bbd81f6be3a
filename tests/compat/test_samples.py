"""A record of every version ever written is still read, and says the same.

The samples are text: the length, then `offset bytes` in hex for every 32 bytes that are not
all zero. They are never made again; a new version gets a new file.
"""

from __future__ import annotations

from pathlib import Path

from compat import segment_sample
from examples import AREA
from fault.store_oracle import read_segment
from replicas import START, FakeClock, MemoryDisk, read_all

from blockrep.disk.area import build_area, parse_area
from blockrep.segment.geometry import Geometry
from blockrep.segment.header import SegmentHeader, SegmentState, build_header, parse_header
from blockrep.segment.store import Store

MIB = 1 << 20
HERE = Path(__file__).parent

HEADER = SegmentHeader(
    generation=1,
    uuid="00112233-4455-6677-8899-AABBCCDDEEFF",
    instance_id=bytes(range(16)),
    number=3,
    state=SegmentState.UNASSIGNED,
    geometry=Geometry(
        segment_bytes=1024 * MIB,
        map_offset=2 * MIB,
        map_bytes=MIB,
        ring_offset=3 * MIB,
        ring_bytes=103 * MIB,
        data_offset=106 * MIB,
        data_bytes=917 * MIB,
    ),
)


def sample(name: str) -> bytes:
    length, *lines = (HERE / name).read_text().split("\n")
    record = bytearray(int(length))
    for line in filter(None, lines):
        offset, data = line.split(" ")
        record[int(offset, 16) : int(offset, 16) + len(data) // 2] = bytes.fromhex(data)
    return bytes(record)


def test_area_version_1() -> None:
    assert parse_area(sample("area-v1.hex")) == AREA
    assert build_area(AREA) == sample("area-v1.hex")


def test_segment_header_version_1() -> None:
    assert parse_header(sample("segment-v1.hex")) == HEADER
    assert build_header(HEADER) == sample("segment-v1.hex")


def test_segment_with_history_version_1() -> None:
    """An assigned segment with older versions, in the middle of an epoch."""
    raw = sample("segment-history-v1.hex")
    assert segment_sample.build_segment() == raw
    first, second, third, _ = segment_sample.epochs()
    wanted = [(3, third), (2, second), (1, first)]
    assert [(e.number, blocks) for e, blocks in read_segment(raw).epochs] == wanted
    disk = MemoryDisk(bytes(START) + raw + bytes(MIB))
    store = Store.open(disk, START, FakeClock())
    assert store.info.damage is None
    assert store.info.state is SegmentState.APPLYING
    assert store.info.owner_name == "anna"
    for stored, (number, blocks) in zip(store.epochs(), wanted, strict=True):
        assert stored.epoch.number == number
        assert read_all(store, stored.epoch.id, segment_sample.CHUNKS) == blocks
