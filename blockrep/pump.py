"""The used blocks of a disk, read and digested by several threads, in the order of the disk.

Reading, leaving out zeros, encrypting and digesting happen in C without the interpreter's lock;
Python sees a batch for each MiB of the disk that has a used block.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from blockrep._core import ffi, lib
from blockrep.buffers import new_buffer
from blockrep.chunks import (
    CHUNK_BYTES,
    KEY_BYTES,
    PAGE_BYTES,
    BytesLike,
    map_pages,
)
from blockrep.closing import Closing
from blockrep.errors import DeviceIO, InternalError
from blockrep.extents import Extent

WINDOW_CHUNKS = 16
WINDOW_BYTES = WINDOW_CHUNKS * CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Batch:
    """A MiB of the disk: 16 chunks, or what is left of the content.

    A mask is 0 for a chunk without a used block, too. `blocks` are the stored blocks, packed, as
    they are to be stored; they are overwritten after the next step of the iteration.
    """

    first_chunk: int
    masks: tuple[int, ...]
    blocks: memoryview


class Pump(Closing):
    """One pass over the used blocks of a disk; an iterator of batches and a context manager.

    The entries of the chunks that have a block in `used` are written to `new_map` as their batch
    comes out, and their pages sealed; other entries stay as they are. So `used` may also be what
    changed since another pass, rounded to whole chunks, over a copy of that pass's map.

    Belongs to one thread at a time. Memory is `slots` MiB, and does not grow with the disk. More
    threads than processors keep the disk busy while others digest.
    """

    def __init__(
        self,
        fd: int,
        content_bytes: int,
        used: Sequence[Extent],
        key: bytes | None,
        new_map: BytesLike,
        workers: int = 8,
        slots: int = 16,
    ) -> None:
        """Start reading `fd`, best opened with O_DIRECT; it may be closed any time.

        `used` are bytes: whole blocks below the content's end (the last may reach past it, and is
        filled up with zeros), ascending, disjoint; `ValueError` otherwise. `key` has 64 bytes, or
        is None where nothing is encrypted. `new_map` is all pages of the map of the content.
        """
        _check_arguments(content_bytes, key, new_map, workers, slots)
        self._name = _name_of(fd)
        buffers = new_buffer(slots * WINDOW_BYTES)
        self._blocks = buffers.toreadonly()
        self._batch = ffi.new("struct br_batch *")
        # All that C points to while threads run; it is let go of only after they have ended.
        held = {
            "fd": fd,
            "content_bytes": content_bytes,
            "extents": ffi.from_buffer("struct br_extent[]", _flat(used)),
            "extent_count": len(used),
            "key": ffi.from_buffer("uint8_t[]", key) if key else ffi.NULL,
            "map": ffi.from_buffer("uint8_t[]", new_map, require_writable=True),
            "buffers": ffi.from_buffer("uint8_t[]", buffers, require_writable=True),
            "workers": workers,
            "slots": slots,
        }
        out = ffi.new("struct br_pump **")
        result = lib.br_pump_open(ffi.new("struct br_pump_request *", held), out)
        if result == -errno.EINVAL:
            raise ValueError("the extents are not whole blocks of the content in order")
        _check(result)

        def close(handle: Any, _held: dict[str, Any] = held) -> None:
            lib.br_pump_close(handle)

        self._handle = ffi.gc(out[0], close)

    def close(self) -> None:
        """Stop the threads wherever they are and wait for their end; safe to call twice.

        That may take as long as one read of the disk. The last batch stays readable.
        """
        handle, self._handle = self._handle, None
        if handle is not None:
            ffi.release(handle)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch; `DeviceIO` with the offset in the place of one that cannot be read."""
        raw = self._batch
        raw.state = lib.BR_PUMP_WAIT
        # C comes back every tenth of a second, so that a signal is seen.
        while raw.state == lib.BR_PUMP_WAIT:
            if self._handle is None:
                raise StopIteration
            self._check_read(lib.br_pump_next(self._handle, raw))
        if raw.state == lib.BR_PUMP_END:
            raise StopIteration
        blocks = self._blocks[raw.buffer_at : raw.buffer_at + raw.stored_bytes]
        return Batch(raw.first_chunk, tuple(raw.masks[0 : raw.chunks]), blocks)

    def _check_read(self, result: int) -> None:
        at = self._batch.failed_at
        if result == -errno.ENODATA:
            raise DeviceIO(f"{self._name} ends at byte {at}, before its stated size")
        if result == -errno.ENOMEM:
            raise InternalError("there is no memory for digests")
        if result:
            raise DeviceIO(f"{self._name}: cannot read at byte {at}: {os.strerror(-result)}")


def _check_arguments(
    content_bytes: int, key: bytes | None, new_map: BytesLike, workers: int, slots: int
) -> None:
    if key is not None and (len(key) != KEY_BYTES or key[:32] == key[32:]):
        raise ValueError(f"a key has {KEY_BYTES} bytes and two different halves")
    if not 0 <= content_bytes < 2**62:
        raise ValueError(f"{content_bytes} bytes are no disk")
    if len(new_map) != map_pages(content_bytes) * PAGE_BYTES:
        raise ValueError(f"the map has {len(new_map)} bytes")
    if not (1 <= workers <= 64 and 1 <= slots <= 4096):
        raise ValueError(f"{workers} threads with {slots} slots")


def _flat(used: Sequence[Extent]) -> array[int]:
    try:
        return array("Q", chain.from_iterable(used))
    except OverflowError as error:
        raise ValueError("an extent does not lie on a disk") from error


def _name_of(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def _check(result: int) -> None:
    if result:
        raise InternalError(f"cannot start reading: {os.strerror(-result)}")
