"""What crash states look like to other people's programs: sfdisk, sgdisk, parted."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from disks import sparse_file
from oracles import run

from blockrep.disk.device import Device
from blockrep.disk.partition import Partition
from blockrep.disk.table import Table, read_table, table_stages
from blockrep.disk.writes import Stage
from blockrep.errors import InternalError, TableDamaged

MIB = 1 << 20
AREA = "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE40A5A"
HIDDEN = 1 << 63 | 1 << 62

SCRIPTS = {
    "gpt": "label: gpt\nsize=1M, type=U\nsize=50M\nsize=8M, type=S\n",
    "dos": "label: dos\nsize=8M, bootable\ntype=5\nsize=30M\nsize=10M, type=82\n",
}


def say_as_sfdisk(path: Path) -> list[tuple[object, ...]]:
    """The partitions without the container, which may start some sectors later in between."""
    table = json.loads(run("sfdisk", "-J", str(path)))["partitiontable"]
    return [
        (p["node"], p["start"], p["size"], p["type"], p.get("uuid"), p.get("name"), p.get("attrs"))
        for p in table.get("partitions", [])
        if p["type"] != "5"
    ]


def divided(kind: str, old: Table) -> Table:
    """The partition with the filesystem shrunk, an area and segments behind it."""
    if kind == "gpt":
        first, host, swap = old.partitions
        added = [
            Partition(
                n, (30 + 4 * n) * MIB, 4 * MIB, AREA, AREA[:-2] + f"{n:02X}", f"p {n}", HIDDEN
            )
            for n in range(4, 8)
        ]
        moved = replace(swap, start_bytes=22 * MIB)
        return replace(old, partitions=(first, replace(host, length_bytes=20 * MIB), moved, *added))
    first, container, host, swap = old.partitions
    added = [Partition(n, (20 + 4 * n) * MIB, 3 * MIB, "da") for n in range(7, 11)]
    grown = replace(container, length_bytes=old.disk_bytes - container.start_bytes)
    moved = replace(swap, start_bytes=host.start_bytes + 17 * MIB, length_bytes=4 * MIB)
    return replace(
        old, partitions=(first, grown, replace(host, length_bytes=16 * MIB), moved, *added)
    )


@pytest.fixture(params=["gpt", "dos"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    path = sparse_file(tmp_path / "disk", 64 * MIB)
    run("sfdisk", "--quiet", str(path), stdin=SCRIPTS[request.param])
    return request.param, path


def put(path: Path, sectors: list[tuple[int, bytes]]) -> None:
    with path.open("r+b") as file:
        for offset, data in sectors:
            file.seek(offset)
            file.write(data)


def crash_states(path: Path, stages: tuple[Stage, ...], seed: int) -> Iterator[None]:
    """Put the image into one sampled state after another, and at last into the finished one."""
    rng = random.Random(seed)
    for stage in stages:
        sectors = [
            (write.offset_bytes + at, write.data[at : at + 512])
            for write in stage.writes
            for at in range(0, len(write.data), 512)
        ]
        for _ in range(3):
            before = path.read_bytes()
            put(path, [one for one in sectors if rng.random() < 0.5])
            yield
            path.write_bytes(before)
        put(path, sectors)
        yield


def test_sfdisk_sees_the_old_or_the_new(disk: tuple[str, Path]) -> None:
    kind, path = disk
    with Device(path) as device:
        old = read_table(device)
        new = divided(kind, old)
        stages = table_stages(device, old, new)
    seen = [say_as_sfdisk(path)]
    for _ in crash_states(path, stages, 3):
        now = say_as_sfdisk(path)
        if now not in seen:
            seen.append(now)
    assert len(seen) == 2, "a state in between"
    assert seen[1] == say_as_sfdisk(path)
    with Device(path) as device:
        assert read_table(device) == new
    if kind == "gpt":
        assert "No problems found" in run("sgdisk", "-v", str(path))
        assert "p 7" in run("sgdisk", "-p", str(path))
    rows = run("parted", "-s", "-m", str(path), "unit", "B", "print").splitlines()[2:]
    said = sorted((int(r.split(":")[0]), int(r.split(":")[1][:-1])) for r in rows)
    assert said == [(p.number, p.start_bytes) for p in new.partitions]


def test_only_what_changes_changes(disk: tuple[str, Path]) -> None:
    """There and back again: not one byte of the disk is another."""
    kind, path = disk
    put(path, [(0, b"boot code".ljust(440, b"."))])
    before = path.read_bytes()
    with Device(path, writable=True) as device:
        old = read_table(device)
        new = divided(kind, old)
        for start, goal in ((old, new), (new, old)):
            for stage in table_stages(device, start, goal):
                for write in stage.writes:
                    device.write(write.offset_bytes, write.data)
    after = path.read_bytes()
    assert after[:512] == before[:512]
    if kind == "gpt":
        assert after == before


def apply(path: Path, stages: tuple[Stage, ...]) -> None:
    put(path, [(write.offset_bytes, write.data) for stage in stages for write in stage.writes])


@pytest.fixture
def gpt(tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "disk", 64 * MIB)
    run("sfdisk", "--quiet", str(path), stdin=SCRIPTS["gpt"])
    return path


def test_entries_that_lie_elsewhere_stay_there(gpt: Path) -> None:
    """Boards keep boot code at sector 2 and the entries behind it (`sgdisk -j`)."""
    run("sgdisk", "-j", "64", str(gpt))
    put(gpt, [(1024, b"boot code".ljust(62 * 512, b"."))])
    before = gpt.read_bytes()
    with Device(gpt) as device:
        old = read_table(device)
        assert old.entries_lba == 64
        new = divided("gpt", old)
        apply(gpt, table_stages(device, old, new))
        assert read_table(device) == new
        assert read_table(device).entries_lba == 64
    after = gpt.read_bytes()
    assert after[1024 : 64 * 512] == before[1024 : 64 * 512]
    assert after[96 * 512 : -33 * 512] == before[96 * 512 : -33 * 512]
    assert "No problems found" in run("sgdisk", "-v", str(gpt))


@pytest.mark.parametrize("lost", ["primary", "backup"])
def test_a_run_after_a_cut_mends_the_other_copy(gpt: Path, lost: str) -> None:
    """A drive that lost one sector in the cut: the copy that is left is touched last."""
    with Device(gpt) as device:
        old = read_table(device)
        new = divided("gpt", old)
        put(gpt, [(512 if lost == "primary" else 64 * MIB - 512, b"\xff" * 512)])
        stages = table_stages(device, old, new)
        for write in stages[0].writes:
            assert (write.offset_bytes < 32 * MIB) is (lost == "primary")
        apply(gpt, stages)
        assert read_table(device) == new
        assert table_stages(device, old, new) == ()
    assert "No problems found" in run("sgdisk", "-v", str(gpt))


def test_a_third_table_is_not_touched(gpt: Path) -> None:
    with Device(gpt) as device:
        old = read_table(device)
        new = divided("gpt", old)
        run("sgdisk", "-d", "3", str(gpt))
        with pytest.raises(TableDamaged, match="neither"):
            table_stages(device, old, new)


def test_an_impossible_layout_is_our_defect(gpt: Path) -> None:
    with Device(gpt) as device:
        old = read_table(device)
        first, second, third = old.partitions
        overlapping = replace(third, start_bytes=second.start_bytes)
        with pytest.raises(InternalError, match="overlap"):
            table_stages(device, old, replace(old, partitions=(first, second, overlapping)))
        with pytest.raises(InternalError, match="more than partitions"):
            table_stages(device, old, replace(old, disk_id="0" * 8))
