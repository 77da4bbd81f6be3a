"""One machine with two disks in two groups: two members, each with its own key and document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from net.lan import wait_for
from net.machines import COMMAND_S, Machine, Machines, machines

pytestmark = pytest.mark.root


@pytest.fixture
def between(tmp_path: Path) -> Iterator[Machines]:
    """The first machine is in `left` with the second, and in `right` with the third."""
    with machines(tmp_path, 3, disks=2) as made:
        first, second, third = made.all
        for group, other, disk in (("left", second, 0), ("right", third, 1)):
            words = ("--device", first.disks[disk])
            first.run(
                "group", "create", group, *words, "--recovery-key-file", key_file(first, group)
            )
            bring_in(first, other, group)
        yield made


def key_file(machine: Machine, group: str) -> Path:
    return machine.folder / f"key-{group}"


def bring_in(member: Machine, joiner: Machine, group: str) -> None:
    code = member.run("group", "invite", "--group", group)["invitation"]["code"]
    words = ("--device", joiner.disks[0], "--recovery-key-file", key_file(joiner, group))
    with joiner.spawn("group", "join", code, *words) as joining:

        def waiting() -> list[dict[str, str]]:
            found = member.run("group", "show", "--group", group)["group"]["waiting"]
            return list(found)

        wait_for(f"{joiner.name} at the door", waiting)
        member.run("group", "approve", waiting()[0]["key"], "--yes", "--group", group)
        shown, said = joining.communicate(timeout=COMMAND_S)
        assert joining.returncode == 0, f"{shown}{said}\n{joiner.log}\n{member.log}"


def test_each_disk_is_backed_up_in_its_group(between: Machines) -> None:
    first, second, third = between.all
    for other, group in ((second, "left"), (third, "right")):
        shown = first.run("group", "show", "--group", group)["group"]
        assert [m["name"] for m in shown["members"]] == ["m1", other.name]
        assert other.run("group", "show")["group"]["id"] == shown["id"]
    keys = {
        m["key"]
        for group in ("left", "right")
        for m in first.run("group", "show", "--group", group)["group"]["members"]
        if m["me"]
    }
    assert len(keys) == 2
    for disk, other, group in ((0, second, "left"), (1, third, "right")):
        words = (first.disks[disk], "--group", group, "--mode", "full")
        backup = first.run("backup", *words)["backup"]
        assert [(h["name"], h["committed"]) for h in backup["holders"]] == [(other.name, True)]


def test_a_recovery_key_finds_its_group_at_a_holder_that_is_in_two(between: Machines) -> None:
    first, second, third = between.all
    for owner, group in ((second, "left"), (third, "right")):
        owner.run("backup", "--mode", "full")
        taken = owner.run(
            *("takeover", owner.name, "--from", f"{first.address}:7317"),
            *("--recovery-key-file", key_file(owner, group)),
        )["takeover"]
        assert taken["owner"] == owner.name
        assert any(first.name in line for line in taken["lines"])
