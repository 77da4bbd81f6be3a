"""Whatever is on a disk, reading its table ends soon, in a table or in a refusal of ours."""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from blockrep.disk.partition import find_layout_fault
from blockrep.disk.swap import parse_swap
from blockrep.disk.table import read_table
from blockrep.errors import FilesystemUnsupported, TableDamaged, TableUnsupported

MIB = 1 << 20
DISK_BYTES = 4 * MIB
ROUNDS = 1500
LIMIT_S = 1.0  # for one table, on a machine that does other things too

SCRIPTS = {
    "gpt": "label: gpt\nsize=1M\nsize=512K\nsize=256K\n",
    "dos": "label: dos\nsize=512K\ntype=5\nsize=256K\nsize=256K\nsize=256K\n",
}


@dataclass
class Memory:
    data: bytearray
    sector_bytes: int = 512
    path: Path = Path("disk")

    @property
    def size_bytes(self) -> int:
        return len(self.data)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        assert offset_bytes >= 0
        assert offset_bytes + length_bytes <= len(self.data), "a read past the end"
        return bytes(self.data[offset_bytes : offset_bytes + length_bytes])


def try_to_read(data: bytearray, sector_bytes: int = 512) -> None:
    started = time.monotonic()
    try:
        table = read_table(Memory(data, sector_bytes))
    except (TableDamaged, TableUnsupported) as error:
        assert error.message.startswith("disk")
    else:
        assert find_layout_fault(table) == ""
        assert table.disk_bytes == len(data)
    assert time.monotonic() - started < LIMIT_S


def make_disk(folder: Path, kind: str) -> bytes:
    path = folder / kind
    path.write_bytes(bytes(DISK_BYTES))
    subprocess.run(
        ["sfdisk", "--quiet", str(path)], input=SCRIPTS[kind], text=True, check=True, timeout=30
    )
    return path.read_bytes()


def places_of(disk: bytes) -> list[int]:
    """Offsets of the bytes that are not zero: all of them belong to the table."""
    return [at for at, byte in enumerate(disk) if byte]


def mutate(rng: random.Random, disk: bytes, places: list[int]) -> bytearray:
    data = bytearray(disk)
    for _ in range(rng.randint(1, 4)):
        at = rng.choice(places) + rng.randint(-8, 8)
        value = rng.choice(
            [
                rng.randbytes(1),
                rng.randbytes(4),
                bytes(8),
                b"\xff" * 8,
                struct.pack("<I", rng.getrandbits(13)),
            ]
        )
        at = max(0, min(at, len(data) - len(value)))
        data[at : at + len(value)] = value
    return data


def mend(data: bytearray) -> None:
    """True checksums over what the mutation left, so that the checks behind them are reached."""
    for lba in (1, len(data) // 512 - 1):
        at = lba * 512
        (length,) = struct.unpack_from("<I", data, at + 12)
        entries, count, size = struct.unpack_from("<QII", data, at + 72)
        if count * size <= MIB and entries < len(data):
            array = data[entries * 512 : entries * 512 + count * size]
            struct.pack_into("<I", data, at + 88, zlib.crc32(array))
        if length <= 512:
            struct.pack_into("<I", data, at + 16, 0)
            struct.pack_into("<I", data, at + 16, zlib.crc32(data[at : at + length]))


@pytest.mark.parametrize("mended", [False, True])
@pytest.mark.parametrize("kind", ["gpt", "dos"])
def test_mutated_tables(tmp_path: Path, kind: str, mended: bool) -> None:
    disk = make_disk(tmp_path, kind)
    places = places_of(disk)
    rng = random.Random(f"{kind} {mended}")
    for _ in range(ROUNDS):
        data = mutate(rng, disk, places)
        if mended and kind == "gpt":
            mend(data)
        try_to_read(data, rng.choice([512, 512, 4096]))


def test_random_bytes() -> None:
    rng = random.Random(1)
    for _ in range(ROUNDS):
        data = bytearray(rng.randbytes(rng.choice([0, 1, 511, 512, 2048, 5000, 65536])))
        if len(data) >= 1024 and rng.random() < 0.8:
            data[510:512] = b"\x55\xaa"
            for slot in range(4):
                data[446 + 16 * slot] = rng.choice([0, 0x80])
                data[450 + 16 * slot] = rng.choice([0, 5, 0x83, 0xEE, 0xF])
                struct.pack_into(
                    "<II", data, 454 + 16 * slot, rng.getrandbits(7), rng.getrandbits(6)
                )
            if rng.random() < 0.5:
                data[512:520] = b"EFI PART"
        try_to_read(data)


@pytest.mark.parametrize("count", [0xFFFFFFFF, 1 << 20, 0])
@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, 4097, 0])
def test_absurd_counts_are_not_believed(tmp_path: Path, count: int, size: int) -> None:
    data = bytearray(make_disk(tmp_path, "gpt"))
    for at in (512, len(data) - 512):
        struct.pack_into("<II", data, at + 80, count, size)
        struct.pack_into("<I", data, at + 16, 0)
        struct.pack_into("<I", data, at + 16, zlib.crc32(data[at : at + 92]))
    with pytest.raises(TableDamaged):
        read_table(Memory(data))


def test_longest_chain(tmp_path: Path) -> None:
    """As many records as fit, each pointing to the next, none with a partition."""
    data = bytearray(make_disk(tmp_path, "dos"))
    (start,) = struct.unpack_from("<I", data, 446 + 16 + 8)
    for index in range(1000):
        record = bytearray(512)
        struct.pack_into("<4xB3xII", record, 462, 5, index + 1, 1)
        record[510:] = b"\x55\xaa"
        data[(start + index) * 512 : (start + index + 1) * 512] = record
    with pytest.raises(TableDamaged, match="more than 128"):
        read_table(Memory(data))


def test_swap_headers() -> None:
    rng = random.Random(2)
    for _ in range(300):
        data = bytearray(rng.randbytes(65536))
        page = rng.choice([4096, 8192, 65536])
        data[page - 10 : page] = rng.choice([b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND\0"])
        struct.pack_into("<I", data, 1024, rng.choice([1, 1, rng.getrandbits(32)]))
        struct.pack_into("<I", data, 1032, rng.choice([0, 0, rng.getrandbits(32)]))
        with contextlib.suppress(FilesystemUnsupported):
            parse_swap(bytes(data[: rng.choice([10, 1025, 4096, 65536])]))
