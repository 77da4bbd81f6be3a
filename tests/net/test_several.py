"""Several owners, holders and disks; and a machine that goes on as the writer of another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from oracles import run

from net.machines import (
    BLOCKREP,
    Machine,
    Machines,
    bring_in,
    digest_of_files,
    files_of,
    machines,
    write_files,
)

pytestmark = pytest.mark.root


def owners_of(holder: Machine) -> list[tuple[str, int]]:
    held = holder.run("status", ok=(0, 101))["status"]["held"]
    return sorted((segment["owner"], segment["epoch"]) for segment in held if segment["owner"])


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path, 3) as made:
        made.make_group()
        yield made


def test_three_machines_back_each_other_up_at_once(three: Machines) -> None:
    running = [machine.spawn("backup") for machine in three.all]
    for process in running:
        shown, said = process.communicate(timeout=120)
        assert process.returncode == 0, shown + said
    for machine in three.all:
        others = [(other.name, 1) for other in three.all if other is not machine]
        assert owners_of(machine) == others
        assert machine.run("status")["status"]["problems"] == []


def test_one_holder_that_is_gone_does_not_stop_the_other(three: Machines) -> None:
    first, second, third = three.all
    first.run("backup")
    third.kill()
    with files_of(first.images[0]) as root:
        write_files(root, MIB, seed=3)
    backup = first.run("backup", ok=(102,))["backup"]
    assert [(h["name"], h["committed"]) for h in backup["holders"]] == [("m2", True), ("m3", False)]
    assert owners_of(second) == [("m1", 2)]
    third.start()
    assert owners_of(third) == [("m1", 1)]
    assert first.run("backup")["backup"]["epoch"] == 3
    assert owners_of(second) == owners_of(third) == [("m1", 3)]


def test_only_to_one(three: Machines) -> None:
    first, second, third = three.all
    first.run("backup", "--to", "m3")
    assert (owners_of(second), owners_of(third)) == ([], [("m1", 1)])
    assert first.run("backup", "--to", "nobody", ok=(110,))["error"]["kind"] == "NotAMember"


def test_two_disks_of_one_machine(tmp_path: Path) -> None:
    with machines(tmp_path, 2, disks=2, peers=2) as pair:
        pair.make_group()
        first, second = pair.all
        for machine in pair.all:
            refused = machine.run("backup", ok=(2,))
            assert "several disks" in refused["error"]["message"]
            for disk in machine.disks:
                machine.run("backup", disk)
        assert owners_of(first) == [("m2", 1), ("m2", 1)]
        status = second.run("status")["status"]
        assert [device["path"] for device in status["devices"]] == [str(d) for d in second.disks]


def test_two_disks_in_two_groups(tmp_path: Path) -> None:
    with machines(tmp_path, 3, disks=2) as three:
        first, second, third = three.all
        for group, disk, other in (("one", 0, second), ("two", 1, third)):
            key = first.folder / f"key-{group}"
            words = "--recovery-key-file", key, "--device", first.disks[disk]
            first.run("group", "create", group, *words)
            bring_in(first, other, group)
        assert "several groups" in first.run("group", "show", ok=(2,))["error"]["message"]
        for disk, group in enumerate(("one", "two")):
            first.run("backup", first.disks[disk], "--group", group)
        for other in (second, third):
            other.run("backup", other.disks[0])
            assert owners_of(other) == [("m1", 1)]
        held = first.run("status")["status"]["held"]
        assert {(s["disk"], s["owner"]) for s in held if s["owner"]} == {
            (str(first.disks[0]), "m2"),
            (str(first.disks[1]), "m3"),
        }
        first.stop()
        first.start()
        assert third.run("backup", third.disks[0])["backup"]["epoch"] == 2


def test_no_free_segment_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with machines(tmp_path, 3, peers=1) as three:
        three.make_group()
        first, second, third = three.all
        first.run("backup")
        answer = second.run("backup", ok=(102,))["backup"]
        reasons = {h["name"]: h["reason"] for h in answer["holders"]}
        assert reasons["m1"] == ""
        assert "none of the 1 segments here is free" in reasons["m3"]
        assert owners_of(third) == [("m1", 1)]


def test_a_restored_machine_takes_over_and_the_old_one_is_refused(three: Machines) -> None:
    first, second, third = three.all
    first.run("backup")
    first.kill()
    old = first.images[0], first.disks[0]
    (first.folder / "state").rename(first.folder / "old-state")
    three.give_new_disk(first, seed=777)
    first.start()
    assert first.run("backup", ok=(110,))
    words = "m1", "--from", f"{second.address}:7317", "--recovery-key-file"
    wrong = first.run("takeover", *words, second.key_file, ok=(110,))
    assert "is that of m2, not of m1" in wrong["error"]["message"]
    taken = first.run("takeover", *words, first.key_file)["takeover"]
    assert len(taken["lines"]) == 2
    backup = first.run("backup")["backup"]
    assert backup["epoch"] == 2
    assert first.run("status")["status"]["problems"] == []
    first.stop()

    first.images[0], first.disks[0] = old
    (first.folder / "state").rename(first.folder / "new-state")
    (first.folder / "old-state").rename(first.folder / "state")
    first.start()
    refused = first.run("backup", ok=(102,))["backup"]
    assert not any(holder["committed"] for holder in refused["holders"])
    assert all("instance" in holder["reason"] for holder in refused["holders"])
    problems = first.run("status", ok=(101,))["status"]["problems"]
    assert any("this machine's key" in problem for problem in problems)
    assert owners_of(second) == owners_of(third) == [("m1", 2)]


def test_an_owner_that_is_back_at_an_older_epoch_goes_on_behind_the_newest(
    three: Machines,
) -> None:
    first, second, third = three.all
    first.run("backup")
    expected = digest_of_files(first.images[0])
    with files_of(first.images[0]) as root:
        write_files(root, MIB, seed=5)
    first.run("backup")
    first.kill()
    shutil.rmtree(first.folder / "state")
    image = sparse_file(first.folder / "back.img", first.images[0].stat().st_size)
    there = "--from", f"{second.address}:7317", "--recovery-key-file", first.key_file
    first.run("restore", "m1", *there, "--epoch", 1, "--to", image, "--yes")
    run(BLOCKREP, "divide", image, "--first", "64M", "--peers", 2, "--yes")
    three.attach(first, image)
    first.start()
    first.run("takeover", "m1", *there)
    backup = first.run("backup")["backup"]
    assert backup["epoch"] == 3
    assert owners_of(second) == owners_of(third) == [("m1", 3)]
    # What it sent is what had changed since, back to what it was.
    assert all(holder["sent_bytes"] < backup["stored_bytes"] for holder in backup["holders"])
    history = second.run("history", "m1")["history"]["devices"][0]["epochs"]
    assert [epoch["number"] for epoch in history] == [3, 2, 1]
    proof = sparse_file(second.folder / "proof.img", image.stat().st_size)
    words = "--recovery-key-file", first.key_file, "--to", proof, "--yes"
    second.run("restore", "m1", *words)
    assert digest_of_files(proof) == expected
