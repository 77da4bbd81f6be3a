"""What is in a range of an image, by libblkid."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blockrep.disk.filesystems import Content, identify
from blockrep.errors import DeviceIO

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(24 * MIB))
    return path


def put(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_ext_at_an_offset(image: Path, kind: str) -> None:
    subprocess.run(
        [
            "mke2fs", "-q", "-t", kind, "-L", 'ö "x" \\', "-E", f"offset={4 * MIB}",
            str(image), "16M",
        ],
        check=True, timeout=30, capture_output=True,
    )  # fmt: skip
    content = identify(image, 4 * MIB, 16 * MIB)
    assert content.is_ext
    assert (content.type, content.usage, content.label) == (kind, "filesystem", 'ö "x" \\')
    assert len(content.uuid) == 36


def test_nothing_is_recognised(image: Path) -> None:
    assert identify(image, 0, 24 * MIB) == Content()


def test_content_outside_the_range_is_not_seen(image: Path) -> None:
    subprocess.run(["mke2fs", "-q", str(image)], check=True, timeout=30)
    assert identify(image, 5 * MIB, 8 * MIB) == Content()


@pytest.mark.parametrize(
    ("offset", "mark", "kind", "usage"),
    [
        (0, b"LUKS\xba\xbe\x00\x01", "crypto_LUKS", "crypto"),
        (0, b"hsqs" + bytes(24) + b"\x04\x00\x00\x00", "squashfs", "filesystem"),
        (65536 + 64, b"_BHRfS_M", "btrfs", "filesystem"),
    ],
)
def test_other_kinds(image: Path, offset: int, mark: bytes, kind: str, usage: str) -> None:
    put(image, offset, mark)
    content = identify(image, 0, 24 * MIB)
    assert (content.type, content.usage) == (kind, usage)


def test_two_kinds_at_once_are_said(image: Path) -> None:
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(image)], check=True, timeout=30)
    put(image, 0, b"hsqs")
    content = identify(image, 0, 24 * MIB)
    assert content.type == ""
    assert any("ext4" in kind for kind in content.ambivalent)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceIO, match="cannot look into"):
        identify(tmp_path / "nothing", 0, 4096)
