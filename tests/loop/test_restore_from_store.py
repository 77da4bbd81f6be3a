"""From a real segment of a divided disk back onto a disk, and into a view: newer and older."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from epochs_in_memory import KEY, MemoryEpoch, make_epoch
from holding import divided_disk, hold, opened_store, reader_of
from loops import loop_device
from oracles import fsck, run

from blockrep.browse.view import View
from blockrep.progress import Silent
from blockrep.transfer.plain import PlainEpoch
from blockrep.transfer.restore import plan_restore
from blockrep.transfer.restore_apply import apply_restore
from blockrep.transfer.restore_target import open_target

pytestmark = pytest.mark.root

CONTENT = 24 * MIB


@pytest.fixture
def owner(tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "owner.img", 40 * MIB)
    run("sfdisk", "-q", path, stdin=f"label: gpt\nstart=1MiB, size={CONTENT // MIB - 1}MiB\n")
    run("mke2fs", "-q", "-F", "-b", "4096", "-E", f"offset={MIB}", path, "23M")
    return path


def next_epoch(owner: Path, before: MemoryEpoch | None, key: bytes | None) -> MemoryEpoch:
    number = 1 if before is None else before.epoch.number + 1
    made = make_epoch(owner, CONTENT, number=number, key=key)
    if before is not None:
        made.epoch = replace(made.epoch, parent=before.epoch.id)
    return made


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_both_epochs_come_back(tmp_path: Path, owner: Path, key: bytes | None) -> None:
    holder = divided_disk(tmp_path / "holder.img", 120, "32M")
    first = next_epoch(owner, None, key)
    hold(holder, first)
    old = owner.read_bytes()[:CONTENT]
    with owner.open("r+b") as disk:
        disk.seek(20 * MIB)
        disk.write(os.urandom(200_000))
    second = next_epoch(owner, first, key)
    hold(holder, second)
    new = owner.read_bytes()[:CONTENT]
    target = sparse_file(tmp_path / "target.img", 32 * MIB)
    with opened_store(holder) as store:
        for number, content in ((1, old), (2, new), (1, old)):
            plain = PlainEpoch([reader_of(store, number)], key)
            assert View(plain).read(0, CONTENT) == content
            with open_target(target) as device:
                plan = plan_restore(plain, device)
                done = apply_restore(device, plan, plain, Silent(), verify=True)
            assert done.damaged == ()
            assert target.read_bytes()[MIB:CONTENT] == content[MIB:]
            assert "No problems found" in run("sgdisk", "-v", target)
    with loop_device(target, MIB, 23 * MIB, read_only=True) as node:
        fsck(node)


def test_rot_at_one_holder_is_made_good_by_another(tmp_path: Path, owner: Path) -> None:
    source = next_epoch(owner, None, KEY)
    holders = []
    for name in ("one", "two"):
        holders.append(divided_disk(tmp_path / f"{name}.img", 120, "32M"))
        hold(holders[-1], source)
    victim = max(source.stored)
    block = source.stored[victim][1][:4096]
    data = holders[0].read_bytes()
    assert data.count(block) == 1
    with holders[0].open("r+b") as disk:
        disk.seek(data.index(block) + 100)
        disk.write(b"rot")
    with opened_store(holders[0]) as one, opened_store(holders[1]) as two:
        plain = PlainEpoch([reader_of(one, 1), reader_of(two, 1)], KEY)
        assert View(plain).read(0, CONTENT) == owner.read_bytes()[:CONTENT]
