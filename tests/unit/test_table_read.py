"""Tables that sfdisk writes are read as sfdisk says; damaged ones are refused in a sentence."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest
from disks import sparse_file
from loops import loop_device
from oracles import run

from blockrep.disk.device import Device
from blockrep.disk.table import Table, TableKind, read_table
from blockrep.errors import TableDamaged, TableUnsupported

MIB = 1 << 20


def make_image(path: Path, script: str, size_mib: int = 64) -> Path:
    sparse_file(path, size_mib * MIB)
    run_sfdisk(path, script)
    return path


def run_sfdisk(path: Path, script: str, *options: str) -> None:
    run("sfdisk", "--quiet", *options, path, stdin=script)


def read(path: Path) -> Table:
    with Device(path) as device:
        return read_table(device)


def say_as_sfdisk(path: Path) -> list[tuple[int, int, str]]:
    parts = json.loads(run("sfdisk", "-J", path))["partitiontable"]["partitions"]
    return [(p["start"] * 512, p["size"] * 512, p["type"]) for p in parts]


def say(table: Table) -> list[tuple[int, int, str]]:
    return [(p.start_bytes, p.length_bytes, p.type) for p in table.partitions]


UUID = "AAAAAAAA-7D7B-4B39-9C6A-0D8A8E8E1B11"
GPT_SCRIPT = f"""label: gpt
label-id: 0B0E3A9C-7D7B-4B39-9C6A-0D8A8E8E1B11
size=4M, type=U, name="EFI system"
size=20M, name="data of two words", uuid={UUID}, attrs="LegacyBIOSBootable,GUID:63"
size=8M, type=S
"""

MBR_SCRIPT = """label: dos
label-id: 0xdeadbeef
size=4M, type=83, bootable
size=4M, type=82
type=f
size=4M, type=83
size=4M, type=fd
type=da
"""


def poke(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_gpt_is_read_as_sfdisk_says(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", GPT_SCRIPT)
    table = read(path)
    assert table.kind is TableKind.GPT
    assert table.disk_id == "0B0E3A9C-7D7B-4B39-9C6A-0D8A8E8E1B11"
    assert say(table) == say_as_sfdisk(path)
    assert [p.name for p in table.partitions] == ["EFI system", "data of two words", ""]
    assert table.partitions[1].uuid == UUID
    assert table.partitions[1].attributes == 1 << 63 | 1 << 2


def test_mbr_is_read_as_sfdisk_says(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", MBR_SCRIPT)
    table = read(path)
    assert table.kind is TableKind.MBR
    assert table.disk_id == "deadbeef"
    assert say(table) == say_as_sfdisk(path)
    assert [p.number for p in table.partitions] == [1, 2, 3, 5, 6, 7]
    assert [p.attributes for p in table.partitions] == [0x80, 0, 0, 0, 0, 0]


def test_blank_disk_has_no_table(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(MIB))
    assert read(path).kind is TableKind.NONE


@pytest.mark.parametrize("boot_loader", [False, True])
def test_bare_ext_filesystem_has_no_table(tmp_path: Path, boot_loader: bool) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(16 * MIB))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(path)], check=True, timeout=30)
    if boot_loader:
        poke(path, 510, b"\x55\xaa")
    assert read(path).kind is TableKind.NONE


def test_boot_sector_of_fat_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    sector = bytearray(512)
    sector[:3], sector[0x52:0x57], sector[510:] = b"\xeb\x58\x90", b"FAT32", b"\x55\xaa"
    path.write_bytes(sector + bytes(MIB))
    assert read(path).kind is TableKind.NONE


def test_empty_tables(tmp_path: Path) -> None:
    for label, kind in (("gpt", TableKind.GPT), ("dos", TableKind.MBR)):
        path = make_image(tmp_path / label, f"label: {label}\n")
        assert read(path).kind is kind
        assert read(path).partitions == ()


@pytest.mark.parametrize(
    ("offset", "phrase"),
    [
        (512 + 60, "its backup is good"),
        (1024 + 200, "its backup is good"),
        (64 * MIB - 512 + 60, "the backup of the GPT at the end of the disk is damaged"),
        (64 * MIB - 33 * 512 + 9, "the backup of the GPT at the end of the disk is damaged"),
    ],
)
def test_one_damaged_copy_is_named(tmp_path: Path, offset: int, phrase: str) -> None:
    path = make_image(tmp_path / "disk", GPT_SCRIPT)
    poke(path, offset, b"\xff\xfe")
    with pytest.raises(TableDamaged, match=phrase):
        read(path)


def test_both_copies_damaged(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", GPT_SCRIPT)
    poke(path, 512, bytes(512))
    poke(path, 64 * MIB - 512, bytes(512))
    with pytest.raises(TableDamaged, match="and so is its backup"):
        read(path)


def test_copies_that_disagree(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", GPT_SCRIPT)
    end = path.read_bytes()[-33 * 512 :]
    run_sfdisk(path, "size=2M, type=U\n", "--no-reread", "-N", "1")
    poke(path, 64 * MIB - 33 * 512, end)
    with pytest.raises(TableDamaged, match="do not say the same"):
        read(path)


def test_grown_disk_names_the_cure(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", GPT_SCRIPT)
    with path.open("r+b") as file:
        file.truncate(80 * MIB)
    with pytest.raises(TableDamaged) as caught:
        read(path)
    assert "sgdisk -e" in caught.value.hint


@pytest.mark.root
def test_other_sector_size_is_recognised(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", GPT_SCRIPT)
    with (
        loop_device(path, sector_bytes=4096) as node,
        pytest.raises(TableDamaged, match="sectors of 512 bytes, not 4096"),
    ):
        read(node)


def test_hybrid_mbr_is_refused(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", GPT_SCRIPT)
    subprocess.run(["sgdisk", "-h", "1:EE", str(path)], check=True, timeout=30, capture_output=True)
    with pytest.raises(TableUnsupported, match="hybrid"):
        read(path)


def test_gpt_without_protective_mbr(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", GPT_SCRIPT)
    poke(path, 0, bytes(512))
    with pytest.raises(TableDamaged, match="no protective MBR"):
        read(path)


def ebr(logical: tuple[int, int], link: tuple[int, int]) -> bytes:
    record = bytearray(512)
    struct.pack_into("<4xB3xII", record, 446, 0x83 if logical[1] else 0, *logical)
    struct.pack_into("<4xB3xII", record, 462, 5 if link[1] else 0, *link)
    record[510:] = b"\x55\xaa"
    return bytes(record)


@pytest.mark.parametrize(
    ("second", "phrase"),
    [
        (ebr((2048, 2048), (0, 100)), "circle"),
        (ebr((2048, 2048), (16384, 100)), "circle"),
        (ebr((2048, 2048), (1 << 31, 100)), "leaves the extended partition"),
        (ebr((2048, 2048), (20000, 100)), "breaks at sector"),
        (bytes(512), "breaks at sector"),
        (b"\xa5" * 510 + b"\x55\xaa", "garbage"),
        (ebr((2048, 1 << 24), (0, 0)), "outside"),
        (ebr((0, 2048), (0, 0)), "lies inside partition"),
    ],
)
def test_broken_chains(tmp_path: Path, second: bytes, phrase: str) -> None:
    path = make_image(
        tmp_path / "disk", "label: dos\nsize=4M\nsize=4M\nsize=4M\ntype=5\nsize=7M\ntype=83\n"
    )
    start = read(path).partitions[3].start_bytes
    poke(path, start + 16384 * 512, second)
    with pytest.raises(TableDamaged, match=phrase):
        read(path)


def test_overlapping_partitions(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk", "label: dos\nsize=4M\nsize=4M\n")
    poke(path, 446 + 16 + 8, struct.pack("<I", 4096))
    with pytest.raises(TableDamaged, match="partitions 1 and 2 overlap"):
        read(path)
