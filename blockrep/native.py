"""The only importer of the C core."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockrep._core import ffi, lib
from blockrep.errors import (
    BlockrepError,
    DoesNotFit,
    FilesystemDamaged,
    FilesystemUnsupported,
    InternalError,
)
from blockrep.extents import Extent


def crc32c(seed: int, data: bytes) -> int:
    """CRC32C as ext4 uses it: reflected, seeded, no final inversion."""
    return int(lib.br_crc32c(seed, ffi.from_buffer("uint8_t[]", data), len(data)))


@dataclass(frozen=True, slots=True)
class ConsolidateStats:
    """What a consolidation did; `_blk` are filesystem blocks."""

    regular_files: int
    fragmented_before: int  # regular files in more than one run
    fragmented_after: int
    files_moved: int  # inodes of which at least one block moves
    files_joined: int  # of those, regular files that had nothing to evacuate
    must_blk: int  # data blocks that could not stay
    copied_blk: int  # data blocks that move
    copied_runs: int
    nodes_allocated: int  # tree nodes and indirect blocks at new places
    attributes_moved: int  # extended attribute blocks
    recounted_inodes: int  # inodes whose i_blocks changed: quota has to follow
    free_blk: int  # usable free blocks below the end before and ...
    free_after_blk: int  # ... after, not counting what was freed


def consolidate(
    shadow: Path,
    end_blk: int,
    forbidden: Sequence[Extent],
    join: bool,
    pinned: Sequence[int] = (),
) -> ConsolidateStats:
    """Map everything at or past `end_blk`, or in `forbidden`, into blocks below that are free now.

    `shadow` is a file with the metadata of an ext2/3/4 filesystem at its true offsets. Data is not
    copied, metadata content is; group metadata stays for resize2fs. With `join`, fragmented regular
    files below the end also get one run each where there is one. Inodes in `pinned` are not moved.

    Raises DoesNotFit (the shadow is unchanged), FilesystemUnsupported (a pinned inode would have to
    move), FilesystemDamaged; after any but the first the shadow is to be thrown away.
    """
    forbidden_c = ffi.new("struct br_extent[]", [tuple(extent) for extent in forbidden])
    pinned_c = ffi.new("uint32_t[]", list(pinned))
    request = ffi.new("struct br_consolidate_request *")
    request.end_blk = end_blk
    request.forbidden = forbidden_c
    request.forbidden_count = len(forbidden)
    request.pinned = pinned_c
    request.pinned_count = len(pinned)
    request.join = join
    stats = ffi.new("struct br_consolidate_stats *")
    err = ffi.new("struct br_err *")
    handle = ffi.new("struct br_fs **")
    _check(lib.br_fs_open(bytes(shadow), 0, 1, handle, err), err)
    result = lib.br_consolidate(handle[0], request, stats, err)
    # What failed must not hide behind a failure to write back what is thrown away anyway.
    closed = lib.br_fs_close(handle[0], err if result == 0 else ffi.NULL)
    _check(result or closed, err)
    fields = ConsolidateStats.__dataclass_fields__
    return ConsolidateStats(**{name: int(getattr(stats, name)) for name in fields})


_ERRORS: dict[int, type[BlockrepError]] = {
    errno.ENOSPC: DoesNotFit,
    errno.EBUSY: FilesystemUnsupported,
    errno.EOPNOTSUPP: FilesystemUnsupported,
    errno.EIO: FilesystemDamaged,
    errno.EUCLEAN: FilesystemDamaged,
}


def _check(result: int, err: Any) -> None:
    if result:
        kind = _ERRORS.get(-result, InternalError)
        raise kind(ffi.string(err.message).decode(errors="replace"))
