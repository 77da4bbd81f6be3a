"""Memory that disks are read into and written from."""

from __future__ import annotations

import contextlib
import ctypes
from mmap import MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap

HUGE_PAGE_BYTES = 2 << 20


def new_buffer(size_bytes: int) -> memoryview:
    """Memory on a page, fit for direct I/O; a large one in huge pages where there are any.

    With them a MiB is few segments for the disk's controller and few pages to pin, which can halve
    the time of direct I/O. The shared memory that is mmap's default hardly ever has them.
    """
    flags = MAP_PRIVATE | MAP_ANONYMOUS
    if size_bytes < HUGE_PAGE_BYTES:
        return memoryview(mmap(-1, size_bytes, flags=flags))
    memory = mmap(-1, size_bytes + HUGE_PAGE_BYTES, flags=flags)
    with contextlib.suppress(OSError):  # a kernel without them
        memory.madvise(MADV_HUGEPAGE)
    # Not every kernel lets a large mapping begin on one.
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % HUGE_PAGE_BYTES
    return memoryview(memory)[start : start + size_bytes]
