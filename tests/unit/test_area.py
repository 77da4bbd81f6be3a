"""The area: its record, its two slots, and how it is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from disks import sparse_file
from examples import AREA

from blockrep.cli.parser import MAX_PEERS
from blockrep.disk.area import (
    AREA_BYTES,
    AREA_TYPE,
    MAX_SEGMENTS,
    SLOT_OFFSETS,
    Area,
    area_writes,
    bare_area_start,
    build_area,
    find_area,
    fresh_area_writes,
    parse_area,
    read_area,
)
from blockrep.disk.device import Device
from blockrep.disk.records import seal_record
from blockrep.disk.table import Partition, Table, TableKind
from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.extents import Extent
from blockrep.programs import run_program

MIB = 1 << 20
DISK = 64 * MIB


def make_area(generation: int = 1, **changes: object) -> Area:
    return dataclasses.replace(AREA, generation=generation, **changes)  # type: ignore[arg-type]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "disk.img", DISK)
    with path.open("r+b") as file:
        file.seek(16 * MIB)
        file.write(b"\xa5" * AREA_BYTES)
    return path


def put(path: Path, area: Area, *, fresh: bool = False) -> None:
    with Device(path, writable=True) as device:
        for write in fresh_area_writes(area) if fresh else area_writes(area):
            device.write(write.offset_bytes, write.data)
        device.flush()


def read(path: Path) -> Area | None:
    with Device(path) as device:
        return read_area(device, 16 * MIB)


def test_round_trip() -> None:
    assert parse_area(build_area(make_area())) == make_area()


def test_no_record_is_none(disk: Path) -> None:
    assert read(disk) is None
    with Device(disk) as device:
        assert read_area(device, DISK - MIB) is None


def test_a_fresh_area_leaves_nothing_of_before(disk: Path) -> None:
    put(disk, make_area(), fresh=True)
    content = disk.read_bytes()[16 * MIB : 20 * MIB]
    assert b"\xa5" * 8 not in content
    assert read(disk) == make_area()


def test_the_higher_generation_wins_and_the_other_slot_is_written(disk: Path) -> None:
    put(disk, make_area(), fresh=True)
    put(disk, make_area(2, first_end_bytes=14 * MIB))
    put(disk, make_area(3, first_end_bytes=13 * MIB))
    assert read(disk) == make_area(3, first_end_bytes=13 * MIB)
    before = {w.offset_bytes for w in area_writes(make_area(3))}
    assert before.isdisjoint(w.offset_bytes for w in area_writes(make_area(4)))


@pytest.mark.parametrize("kept_bytes", [0, 512, 4096, 20000])
def test_a_torn_update_leaves_the_record_before(disk: Path, kept_bytes: int) -> None:
    put(disk, make_area(), fresh=True)
    (update,) = area_writes(make_area(2))
    with disk.open("r+b") as file:
        file.seek(update.offset_bytes)
        file.write(update.data[:kept_bytes].ljust(512, b"\0"))
    assert read(disk) == make_area()


def test_damaged_in_both_places(disk: Path) -> None:
    put(disk, make_area(), fresh=True)
    with disk.open("r+b") as file:
        file.seek(16 * MIB + SLOT_OFFSETS[1] + 70)
        file.write(b"\xff")
    with pytest.raises(RecordDamaged, match="both"):
        read(disk)


@pytest.mark.parametrize(("offset", "value"), [(8, 2), (20, 2)])
def test_what_is_newer_is_refused_and_not_passed_by(disk: Path, offset: int, value: int) -> None:
    put(disk, make_area(), fresh=True)
    record = bytearray(build_area(make_area(2)))
    record[offset] = value
    with disk.open("r+b") as file:
        file.seek(16 * MIB + SLOT_OFFSETS[0])
        file.write(seal_record(record))
    with pytest.raises(RecordUnsupported) as caught:
        read(disk)
    assert caught.value.hint


def test_unknown_compatible_flags_do_not_matter() -> None:
    record = bytearray(build_area(make_area()))
    record[16] = 0xFF
    assert parse_area(seal_record(record)) == make_area()


@pytest.mark.parametrize(
    "changes",
    [
        {"sector_bytes": 513},
        {"divider_bytes": 17 * MIB},
        {"first_end_bytes": 17 * MIB},
        {"disk_bytes": 50 * MIB},
        {"first_end_bytes": 15 * MIB + 1},
        {"reserve": Extent(30 * MIB, MIB)},
        {"host_old_blocks": 1 << 40},
        {"segments": make_area().segments[::-1]},
        {"changed": make_area().changed * 2},
    ],
)
def test_values_that_contradict_each_other(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        build_area(make_area(**changes))


def test_a_sealed_record_that_makes_no_sense_is_damaged() -> None:
    record = bytearray(build_area(make_area()))
    record[136:140] = (MAX_SEGMENTS + 1).to_bytes(4, "little")
    with pytest.raises(RecordDamaged):
        parse_area(seal_record(record))
    record[136:140] = (3).to_bytes(4, "little")
    with pytest.raises(RecordDamaged):
        parse_area(seal_record(record))


def table(kind: TableKind, *partitions: Partition) -> Table:
    return Table(kind, 512, DISK, "", partitions, MIB, DISK)


def test_found_by_type_on_gpt(disk: Path) -> None:
    put(disk, make_area(), fresh=True)
    other = Partition(1, MIB, 15 * MIB, "0FC63DAF-8483-4772-8E79-3D69D8477DE4")
    mine = Partition(2, 16 * MIB, AREA_BYTES, AREA_TYPE)
    with Device(disk) as device:
        assert find_area(device, table(TableKind.GPT, other)) is None
        assert find_area(device, table(TableKind.GPT, other, mine)) == (16 * MIB, make_area())


def test_found_by_record_on_mbr(disk: Path) -> None:
    put(disk, make_area(), fresh=True)
    strange = Partition(5, 8 * MIB, AREA_BYTES, "da")
    mine = Partition(6, 16 * MIB, AREA_BYTES, "da")
    with Device(disk) as device:
        assert find_area(device, table(TableKind.MBR, strange)) is None
        assert find_area(device, table(TableKind.MBR, strange, mine)) == (16 * MIB, make_area())


def test_found_at_the_end_without_a_table(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "bare.img", DISK + 70000)
    start = bare_area_start(DISK + 70000)
    assert start == DISK - AREA_BYTES
    area = make_area(
        table_kind=TableKind.NONE, area_start_bytes=start, segments=(), disk_bytes=DISK + 70000
    )
    put(path, area, fresh=True)
    with Device(path) as device:
        assert find_area(device, table(TableKind.NONE)) == (start, area)


def test_nothing_is_probed_in_an_area(tmp_path: Path) -> None:
    path = tmp_path / "area.img"
    path.write_bytes(bytes(AREA_BYTES))
    with path.open("r+b") as file:
        for slot in SLOT_OFFSETS:
            file.seek(slot)
            file.write(build_area(make_area()))
    probed = run_program(["blkid", "-p", str(path)], timeout_s=30)
    assert (probed.returncode, probed.stdout) == (2, "")


def test_the_command_line_knows_how_many_segments_there_can_be() -> None:
    assert MAX_PEERS == MAX_SEGMENTS
