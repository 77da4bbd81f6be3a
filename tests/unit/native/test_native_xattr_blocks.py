"""Xattr blocks of inline directories, which resize2fs stores anew when it renumbers inodes."""

from __future__ import annotations

import os
import struct
from collections import Counter
from pathlib import Path

import pytest
from loops import mounted_image
from oracles import run

from blockrep.native import Filesystem

from .test_native_metadata import make_shadow
from .test_native_proof import prove

pytestmark = pytest.mark.root

BLOCK_BYTES = 1024
FOLDERS, SHARING = 40, 30
OPTIONS = "-t ext4 -b 1024 -g 1024 -I 256 -N 2048 -O inline_data,^has_journal"


def _fill(root: Path) -> None:
    """Directories in their inodes with xattrs in blocks: 30 share one, each other has its own.

    They lie in all groups. Their entries go on behind the 60 bytes of the mapping, in an xattr of
    the inode.
    """
    for number in range(FOLDERS):
        folder = root / f"folder{number}"
        folder.mkdir()
        for name in range(6):
            (folder / f"entry {name}").touch()
        own = number >= SHARING
        os.setxattr(folder, "user.kept", str(number).encode() if own else b"shared")
        os.setxattr(folder, "user.long", b"s" * 90)


def _xattr_blocks(image: Path) -> list[tuple[int, bytes]]:
    """Number and content, without the checksum, of the block of each folder."""
    found = []
    for number in range(FOLDERS):
        text = run("debugfs", "-R", f"stat /folder{number}", str(image))
        blk = int(text.split("File ACL: ")[1].split()[0])
        with image.open("rb") as file:
            file.seek(blk * BLOCK_BYTES)
            content = bytearray(file.read(BLOCK_BYTES))
        content[16:20] = bytes(4)
        found.append((blk, bytes(content)))
    return found


def _sharing(blocks: list[tuple[int, bytes]]) -> list[int]:
    """By how many folders each block is used."""
    return sorted(Counter(blk for blk, _ in blocks).values())


def test_the_blocks_of_inline_directories_are_kept(tmp_path: Path) -> None:
    image, shadow = tmp_path / "fs.img", tmp_path / "shadow.img"
    run("mke2fs", "-q", "-F", *OPTIONS.split(), str(image), "32M")
    with mounted_image(image) as root:
        _fill(root)
    wanted = _xattr_blocks(image)
    assert _sharing(wanted) == [1] * (FOLDERS - SHARING) + [SHARING]
    with Filesystem.open(image) as filesystem:
        blocks = filesystem.geometry.blocks
    make_shadow(image, shadow)
    run("resize2fs", "-f", str(shadow), str(blocks // 3))
    found = _xattr_blocks(shadow)
    # What there is to put right: no hash, and blocks that are shared no more.
    assert any(struct.unpack_from("<I", content, 12) == (0,) for _, content in found)
    assert len(_sharing(found)) > len(_sharing(wanted))
    assert prove(image, shadow)[0] > 10
    run("e2fsck", "-fn", str(shadow))
    found = _xattr_blocks(shadow)
    assert [content for _, content in found] == [content for _, content in wanted]
    assert _sharing(found) == _sharing(wanted)
