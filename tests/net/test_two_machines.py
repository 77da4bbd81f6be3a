"""Two machines: a group, backups, what is said of them, and what goes wrong in between."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from net.lan import wait_for
from net.machines import Machine, Machines, files_of, machines, write_files

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    # Versions are locked for days: there has to be room for those of all tests.
    folder = tmp_path_factory.mktemp("pair")
    with machines(folder, 2, disk_bytes=640 * MIB, history="70%") as made:
        made.make_group()
        yield made


@pytest.fixture
def pair(shared: Machines) -> Iterator[Machines]:
    """Two machines that have been in use; each test finds them with everything protected."""
    for machine in shared.all:
        machine.run("backup")
    yield shared
    for machine in shared.all:
        shared.network.mend(machine.number)
        shared.network.speed_up(machine.number)
        if machine.agent is None:
            machine.start()


@pytest.fixture
def new_pair(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path, 2) as made:
        made.make_group()
        yield made


def held_epochs(holder: Machine) -> dict[str, int]:
    """What a machine holds, by owner."""
    held = holder.run("status", ok=(0, 101))["status"]["held"]
    return {segment["owner"]: segment["epoch"] for segment in held if segment["owner"]}


def change(machine: Machine, content_bytes: int = MIB) -> None:
    """Other files on the first area of a machine, whose agent goes on."""
    with files_of(machine.images[0]) as root:
        folder = root / "changing"
        shutil.rmtree(folder, ignore_errors=True)
        write_files(folder, content_bytes, seed=int(time.monotonic() * 1000))


def test_both_know_the_group(pair: Machines) -> None:
    for machine in pair.all:
        group = machine.run("group", "show")["group"]
        assert [member["name"] for member in group["members"]] == ["m1", "m2"]
        assert all(member["recovery"] for member in group["members"])
        assert all(len(member["devices"]) == 1 for member in group["members"])
        assert group["waiting"] == []


def test_full_then_differential(new_pair: Machines) -> None:
    first, second = new_pair.all
    full = first.run("backup", "--mode", "full")["backup"]
    assert (full["epoch"], full["consistent"]) == (1, True)
    assert [(h["name"], h["committed"]) for h in full["holders"]] == [("m2", True)]
    assert full["stored_bytes"] < full["holders"][0]["sent_bytes"] < 1.05 * full["stored_bytes"]
    change(first)
    second_backup = first.run("backup")["backup"]
    assert second_backup["epoch"] == 2
    assert MIB < second_backup["holders"][0]["sent_bytes"] < full["stored_bytes"] / 2
    assert held_epochs(second) == {"m1": 2}
    history = first.run("history", "m1")["history"]
    assert [epoch["number"] for epoch in history["devices"][0]["epochs"]] == [2, 1]
    assert history["devices"][0]["epochs"][0]["holders"] == ["m2"]


def test_a_disk_is_known_by_its_other_paths(
    pair: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pair[0]
    link = first.folder / "by-id"
    link.symlink_to(first.disks[0])
    epoch = first.run("backup", link)["backup"]["epoch"]
    monkeypatch.chdir(first.folder)
    assert first.run("backup", "by-id")["backup"]["epoch"] == epoch + 1
    assert first.run("backup", first.images[0], ok=(2,))["error"]["kind"] == "UsageError"


def test_status_tells_what_is_unprotected(new_pair: Machines) -> None:
    first, second = new_pair.all
    before = first.run("status", ok=(101,))["status"]
    assert any("at least 1 are wanted" in problem for problem in before["problems"])
    first.run("backup")
    after = first.run("status")["status"]
    assert after["problems"] == []
    (replica,) = after["devices"][0]["replicas"]
    assert (replica["holder"], replica["epoch"], replica["consistent"]) == ("m2", 1, True)
    second.stop()
    gone = first.run("status", ok=(101,))["status"]
    assert any("m2 does not answer" in problem for problem in gone["problems"])
    first.run("backup", ok=(102,))
    second.start()
    missed = first.run("status", ok=(101,))["status"]
    (problem,) = missed["problems"]
    assert "the last backup did not reach m2" in problem
    first.run("backup")
    assert first.run("status")["status"]["problems"] == []
    (replica,) = gone["devices"][0]["replicas"]
    assert replica["epoch"] == 1  # by its receipt


def test_being_stopped_ends_a_backup_at_a_whole_epoch(pair: Machines) -> None:
    first, second = pair.all
    held = held_epochs(second)
    change(first, 12 * MIB)
    pair.network.slow_down(1, 30)
    for machine in pair.all:
        with first.spawn("backup") as running:
            wait_for("the transfer", lambda: has_sent(first, MIB), 60)
            machine.stop()
            running.communicate(timeout=120)
        assert running.returncode != 0
        machine.start()
    pair.network.speed_up(1)
    assert held_epochs(second) == held
    assert first.run("backup")["backup"]["epoch"] == held["m1"] + 1


def test_both_back_each_other_up_at_once(pair: Machines) -> None:
    before = [held_epochs(machine) for machine in pair.all]
    running = [machine.spawn("backup", "--mode", "full") for machine in pair.all]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    for machine, held in zip(pair.all, before, strict=True):
        assert held_epochs(machine) == {owner: epoch + 1 for owner, epoch in held.items()}


def test_a_restart_forgets_nothing(pair: Machines) -> None:
    first, second = pair.all
    held = held_epochs(second)
    for machine in pair.all:
        machine.stop()
        machine.start()
    assert held_epochs(second) == held
    assert first.run("backup")["backup"]["epoch"] == held["m1"] + 1


@pytest.mark.parametrize("victim", ["owner", "holder"])
def test_a_kill_in_the_middle_leaves_a_whole_epoch_and_the_next_run_converges(
    pair: Machines, victim: str
) -> None:
    first, second = pair.all
    held = held_epochs(second)
    change(first, 12 * MIB)
    dying = first if victim == "owner" else second
    pair.network.slow_down(1, 30)
    with first.spawn("backup") as running:
        wait_for("the transfer", lambda: has_sent(first, MIB), 60)
        dying.kill()
        running.communicate(timeout=120)
    assert running.returncode == (100 if victim == "owner" else 102)
    pair.network.speed_up(1)
    dying.start()
    assert held_epochs(second) == held
    assert first.run("backup")["backup"]["epoch"] == held["m1"] + 1
    assert held_epochs(second) == {"m1": held["m1"] + 1}


def has_sent(machine: Machine, count: int) -> bool:
    """Whether the backup that runs has come so far."""
    jobs = machine.run("jobs")["jobs"]
    return any(
        job["phase"] == "reading and sending" and job["done_bytes"] >= count
        for job in jobs
        if job["state"] == "running"
    )


def test_a_cut_cable_ends_the_backup_with_a_reason(pair: Machines) -> None:
    first, second = pair.all
    held = held_epochs(second)
    pair.network.cut(2)
    backup = first.run("backup", ok=(102,))
    (holder,) = backup["backup"]["holders"]
    assert not holder["committed"]
    assert "m2" in holder["reason"]
    pair.network.mend(2)
    assert first.run("backup")["backup"]["epoch"] == held["m1"] + 1
    assert held_epochs(second) == {"m1": held["m1"] + 1}


@pytest.mark.slow
def test_a_cable_cut_in_the_middle_is_noticed_after_a_minute(pair: Machines) -> None:
    first, second = pair.all
    held = held_epochs(second)
    change(first, 12 * MIB)
    pair.network.slow_down(1, 30)
    with first.spawn("backup") as running:
        wait_for("the transfer", lambda: has_sent(first, MIB), 60)
        pair.network.cut(2)
        said, _ = running.communicate(timeout=180)
    assert running.returncode == 102
    assert "m2" in json.loads(said)["backup"]["holders"][0]["reason"]
    pair.network.mend(2)
    pair.network.speed_up(1)
    # The holder may still wait for what was cut.
    wait_for("the next", lambda: first.run("backup", ok=(0, 102))["backup"]["epoch"], 120)
    assert held_epochs(second) == {"m1": held["m1"] + 1}


def test_an_interrupted_command_cancels_its_job(pair: Machines) -> None:
    first, second = pair.all
    held = held_epochs(second)
    change(first, 12 * MIB)
    pair.network.slow_down(1, 30)
    with first.spawn("backup") as running:
        wait_for("the transfer", lambda: has_sent(first, MIB), 60)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert running.returncode == 5
    assert first.run("jobs")["jobs"][-1]["state"] == "cancelled"
    assert held_epochs(second) == held
    pair.network.speed_up(1)
    first.run("backup")
    assert held_epochs(second) == {"m1": held["m1"] + 1}


def test_a_removed_member_writes_nothing_more(new_pair: Machines) -> None:
    first, second = new_pair.all
    second.run("backup")
    first.run("group", "remove", "m2")
    answer = second.run("backup", ok=(102,))
    assert held_epochs(first) == {"m2": 1}
    assert not answer["backup"]["holders"][0]["committed"]


def test_who_leaves_is_shown_as_gone(new_pair: Machines) -> None:
    first, second = new_pair.all
    second.run("group", "leave")
    members = first.run("group", "show")["group"]["members"]
    assert [(m["name"], m["left"]) for m in members] == [("m1", False), ("m2", True)]
    assert second.run("group", "show", ok=(110,))["error"]["kind"] == "NotAMember"
    second.stop()
    second.start()
