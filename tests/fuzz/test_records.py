"""Random and mutated bytes: the parsers of records fail only as documented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockrep.disk.area import Area, build_area, parse_area
from blockrep.disk.records import seal_record
from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.segment.header import SegmentHeader, build_header, parse_header, parse_slots

COMPAT = Path(__file__).parent.parent / "compat"


def sample(name: str) -> bytes:
    """Lines of `offset bytes` in hex; the first line is the length. All else is zero."""
    length, *lines = (COMPAT / name).read_text().split("\n")
    record = bytearray(int(length))
    for line in filter(None, lines):
        offset, data = line.split(" ")
        record[int(offset, 16) : int(offset, 16) + len(data) // 2] = bytes.fromhex(data)
    return bytes(record)


AREA, HEADER = sample("area-v1.hex"), sample("segment-v1.hex")
AREA_WITH_KEYS = sample("area-keys-v1.hex")

Parser = Callable[[bytes], Area | SegmentHeader | None]


def try_parse(parse: Parser, data: bytes) -> Area | SegmentHeader | None:
    try:
        return parse(data)
    except (RecordDamaged, RecordUnsupported) as error:
        assert error.message
        return None


@pytest.mark.parametrize("parse", [parse_area, parse_header])
@given(data=st.binary(max_size=5000))
def test_random_bytes(parse: Parser, data: bytes) -> None:
    assert try_parse(parse, data) is None


def mutate(record: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(record)
    for offset, value in changes:
        changed[offset % len(record)] = value
    return seal_record(changed)


CHANGES = st.lists(
    st.tuples(
        st.one_of(st.integers(8, 160), st.integers(4096, 5000), st.integers(20480, 20800)),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=500)
@given(CHANGES)
def test_a_mutated_area_with_a_right_checksum(changes: list[tuple[int, int]]) -> None:
    area = try_parse(parse_area, mutate(AREA, changes))
    if isinstance(area, Area):
        assert parse_area(build_area(area)) == area
        assert all(s.end_bytes <= area.disk_bytes for s in area.segments)


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(28672, 30800), st.integers(0, 255)), min_size=1, max_size=9))
def test_mutated_keys_with_a_right_checksum(changes: list[tuple[int, int]]) -> None:
    area = try_parse(parse_area, mutate(AREA_WITH_KEYS, changes))
    if isinstance(area, Area):
        assert area.keys is not None
        assert parse_area(build_area(area)) == area


@settings(max_examples=500)
@given(CHANGES)
def test_a_mutated_header_with_a_right_checksum(changes: list[tuple[int, int]]) -> None:
    header = try_parse(parse_header, mutate(HEADER, changes))
    if isinstance(header, SegmentHeader):
        assert parse_header(build_header(header)) == header


@given(st.binary(max_size=4096), st.integers(0, 4095), st.integers(0, 255))
def test_slots_of_anything(rest: bytes, offset: int, value: int) -> None:
    changed = bytearray(HEADER)
    changed[offset] = value
    other = rest.ljust(4096, b"\0")
    for slots in ((bytes(changed), other), (other, bytes(changed))):
        try_parse(lambda _, slots=slots: parse_slots(slots), b"")  # type: ignore[misc]
