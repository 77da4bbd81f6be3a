"""Free blocks that hold what old files left there, as on every disk that has been in use."""

from __future__ import annotations

import os
import random
from pathlib import Path

from blockrep.native import Filesystem

BLOCK_BYTES = 4096
POOL_BYTES = 4 << 20
PIECE_BYTES = 2 << 20


def leave_old_data(image: Path, most_bytes: int) -> None:
    """Fill the free blocks of the bare filesystem in `image`, from its start on."""
    chance = random.Random(1)
    pool = b"".join(chance.randbytes(600) + b"stale   " * 53 for _ in range(POOL_BYTES // 1024))
    with Filesystem.open(image) as filesystem:
        free = filesystem.free()
    with image.open("rb+") as file:
        for extent in free:
            file.seek(extent.start * BLOCK_BYTES)
            for _ in range(0, extent.length * BLOCK_BYTES, PIECE_BYTES):
                here = file.tell()
                length = min(PIECE_BYTES, extent.end * BLOCK_BYTES - here, most_bytes)
                begin = chance.randrange(POOL_BYTES - PIECE_BYTES)
                most_bytes -= file.write(pool[begin : begin + length])
        file.flush()
        os.fsync(file.fileno())
