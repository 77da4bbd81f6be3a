"""Members that are removed, copied, or have lost what they knew: what the others and they see."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blockrep.agent.exchange import AGAIN_S
from net.lan import LIMIT_S, wait_for
from net.machines import Machine, Machines, machines

pytestmark = pytest.mark.root


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path, 3) as made:
        made.make_group()
        yield made


def members(machine: Machine) -> list[str]:
    return [m["name"] for m in machine.run("group", "show")["group"]["members"]]


def problems(machine: Machine) -> list[Any]:
    return list(machine.run("status", ok=(0, 101))["status"]["problems"])


def test_a_removed_member_is_out_at_once(trio: Machines) -> None:
    first, second, third = trio.all
    second.run("backup", "--mode", "full")
    wait_for("all three", lambda: members(first) == ["m1", "m2", "m3"])
    first.run("group", "remove", "m2")
    assert members(first) == ["m1", "m3"]
    # The first had approved it: the third need not agree, it has only to hear of it.
    wait_for("the third to know", lambda: members(third) == ["m1", "m3"])
    refused = second.run("backup", "--mode", "full", ok=(93, 102))
    assert "m1 does not know this machine as a member" in str(refused)
    held = first.run("status", ok=(0, 101))["status"]["held"]
    assert [(s["owner"], s["epoch"]) for s in held if s["owner"]] == [("m2", 1)]


@pytest.mark.slow
def test_a_copy_of_a_machine_is_told_everywhere(trio: Machines) -> None:
    first, second, third = trio.all
    third.stop()
    second.stop()
    # The third machine's disk becomes a copy of the second's, keys and all.
    shutil.copyfile(second.images[0], third.images[0])
    shutil.rmtree(third.folder / "state")
    shutil.copytree(second.folder / "state", third.folder / "state")
    third.name = "m2"
    second.start()
    third.start()
    copied = "this machine's key"
    # At the latest when the one that was first asks again, as the third machine does not answer.
    wait_for(
        "one of them to notice",
        lambda: copied in second.log or copied in third.log,
        AGAIN_S + LIMIT_S,
    )
    found = [m for m in (second, third) if copied in m.log]
    assert any(copied in problem for problem in problems(found[0]))
    assert "m1" in members(first)


def test_an_old_state_folder_is_brought_up_to_date(trio: Machines) -> None:
    first, second, _ = trio.all
    second.stop()
    old = second.folder / "old"
    shutil.copytree(second.folder / "state", old)
    second.start()
    second.run("group", "recovery-key", "--recovery-key-file", second.folder / "another-key")
    second.stop()
    shutil.rmtree(second.folder / "state")
    old.rename(second.folder / "state")
    second.start()
    # It signs again, with a counter that its disk remembers: nobody takes it for two machines.
    second.run("group", "recovery-key", "--recovery-key-file", second.folder / "third-key")
    wait_for("them to agree", lambda: members(second) == members(first) == ["m1", "m2", "m3"])
    second.run("backup", "--mode", "full")
    for machine in trio.all:
        assert "two machines" not in machine.log
        assert "this machine's key" not in machine.log


def test_a_lost_state_folder_comes_back_with_a_code(trio: Machines) -> None:
    first, second, _ = trio.all
    wait_for("the second to know all", lambda: members(second) == ["m1", "m2", "m3"])
    second.stop()
    shutil.rmtree(second.folder / "state")
    second.start()
    assert any("group invite" in problem for problem in problems(second))
    code = first.run("group", "invite")["invitation"]["code"]
    document = second.run("group", "join", code)
    assert "recovery_key" not in document
    assert members(second) == ["m1", "m2", "m3"]
    second.run("backup", "--mode", "full")
    for machine in trio.all:
        assert "two machines" not in machine.log
        assert "this machine's key" not in machine.log
