"""Chunks that are about to be applied: compared with their digests, their old blocks gathered.

What lies on the disk is read into *slots* of a whole chunk, each block in its place. `ValueError`
means that chunks and buffers do not fit each other. The work is done in C without the
interpreter's lock, for many chunks in one call.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from blockrep._core import ffi, lib
from blockrep.chunks import BytesLike
from blockrep.errors import InternalError

NO_SLOT = 0xFFFFFFFF

_CHUNK = struct.Struct("<HHHHI32s32sBBxx")


class StageChunk(NamedTuple):
    """A chunk as it shall be, what came of it, what it was, and where that was read to."""

    mask: int
    sent: int
    old_mask: int
    saved: int  # blocks of the slot that `gather_saved` copies
    slot: int  # NO_SLOT: nothing was read, and nothing of it is needed
    digest: bytes
    old_digest: bytes


class Checked(NamedTuple):
    """Whether what was put together, and what lay there, have their digests."""

    new_good: bool
    old_good: bool  # False where nothing was read


def check_chunks(chunks: Sequence[StageChunk], sent: BytesLike, old: BytesLike) -> list[Checked]:
    """Compare both digests of each chunk; `sent` has the blocks that came, packed."""
    table = _table(chunks)
    _check(
        lib.br_stage_check(
            _chunks(table), len(chunks), _bytes(sent), len(sent), _bytes(old), len(old)
        )
    )
    return [Checked(bool(item[7]), bool(item[8])) for item in _CHUNK.iter_unpack(table)]


def gather_saved(chunks: Sequence[StageChunk], old: BytesLike, out: memoryview) -> None:
    """Fill `out` with the saved blocks of all chunks, packed."""
    table = _table(chunks)
    target = ffi.from_buffer("uint8_t[]", out, require_writable=True)
    _check(lib.br_stage_save(_chunks(table), len(chunks), _bytes(old), len(old), target, len(out)))


def _table(chunks: Sequence[StageChunk]) -> bytearray:
    table = bytearray(len(chunks) * _CHUNK.size)
    for index, chunk in enumerate(chunks):
        _CHUNK.pack_into(table, index * _CHUNK.size, *chunk, 0, 0)
    return table


def _chunks(table: bytearray) -> Any:
    return ffi.from_buffer("struct br_stage_chunk[]", table, require_writable=True)


def _bytes(data: BytesLike) -> Any:
    return ffi.from_buffer("uint8_t[]", data)


def _check(result: int) -> None:
    if result == -errno.EINVAL:
        raise ValueError("the chunks do not fit their buffers")
    if result:
        raise InternalError(f"the core failed with {result}")
