"""An undivide of a disk that is in a group: the plan says what is lost, and the keys are gone."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from group_builders import GROUP, identity

from blockrep.disk.area import find_area
from blockrep.disk.device import Device
from blockrep.disk.table import read_table
from blockrep.divide.commit import commit_plan
from blockrep.divide.plan import plan_divide
from blockrep.divide.summary import DivideRequest, Join, UndivideRequest
from blockrep.divide.undivide import plan_undivide
from blockrep.errors import AlreadyDivided
from blockrep.group.identity import area_keys, new_device_keys
from blockrep.group.key_record import put_keys
from blockrep.progress import Silent

REQUEST = DivideRequest(32 * MIB, 2, None, False, Join.JOIN, None, None)
KEYS = area_keys(
    identity(1),
    new_device_keys(),
    group_id=GROUP,
    group_name="home",
    member_name="m1",
    joined_s=1,
    wrap_key=b"w" * 32,
)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "disk.img", 64 * MIB)
    table = "label: gpt\nstart=2048, size=32768, type=L\n"
    subprocess.run(["sfdisk", "-q", path], input=table, text=True, check=True)
    with (
        Device(path, writable=True) as device,
        plan_divide(device, REQUEST, Silent()) as plan,
    ):
        commit_plan(device, plan, Silent())
    return path


def area_start(device: Device) -> int:
    found = find_area(device, read_table(device))
    assert found is not None
    return found[0]


@pytest.mark.parametrize("has_recovery_key", [True, False])
def test_the_plan_says_that_the_keys_go(disk: Path, has_recovery_key: bool) -> None:
    keys = KEYS if has_recovery_key else replace(KEYS, wrap_key=bytes(32))
    with Device(disk, writable=True) as device:
        with plan_undivide(device, UndivideRequest(), Silent()) as plan:
            assert not [note for note in plan.summary.notes if "group" in note]
        put_keys(device, area_start(device), keys)
        with plan_undivide(device, UndivideRequest(), Silent()) as plan:
            (note,) = [note for note in plan.summary.notes if "in the group home" in note]
            commit_plan(device, plan, Silent())
    assert ("there is none" in note) is not has_recovery_key
    content = disk.read_bytes()
    assert KEYS.seed not in content
    assert KEYS.data_key not in content


def test_a_divided_disk_with_keys_is_not_divided_again(disk: Path) -> None:
    with Device(disk, writable=True) as device:
        put_keys(device, area_start(device), KEYS)
        with pytest.raises(AlreadyDivided), plan_divide(device, REQUEST, Silent()):
            pass
        found = find_area(device, read_table(device))
    assert found is not None
    assert found[1].keys == KEYS
