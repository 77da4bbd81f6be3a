"""Swap headers as mkswap makes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blockrep.disk.filesystems import identify
from blockrep.disk.swap import Swap, build_swap_header, parse_swap
from blockrep.errors import FilesystemUnsupported

MIB = 1 << 20
UUID = "5b6ef8d0-0bcf-4c35-9b5e-7a52c1b3b9a1"


def make_swap(path: Path, length_bytes: int, page_bytes: int, label: str) -> bytes:
    path.touch(mode=0o600)
    path.write_bytes(bytes(length_bytes))
    subprocess.run(
        ["mkswap", "-q", "-U", UUID, "-L", label, "-p", str(page_bytes), str(path)],
        capture_output=True, check=True, timeout=30,
    )  # fmt: skip
    return path.read_bytes()


@pytest.mark.parametrize("page_bytes", [4096, 8192, 16384, 32768, 65536])
@pytest.mark.parametrize("length_bytes", [MIB, 3 * MIB + 5 * 512])
@pytest.mark.parametrize("label", ["", "fifteen letters", "Größe"])
def test_header_equals_that_of_mkswap(
    tmp_path: Path, page_bytes: int, length_bytes: int, label: str
) -> None:
    made = make_swap(tmp_path / "swap", length_bytes, page_bytes, label)
    swap = parse_swap(made[:65536])
    whole = length_bytes // page_bytes * page_bytes
    assert swap == Swap(UUID, label, page_bytes, whole)
    assert build_swap_header(swap, length_bytes) == made[:page_bytes]


def test_blkid_sees_the_same(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    path.write_bytes(build_swap_header(Swap(UUID, "my swap", 4096, 0), MIB) + bytes(MIB - 4096))
    content = identify(path, 0, MIB)
    assert (content.type, content.uuid, content.label) == ("swap", UUID, "my swap")


@pytest.mark.parametrize("mark", [b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001"])
def test_hibernated_system_is_refused(tmp_path: Path, mark: bytes) -> None:
    made = bytearray(make_swap(tmp_path / "swap", MIB, 4096, ""))
    made[4086:4096] = mark
    with pytest.raises(FilesystemUnsupported, match="hibernated"):
        parse_swap(bytes(made))


@pytest.mark.parametrize(("at", "word"), [(1024, "version"), (1032, "bad pages")])
def test_odd_headers_are_refused(tmp_path: Path, at: int, word: str) -> None:
    made = bytearray(make_swap(tmp_path / "swap", MIB, 4096, ""))
    made[at] = 7
    with pytest.raises(FilesystemUnsupported, match=word):
        parse_swap(bytes(made))


@pytest.mark.parametrize("data", [b"", bytes(100), bytes(4096), bytes(65536), b"SWAPSPACE2"])
def test_no_swap(data: bytes) -> None:
    assert parse_swap(data) is None


def test_too_small_an_area() -> None:
    with pytest.raises(ValueError, match="at least"):
        build_swap_header(Swap(UUID, "", 4096, 0), 9 * 4096)
