"""A segment's regions, its headers, and the writes that make a new one."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockrep.disk.records import seal_record
from blockrep.divide.layout import SegmentPlan
from blockrep.errors import DoesNotFit, RecordDamaged, RecordUnsupported, UsageError
from blockrep.programs import run_program
from blockrep.segment.geometry import (
    MIB,
    geometry_for,
    map_bytes_for,
    plan_geometry,
    smallest_ring,
)
from blockrep.segment.header import (
    GUARD_PAGE_OFFSET,
    HEADER_BYTES,
    SLOT_OFFSETS,
    TRAILER_FROM_END,
    SegmentHeader,
    SegmentState,
    build_header,
    parse_header,
    parse_slots,
    segment_writes,
)

GIB = 1 << 30


def make_header(generation: int = 1) -> SegmentHeader:
    return SegmentHeader(
        generation=generation,
        uuid="00112233-4455-6677-8899-AABBCCDDEEFF",
        instance_id=bytes(range(16)),
        number=3,
        state=SegmentState.UNASSIGNED,
        geometry=plan_geometry(GIB),
    )


def test_the_default_geometry_of_a_gibibyte() -> None:
    g = plan_geometry(GIB)
    assert g.map_offset == 2 * MIB
    assert g.map_bytes == MIB
    assert g.ring_bytes == 103 * MIB
    assert g.data_offset == 106 * MIB
    assert g.data_bytes == (1024 - 106 - 1) * MIB


def test_the_smallest_segment() -> None:
    g = plan_geometry(8 * MIB)
    assert (g.ring_bytes, g.data_bytes) == (2 * MIB, 2 * MIB)
    with pytest.raises(DoesNotFit):
        plan_geometry(7 * MIB)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan"), float("inf")])
def test_impossible_shares(share: float) -> None:
    with pytest.raises(UsageError):
        plan_geometry(GIB, share)


def test_a_share_that_leaves_no_data() -> None:
    with pytest.raises(DoesNotFit):
        plan_geometry(GIB, 0.999)


def test_no_share_is_the_smallest_ring() -> None:
    assert plan_geometry(GIB, 0).ring_bytes == smallest_ring(GIB) == 16 * MIB


@pytest.mark.parametrize("segment_bytes", [64 * MIB, GIB, 100 * GIB, 10_000 * GIB])
def test_history_gives_way_to_the_data_that_is_wanted(segment_bytes: int) -> None:
    most = plan_geometry(segment_bytes).data_bytes
    least = plan_geometry(segment_bytes, 0).data_bytes
    assert geometry_for(segment_bytes, 0) == plan_geometry(segment_bytes)
    wanted = (most + least) // 2
    found = geometry_for(segment_bytes, wanted)
    assert wanted <= found.data_bytes < wanted + 3 * MIB
    assert geometry_for(segment_bytes, segment_bytes).data_bytes == least


def test_the_map_has_an_entry_for_each_chunk() -> None:
    assert map_bytes_for(65536 * 102 * 256) == MIB
    assert map_bytes_for(65536 * 102 * 256 + 1) == 2 * MIB


def test_header_round_trip() -> None:
    assert parse_header(build_header(make_header())) == make_header()


def test_the_newest_header_counts() -> None:
    old, new = build_header(make_header(1)), build_header(make_header(2))
    assert parse_slots((new, old)) == make_header(2)
    assert parse_slots((new[:100] + bytes(HEADER_BYTES - 100), old)) == make_header(1)
    assert parse_slots((bytes(HEADER_BYTES), bytes(HEADER_BYTES))) is None
    with pytest.raises(RecordDamaged):
        parse_slots((new[:100] + bytes(HEADER_BYTES - 100), bytes(HEADER_BYTES)))


@pytest.mark.parametrize("offset", [8, 20, 68, 128])
def test_what_is_newer_is_refused(offset: int) -> None:
    record = bytearray(build_header(make_header()))
    record[offset] += 4
    with pytest.raises(RecordUnsupported):
        parse_header(seal_record(record))


@pytest.mark.parametrize("offset", [20, 68])
def test_assigned_in_one_place_only(offset: int) -> None:
    record = bytearray(build_header(make_header()))
    record[offset] = 1
    with pytest.raises(RecordDamaged):
        parse_header(seal_record(record))


@pytest.mark.parametrize("offset", [72, 80, 96, 104, 120])
def test_regions_that_contradict_each_other(offset: int) -> None:
    record = bytearray(build_header(make_header()))
    record[offset + 3] += 1
    with pytest.raises(RecordDamaged):
        parse_header(seal_record(record))


def test_a_new_segment_has_nothing_to_probe(tmp_path: Path) -> None:
    length, start = 32 * MIB, 8 * MIB
    g = plan_geometry(length)
    plan = SegmentPlan(1, start, length, g.data_bytes, g.ring_bytes, make_header().uuid)
    disk = bytearray(b"\xa5" * (start + length + MIB))
    for write in segment_writes(plan, bytes(16)):
        disk[write.offset_bytes : write.end_bytes] = write.data
    assert disk[:start].count(0xA5) == start
    assert disk[start + length :].count(0xA5) == MIB
    segment = bytes(disk[start : start + length])
    for quiet in (segment[: 2 * MIB], segment[-MIB:], segment[GUARD_PAGE_OFFSET:][:4096]):
        assert b"\xa5\xa5\xa5\xa5" not in quiet
    header = parse_slots(tuple(segment[at : at + HEADER_BYTES] for at in SLOT_OFFSETS))  # type: ignore[arg-type]
    trailer = parse_header(segment[-TRAILER_FROM_END:][:HEADER_BYTES])
    assert header == trailer
    assert header is not None
    assert header.geometry == g
    path = tmp_path / "segment.img"
    path.write_bytes(segment)
    probed = run_program(["blkid", "-p", str(path)], timeout_s=30)
    assert (probed.returncode, probed.stdout) == (2, "")
