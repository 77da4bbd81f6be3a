"""Memory for direct I/O."""

import ctypes
import gc

import pytest

from blockrep.buffers import HUGE_PAGE_BYTES, new_buffer


@pytest.mark.parametrize("size", [4096, HUGE_PAGE_BYTES - 4096, HUGE_PAGE_BYTES, 5 << 20])
def test_where_a_buffer_begins(size: int) -> None:
    buffer = new_buffer(size)
    address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    assert address % (HUGE_PAGE_BYTES if size >= HUGE_PAGE_BYTES else 4096) == 0
    assert len(buffer) == size
    assert not any(buffer)
    buffer[0] = buffer[-1] = 7
    part = buffer[-4096:]
    del buffer
    gc.collect()
    assert part[-1] == 7
