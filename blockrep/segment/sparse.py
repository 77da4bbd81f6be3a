"""An array with a number for each chunk, of which the most stay zero and take no memory."""

from __future__ import annotations

import mmap
import struct
from typing import Literal

from blockrep.segment.geometry import MAP_PAGE_BYTES


def sparse_array(kind: Literal["B", "H", "Q"], count: int) -> memoryview:
    """Zeros, a number for each chunk; a page of memory is only taken when it is written.

    Private, because reading a page of shared memory takes it.
    """
    length = -(-max(1, count) * struct.calcsize(kind) // MAP_PAGE_BYTES) * MAP_PAGE_BYTES
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return memoryview(memory).cast(kind)
