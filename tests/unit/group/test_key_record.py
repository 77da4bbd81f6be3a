"""Keys in the area record of a real (image) disk, and the counter that is never given out twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from disks import sparse_file
from examples import AREA
from group_builders import GROUP, identity

from blockrep.disk.area import (
    SLOT_OFFSETS,
    area_writes,
    build_area,
    fresh_area_writes,
    parse_area,
    read_area,
)
from blockrep.disk.area_keys import KEYS_BYTES, AreaKeys, build_keys, parse_keys
from blockrep.disk.device import Device
from blockrep.disk.records import RecordKind, check_known
from blockrep.errors import (
    Interrupted,
    NotAMember,
    NotDivided,
    ProofFailed,
    RecordDamaged,
    RecordUnsupported,
    UsageError,
)
from blockrep.group import key_record
from blockrep.group.identity import area_keys, device_of, identity_of, new_device_keys
from blockrep.group.key_record import change_keys, put_keys, reserve_counter, take_keys

MIB = 1 << 20
START = AREA.area_start_bytes
DEVICE = new_device_keys()
KEYS = area_keys(
    identity(1),
    DEVICE,
    group_id=GROUP,
    group_name="home",
    member_name="Zoë's PC",
    joined_s=1_700_000_000,
    counter=1,
    wrap_key=b"w" * 32,
)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "disk.img", AREA.disk_bytes)
    with Device(path, writable=True) as device:
        for write in fresh_area_writes(AREA):
            device.write(write.offset_bytes, write.data)
        device.flush()
    return path


def test_round_trip() -> None:
    assert parse_keys(build_keys(KEYS)) == KEYS
    with_keys = dataclasses.replace(AREA, keys=KEYS)
    assert parse_area(build_area(with_keys)) == with_keys
    assert (identity_of(KEYS), device_of(KEYS)) == (identity(1), DEVICE)
    bare = dataclasses.replace(KEYS, encrypted=False, certificate=b"")
    assert parse_keys(build_keys(bare)) == bare


def test_an_older_blockrep_stops_at_a_record_with_keys() -> None:
    """It would rewrite the record without them."""
    record = build_area(dataclasses.replace(AREA, keys=KEYS))
    with pytest.raises(RecordUnsupported):
        check_known(RecordKind("area record", b"BLKRAREA", 65536), record)


def test_keys_are_left_out_of_what_is_printed() -> None:
    for secret in (KEYS.seed, KEYS.data_key, KEYS.wrap_key):
        assert repr(secret) not in repr(dataclasses.replace(AREA, keys=KEYS))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": b""},
        {"data_key": b"x"},
        {"member_name": "x" * 65},
        {"member_name": "a\n"},
        {"counter": 1 << 53},
        {"counter": -1},
        {"certificate": bytes(1025)},
    ],
)
def test_what_does_not_fit(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        build_keys(dataclasses.replace(KEYS, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("at", "value"), [(198, 0xFF), (208, 0xFF), (208, 10), (342, 0xFF)])
def test_bytes_that_make_no_sense(at: int, value: int) -> None:
    data = bytearray(build_keys(KEYS))
    data[at] = value
    with pytest.raises(RecordDamaged):
        parse_keys(bytes(data))


def test_keys_that_do_not_belong_together() -> None:
    for changes in ({"key": identity(2).key}, {"seed": bytes(32)}, {"certificate": b"x"}):
        with pytest.raises(RecordDamaged, match="belong together"):
            identity_of(dataclasses.replace(KEYS, **changes))


def put(disk: Path) -> None:
    with Device(disk, writable=True) as device:
        put_keys(device, START, KEYS)


def held(disk: Path) -> AreaKeys | None:
    with Device(disk) as device:
        area = read_area(device, START)
    assert area is not None
    return area.keys


def test_in_and_out(disk: Path) -> None:
    put(disk)
    assert held(disk) == KEYS
    with Device(disk, writable=True) as device:
        with pytest.raises(UsageError, match="home"):
            put_keys(device, START, KEYS)
        take_keys(device, START)
    assert held(disk) is None
    content = disk.read_bytes()
    for secret in (KEYS.seed, KEYS.data_key, KEYS.wrap_key):
        assert secret not in content


def test_everything_else_of_the_record_stays(disk: Path) -> None:
    put(disk)
    with Device(disk) as device:
        area = read_area(device, START)
    assert area == dataclasses.replace(AREA, generation=2, keys=KEYS)


def test_a_counter_is_given_out_once(disk: Path) -> None:
    put(disk)
    with Device(disk, writable=True) as device:
        assert reserve_counter(device, START, 0) == 2
        assert reserve_counter(device, START, 2) == 3
        assert reserve_counter(device, START, 50) == 50
    with Device(disk, writable=True) as device:
        assert reserve_counter(device, START, 0) == 51
        # Keys written by somebody who remembers an older counter do not take it back.
        change_keys(device, START, dataclasses.replace(KEYS, wrap_key=bytes(32)))
        assert reserve_counter(device, START, 0) == 52
    assert held(disk) == dataclasses.replace(KEYS, counter=52, wrap_key=bytes(32))


def test_a_counter_that_somebody_else_used_up(disk: Path) -> None:
    put(disk)
    with Device(disk, writable=True) as device:
        assert reserve_counter(device, START, (1 << 53) - 1) == (1 << 53) - 1
        with pytest.raises(NotAMember, match="used up"):
            reserve_counter(device, START, 0)


class Watched(Device):
    """Records the order of writes and flushes; a write can be torn."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, writable=True)
        self.log: list[str] = []
        self.torn = False

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        self.log.append(f"write {offset_bytes - START}")
        super().write(offset_bytes, data[: 16 << 10] if self.torn else data)

    def flush(self) -> None:
        self.log.append("flush")
        super().flush()


def test_the_counter_is_on_the_disk_before_it_is_given_out(disk: Path) -> None:
    put(disk)
    with Watched(disk) as device:
        reserve_counter(device, START, 0)
        assert device.log == [f"write {SLOT_OFFSETS[1]}", "flush"]


def test_a_torn_update_gives_nothing_out_and_loses_nothing(disk: Path) -> None:
    put(disk)
    with Watched(disk) as device:
        device.torn = True
        with pytest.raises(ProofFailed):
            reserve_counter(device, START, 0)
    assert held(disk) == KEYS


def test_a_disk_that_is_not_divided_or_in_no_group(tmp_path: Path, disk: Path) -> None:
    empty = sparse_file(tmp_path / "empty.img", AREA.disk_bytes)
    with Device(empty, writable=True) as device, pytest.raises(NotDivided):
        put_keys(device, START, KEYS)
    with Device(disk, writable=True) as device, pytest.raises(UsageError, match="no group"):
        reserve_counter(device, START, 0)


def test_not_before_an_interrupted_divide_is_finished(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finishing it writes the whole area anew: the keys would be gone."""

    def interrupted(device: Device) -> None:
        raise Interrupted("x")

    monkeypatch.setattr(key_record, "refuse_interrupted", interrupted)
    with pytest.raises(Interrupted):
        put(disk)
    assert held(disk) is None


def test_the_table_has_no_holes() -> None:
    """Offsets of docs/area-format.md."""
    data = build_keys(KEYS)
    assert len(data) == KEYS_BYTES
    assert data[0:16] == GROUP
    assert data[16:48] == identity(1).seed
    assert data[48:80] == identity(1).key
    assert data[80:96] == DEVICE.device_id
    assert data[96:160] == DEVICE.data_key
    assert data[160:192] == b"w" * 32
    assert int.from_bytes(data[192:200], "little") == 1
    assert int.from_bytes(data[200:208], "little") == 1_700_000_000
    assert data[208:272].rstrip(b"\0").decode() == "Zoë's PC"
    assert data[272:336].rstrip(b"\0") == b"home"
    assert int.from_bytes(data[336:340], "little") == 1
    length = int.from_bytes(data[340:344], "little")
    assert data[344 : 344 + length] == identity(1).certificate
    assert not any(data[344 + length :])
    assert area_writes(AREA)
