"""What is granted and denied at one machine, as the others meet it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from net.lan import wait_for
from net.machines import COMMAND_S, Machine, Machines, bring_in, machines

pytestmark = pytest.mark.root


@contextlib.contextmanager
def a_chain(folder: Path) -> Iterator[Machines]:
    """The first has let the second in, and the second the third."""
    with machines(folder, 3) as made:
        first, second, third = made.all
        first.run("group", "create", "test", "--recovery-key-file", first.key_file)
        bring_in(first, second)
        bring_in(second, third)
        for machine in made.all:
            wait_for("all three", lambda m=machine: members(m) == ["m1", "m2", "m3"])  # type: ignore[misc]
        second.run("backup", "--mode", "full")
        yield made


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Machines]:
    with a_chain(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def kept_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """One for the tests that leave it as it was, and for a last one."""
    with a_chain(tmp_path_factory.mktemp("grants")) as made:
        yield made


def members(machine: Machine) -> list[str]:
    return [m["name"] for m in group(machine)["members"]]


def group(machine: Machine) -> dict[str, Any]:
    shown: dict[str, Any] = machine.run("group", "show")["group"]
    return shown


def test_denied_and_allowed_again(kept_chain: Machines) -> None:
    first, second, third = kept_chain.all
    denied = first.run("group", "deny", "m2", "write", "restore")["grants"]["denied"]
    assert [(row["owner"], row["act"]) for row in denied] == [("m2", "restore"), ("m2", "write")]
    backup = second.run("backup", "--mode", "full", ok=(102,))["backup"]
    reasons = {h["name"]: h["reason"] for h in backup["holders"] if not h["committed"]}
    assert "no right to write" in reasons["m1"]
    assert list(reasons) == ["m1"]
    assert any("no right to read" in text for text in history(second)["unreachable"])
    # What was decided outlives the agent.
    first.stop()
    first.start()
    assert group(first)["grants"]["denied"] == denied
    assert first.run("group", "allow", "m2", "write", "restore")["grants"]["denied"] == []
    second.run("backup", "--mode", "full")
    assert history(second)["unreachable"] == []
    assert first.run("group", "allow", "m2", "write", ok=(2,))
    assert first.run("group", "deny", "m1", "write", ok=(2,))
    assert first.run("group", "deny", "nobody", "write", ok=(110,))
    first.run("group", "deny", "m3", "assign")
    backup = third.run("backup", ok=(102,))["backup"]
    reasons = {h["name"]: h["reason"] for h in backup["holders"] if not h["committed"]}
    assert "denied at this machine" in reasons["m1"]
    first.run("group", "allow", "m3", "assign")


def history(machine: Machine) -> dict[str, Any]:
    shown: dict[str, Any] = machine.run("history", "m2")["history"]
    return shown


def test_a_grant_to_restore(kept_chain: Machines) -> None:
    first, _, third = kept_chain.all
    assert any(text.startswith("m1: ") for text in history(third)["unreachable"])
    granted = first.run("group", "grant", "m3", "restore", "m2")["grants"]["restore"]
    assert [(row["member"], row["owner"]) for row in granted] == [("m3", "m2")]
    found = history(third)
    assert [text[:2] for text in found["unreachable"]] == ["m2"]  # has granted nothing itself
    assert sorted(found["devices"][0]["epochs"][0]["holders"]) == ["m1", "m3"]
    first.run("group", "withdraw", "m3", "restore", "m2")
    assert any(text.startswith("m1: ") for text in history(third)["unreachable"])
    assert first.run("group", "withdraw", "m3", "restore", "m2", ok=(2,))
    assert first.run("group", "grant", "m3", "restore", "m3", ok=(2,))


def test_a_takeover_is_denied_where_it_was_denied(kept_chain: Machines) -> None:
    first, second, third = kept_chain.all
    first.run("group", "deny", "m2", "takeover")
    second.stop()
    (second.folder / "state").rename(second.folder / "old-state")
    kept_chain.give_new_disk(second, seed=777)
    second.start()
    words = "m2", "--from", f"{third.address}:7317", "--recovery-key-file", second.key_file
    lines = second.run("takeover", *words)["takeover"]["lines"]
    told = dict(zip(("m1", "m3"), sorted(lines), strict=True))
    assert "no right to take" in told["m1"]
    assert "from this machine alone now" in told["m3"]
    assert "no right to take" in first.log
    backup = second.run("backup", ok=(102,))["backup"]
    assert {h["name"]: h["committed"] for h in backup["holders"]} == {"m1": False, "m3": True}


def test_a_removal_counts_where_it_was_granted(chain: Machines) -> None:
    first, second, third = chain.all
    # The first has approved the second, so its own word is needed, or that of one it trusts.
    assert third.run("group", "remove", "m2")["removed"]["adopted"] == []
    wait_for("the first to hear of it", lambda: group(first)["proposals"])
    (proposal,) = group(first)["proposals"]
    assert (proposal["by"]["name"], proposal["member"]["name"]) == ("m3", "m2")
    assert members(first) == ["m1", "m2", "m3"]
    granted = first.run("group", "grant", "m3", "remove")["grants"]["remove"]
    assert [row["member"] for row in granted] == ["m3"]
    # The third was a member by the word of the second alone.
    assert members(first) == ["m1", "m3"]
    assert group(first)["proposals"] == []
    assert second.run("backup", "--mode", "full", ok=(93, 102))
    first.run("group", "withdraw", "m3", "remove")
    assert members(first) == ["m1", "m2", "m3"]


def test_whom_the_removed_one_had_approved_stays_and_is_named(chain: Machines) -> None:
    first, second, third = chain.all
    adopted = first.run("group", "remove", "m2")["removed"]["adopted"]
    assert [(one["name"], one["key"]) for one in adopted] == [
        (m["name"], m["key"]) for m in group(third)["members"] if m["me"]
    ]
    assert members(first) == ["m1", "m3"]
    assert second.run("backup", "--mode", "full", ok=(93, 102))


def test_one_who_is_refused_is_told(tmp_path: Path) -> None:
    with machines(tmp_path, 2) as made:
        first, second = made.all
        first.run("group", "create", "test", "--recovery-key-file", first.key_file)
        code = first.run("group", "invite")["invitation"]["code"]
        with second.spawn("group", "join", code, "--recovery-key-file", second.key_file) as joining:
            wait_for("the second at the door", lambda: group(first)["waiting"])
            assert first.run("group", "refuse")["group"]["waiting"] == []
            shown, _ = joining.communicate(timeout=COMMAND_S)
        assert joining.returncode != 0
        assert "was refused at the other machine" in shown
        assert members(first) == ["m1"]
        assert first.run("group", "refuse", ok=(2,))
        bring_in(first, second)
