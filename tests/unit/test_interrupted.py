"""A disk tells whether a transaction was cut on it, and recover leaves a whole disk alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from disks import MIB, START_BYTES, ext_disk, sparse_file
from oracles import fsck, run

from blockrep.disk.device import Device
from blockrep.disk.superblock import Superblock
from blockrep.divide.interrupted import (
    host_places,
    is_interrupted,
    locked_backups,
    refuse_interrupted,
)
from blockrep.divide.lock import LogPlace, LogPointer, add_mark, build_lock
from blockrep.divide.recover import recover_disk
from blockrep.errors import Interrupted
from blockrep.progress import Silent

SIZE = 64 * MIB
POINTER = LogPointer(LogPlace.DISK, bytes(range(16)), 50 * MIB, bytes(16))
BEHIND = {"gpt": "size=4M\n", "dos": "type=5, size=5M\nsize=3M\n"}


@pytest.fixture(params=["gpt", "dos", "none"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    path = tmp_path / "disk.img"
    if request.param == "none":
        run("mke2fs", "-q", "-t", "ext4", "-b", "1024", path, "64M")
        return path, 0
    ext_disk(path, SIZE, "-t ext4 -b 1024", label=request.param, behind=BEHIND[request.param])
    return path, START_BYTES


def superblock_at(path: Path, offset: int) -> Superblock:
    with Device(path) as device:
        return Superblock(device.read(offset, 1024))


def put(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_whole_disk_is_left_alone(disk: tuple[Path, int]) -> None:
    path, _ = disk
    before = hashlib.sha256(path.read_bytes()).digest()
    for writable in (False, True):
        for back in (False, True):
            with Device(path, writable=writable) as device:
                refuse_interrupted(device)
                outcome = recover_disk(device, Silent(), back=back)
            assert (outcome.action, outcome.details) == ("nothing to do", ())
    assert hashlib.sha256(path.read_bytes()).digest() == before


def test_blank_disks_have_nothing_to_recover(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "disk.img", SIZE)
    for script in ("", "label: gpt\n", "label: dos\nsize=8M\n"):
        if script:
            run("sfdisk", "--quiet", path, stdin=script)
        with Device(path, writable=True) as device:
            assert not is_interrupted(device)
            assert recover_disk(device, Silent()).action == "nothing to do"


def test_places_are_those_of_sfdisk(disk: tuple[Path, int]) -> None:
    path, start = disk
    with Device(path) as device:
        places = host_places(device)
    if not start:
        assert places == [(0, SIZE)]
        return
    listed = json.loads(run("sfdisk", "-J", path))["partitiontable"]["partitions"]
    assert places == [(p["start"] * 512, p["size"] * 512) for p in listed if p["type"] != "5"]


@pytest.mark.parametrize("what", ["lock", "mark"])
def test_a_lock_or_a_mark_is_seen(disk: tuple[Path, int], what: str) -> None:
    path, start = disk
    raw = superblock_at(path, start + 1024).raw
    changed = build_lock(raw, POINTER) + raw[512:] if what == "lock" else add_mark(raw, POINTER)
    put(path, start + 1024, changed)
    with Device(path) as device:
        assert is_interrupted(device)
        with pytest.raises(Interrupted):
            refuse_interrupted(device)


def test_locked_backups_alone_are_unlocked(disk: tuple[Path, int]) -> None:
    """As a transaction leaves them that is cut between locking the backups and the primary."""
    path, start = disk
    found = superblock_at(path, start + 1024)
    wanted = path.read_bytes()
    places = [start + block * found.block_bytes for block in found.backup_blocks]
    assert len(places) > 2
    for at in places[1:]:
        raw = superblock_at(path, at).raw
        put(path, at, build_lock(raw, POINTER))
    with Device(path, writable=True) as device:
        assert [at for at, _ in locked_backups(device, start, found)] == places[1:]
        assert is_interrupted(device)
        assert recover_disk(device, Silent()).action == "backed out"
        assert not is_interrupted(device)
    assert path.read_bytes() == wanted
    fsck(f"{path}?offset={start}")
