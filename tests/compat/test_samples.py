"""A record of every version ever written is still read, and says the same.

The samples are text: the length, then `offset bytes` in hex for every 32 bytes that are not
all zero. They are never made again; a new version gets a new file.
"""

from __future__ import annotations

from pathlib import Path

from examples import AREA

from blockrep.disk.area import build_area, parse_area
from blockrep.segment.geometry import Geometry
from blockrep.segment.header import SegmentHeader, SegmentState, build_header, parse_header

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
