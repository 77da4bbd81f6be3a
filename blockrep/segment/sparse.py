"""An array with a number for each chunk, of which the most stay zero and take no memory."""

from __future__ import annotations

import mmap
import struct
from typing import Literal

from blockrep.segment.geometry import MAP_PAGE_BYTES


def sparse_array(kind: Literal["B", "H", "Q"], count: int) -> memoryview:
    """Zeros of a kind of `struct`; a page of memory is only taken when it is written."""
    item = struct.calcsize(kind)
    length = -(-max(1, count) * item // MAP_PAGE_BYTES) * MAP_PAGE_BYTES
    return memoryview(mmap.mmap(-1, length)).cast(kind)
