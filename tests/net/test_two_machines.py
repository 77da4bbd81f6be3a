"""Two machines: a group, a backup, and what the commands say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from net.machines import Machines, machines

pytestmark = pytest.mark.root


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path, 2) as made:
        made.make_group()
        yield made


def test_both_know_the_group(pair: Machines) -> None:
    for machine in pair.all:
        group = machine.run("group", "show")["group"]
        assert [member["name"] for member in group["members"]] == ["m1", "m2"]
        assert all(member["recovery"] for member in group["members"])
        assert all(len(member["devices"]) == 1 for member in group["members"])
        assert group["waiting"] == []


def test_a_backup_is_done_when_its_holder_has_signed(pair: Machines) -> None:
    first, second = pair.all
    backup = first.run("backup", "--mode", "full")["backup"]
    assert backup["epoch"] == 1
    assert backup["consistent"]
    assert [(h["name"], h["committed"]) for h in backup["holders"]] == [("m2", True)]
    assert backup["stored_bytes"] < backup["holders"][0]["sent_bytes"]
    held = second.run("status", ok=(101,))["status"]["held"]
    assert [(s["owner"], s["epoch"]) for s in held if s["owner"]] == [("m1", 1)]
