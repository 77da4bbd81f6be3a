"""A filesystem that is full behind the divider and will be 95 % full before it."""

from __future__ import annotations

import fcntl
import os
import random
import struct
from pathlib import Path

FIBMAP = 1
FIGETBSZ = 2
FILE_BYTES = 65_536


def fill_to_the_brim(root: Path, rng: random.Random, divider_bytes: int, length_bytes: int) -> None:
    """Fill to the last block, then delete below the divider until the rest fills 95 % of it.

    `divider_bytes` counts from the start of the filesystem, `length_bytes` is its whole size.
    """
    below = []
    for path in _files_until_full(root / "brim", rng):
        if _last_byte(path) < divider_bytes:
            below.append(path)
    status = os.statvfs(root)
    total_blk = length_bytes // status.f_bsize
    wanted_free = total_blk - divider_bytes * 95 // 100 // status.f_bsize
    rng.shuffle(below)
    while below and os.statvfs(root).f_bfree < wanted_free:
        below.pop().unlink()
        os.sync()


def _files_until_full(folder: Path, rng: random.Random) -> list[Path]:
    folder.mkdir()
    made = []
    for number in range(100_000):
        if number % 100 == 0:
            (folder / f"{number // 100:03}").mkdir()
        path = folder / f"{number // 100:03}" / f"{number:05}"
        try:
            with path.open("wb") as file:
                file.write(rng.randbytes(FILE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return made
        made.append(path)
    raise AssertionError("the filesystem does not fill up")


def _last_byte(path: Path) -> int:
    """The highest byte of the filesystem that a file's blocks reach."""
    with path.open("rb") as file:
        (block_bytes,) = struct.unpack("i", fcntl.ioctl(file, FIGETBSZ, bytes(4)))
        last = 0
        for index in range(FILE_BYTES // block_bytes):
            (block,) = struct.unpack("i", fcntl.ioctl(file, FIBMAP, struct.pack("i", index)))
            last = max(last, (block + 1) * block_bytes)
        return last
