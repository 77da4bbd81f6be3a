"""The lock and the pending mark, judged by e2fsprogs and the kernel's view of a superblock."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrep.disk.superblock import superblock_checksum
from blockrep.divide.lock import (
    LogPlace,
    LogPointer,
    add_mark,
    build_lock,
    clear_mark,
    parse_lock,
    parse_mark,
)

pointers = st.builds(
    LogPointer,
    place=st.sampled_from(LogPlace),
    transaction=st.binary(min_size=16, max_size=16),
    position=st.integers(0, 2**64 - 1),
    digest=st.binary(min_size=16, max_size=16),
    filesystem=st.binary(min_size=8, max_size=8),
)
superblocks = st.binary(min_size=1024, max_size=1024)


@given(superblocks, pointers)
def test_a_lock_keeps_the_checksum_true(raw: bytes, pointer: LogPointer) -> None:
    locked = build_lock(raw, pointer) + raw[512:]
    assert superblock_checksum(locked) == superblock_checksum(raw)
    assert parse_lock(locked) == pointer


@given(superblocks, pointers)
def test_a_lock_changes_nothing_but_its_fields(raw: bytes, pointer: LogPointer) -> None:
    locked = build_lock(raw, pointer)
    assert len(locked) == 512
    assert locked[:0x60] == raw[:0x60]
    assert locked[0x64:0x88] == raw[0x64:0x88]
    assert locked[0xC8:] == raw[0xC8:512]


@given(superblocks)
def test_chance_is_no_lock_and_no_mark(raw: bytes) -> None:
    assert parse_lock(raw) is None
    assert parse_mark(raw) is None


@given(superblocks, pointers)
def test_a_mark_lies_in_the_second_half_alone(raw: bytes, pointer: LogPointer) -> None:
    marked = add_mark(raw, pointer)
    found = parse_mark(marked)
    assert marked[:512] == raw[:512]
    assert found is not None
    assert (found.transaction, found.position) == (pointer.transaction, pointer.position)
    assert parse_mark(clear_mark(marked)) is None


@pytest.mark.parametrize(
    ("block", "options"),
    [
        (1024, ["-t", "ext4"]),
        (1024, ["-t", "ext2"]),
        (4096, ["-t", "ext4", "-g", "8192"]),
        (4096, ["-t", "ext4", "-g", "8192", "-O", "^metadata_csum"]),
    ],
)
def test_every_tool_refuses_what_is_locked(tmp_path: Path, block: int, options: list[str]) -> None:
    image = tmp_path / "fs.img"
    subprocess.run(["mke2fs", "-q", "-b", str(block), *options, image, "64M"], check=True)
    backup = 8193 if block == 1024 else 8192
    pointer = LogPointer(LogPlace.DISK, bytes(range(16)), 1 << 40, bytes(16))
    with image.open("r+b") as file:
        for at in _superblocks(image, block):
            file.seek(at)
            raw = file.read(1024)
            assert struct.unpack_from("<H", raw, 0x38)[0] == 0xEF53
            file.seek(at)
            file.write(build_lock(raw, pointer))
    before = image.read_bytes()
    for check in (["-fy"], ["-fy", "-b", str(backup), "-B", str(block)], ["-p"]):
        result = subprocess.run(["e2fsck", *check, image], capture_output=True, text=True)
        assert result.returncode & 8, result
        assert image.read_bytes() == before
    named = subprocess.run(["blkid", "-p", image], capture_output=True, text=True, check=True)
    assert "TYPE=" in named.stdout


def _superblocks(image: Path, block: int) -> list[int]:
    listing = subprocess.run(["dumpe2fs", image], capture_output=True, text=True, check=True)
    words = [line.split() for line in listing.stdout.splitlines() if "superblock at" in line]
    blocks = [int(w[w.index("at") + 1].rstrip(",")) for w in words]
    return [1024 if b * block < 4096 else b * block for b in blocks]
