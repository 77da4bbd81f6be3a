"""The C core with types: open filesystems, what lies where in them, and proofs that two are equal.

The only importer of `blockrep._core`. Every position and length is in filesystem blocks unless its
name says bytes. A `Filesystem` belongs to one thread at a time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from blockrep._core import ffi, lib
from blockrep.errors import (
    BlockrepError,
    DeviceBusy,
    DeviceIO,
    DeviceNotFound,
    DoesNotFit,
    FilesystemDamaged,
    FilesystemUnsupported,
    InternalError,
    PermissionMissing,
)
from blockrep.extents import Extent

_ERRORS: dict[int, type[BlockrepError]] = {
    errno.EUCLEAN: FilesystemDamaged,
    errno.EOPNOTSUPP: FilesystemUnsupported,
    errno.ENOSPC: DoesNotFit,
    errno.EIO: DeviceIO,
    errno.ENXIO: DeviceIO,
    errno.ENOENT: DeviceNotFound,
    errno.EACCES: PermissionMissing,
    errno.EPERM: PermissionMissing,
    errno.EBUSY: DeviceBusy,
}


def _check(result: int, err: Any, damaged: type[BlockrepError] = FilesystemDamaged) -> None:
    """Raise what a negative errno of the core stands for; `damaged` is what EUCLEAN means here."""
    if result >= 0:
        return
    code = -result
    message = ffi.string(err.message).decode("utf-8", "replace") or os.strerror(code)
    if code == errno.EUCLEAN:
        raise damaged(message)
    raise _ERRORS.get(code, InternalError)(message)


def _extents(listed: Any) -> list[Extent]:
    """The content of a `struct br_extents *`, which is released."""
    try:
        if not listed.count:
            return []
        numbers = memoryview(ffi.buffer(listed.items, listed.count * 16)).cast("B").cast("Q")
        flat = numbers.tolist()
        return list(map(Extent, flat[::2], flat[1::2]))
    finally:
        lib.br_extents_free(listed)


@dataclass(frozen=True, slots=True)
class Geometry:
    blocks: int
    first_data_blk: int
    block_bytes: int
    cluster_blocks: int
    blocks_per_group: int
    inodes_per_group: int
    inodes: int
    groups: int


@dataclass(frozen=True, slots=True)
class Group:
    """Where one block group keeps its metadata; an unused bitmap is one that nobody reads."""

    number: int
    block_bitmap_blk: int
    inode_bitmap_blk: int
    table_blk: int
    table_blocks: int
    used_table_blocks: int
    block_bitmap_used: bool
    inode_bitmap_used: bool


class Filesystem:
    """An open ext2, ext3 or ext4 filesystem; a context manager.

    Methods raise `FilesystemDamaged` for damage they meet, `DeviceIO` for failed reads.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        raw = ffi.new("struct br_geometry *")
        lib.br_fs_geometry(handle, raw)
        self.geometry = Geometry(
            blocks=raw.blocks,
            first_data_blk=raw.first_data_blk,
            block_bytes=raw.block_bytes,
            cluster_blocks=raw.cluster_blocks,
            blocks_per_group=raw.blocks_per_group,
            inodes_per_group=raw.inodes_per_group,
            inodes=raw.inodes,
            groups=raw.groups,
        )

    @classmethod
    def open(
        cls, path: Path | str, offset_bytes: int = 0, *, writable: bool = False
    ) -> Filesystem:
        """Open the filesystem that begins at `offset_bytes` of `path`, with its bitmaps.

        The path of a memory file is `/proc/self/fd/N`. `FilesystemUnsupported` names features that
        the library does not know.
        """
        err = ffi.new("struct br_err *")
        out = ffi.new("struct br_fs **")
        _check(lib.br_fs_open(os.fsencode(path), offset_bytes, writable, out, err), err)
        return cls(out[0])

    def close(self) -> None:
        """Write back what changed and let go; safe to call twice."""
        handle, self._handle = self._handle, ffi.NULL
        if handle:
            err = ffi.new("struct br_err *")
            _check(lib.br_fs_close(handle, err), err)

    def __enter__(self) -> Filesystem:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def handle(self) -> Any:
        """The core's handle, while it is open."""
        if not self._handle:
            raise InternalError("the filesystem is closed")
        return self._handle

    def _list(self, function: Any) -> list[Extent]:
        err = ffi.new("struct br_err *")
        out = ffi.new("struct br_extents *")
        _check(function(self.handle, out, err), err)
        return _extents(out)

    def metadata(self) -> list[Extent]:
        """Every block whose content a shadow must hold; see `br_fs_metadata` for what that is."""
        return self._list(lib.br_fs_metadata)

    def groups(self) -> Iterator[Group]:
        """The block groups in order."""
        err = ffi.new("struct br_err *")
        raw = ffi.new("struct br_group *")
        for number in range(self.geometry.groups):
            _check(lib.br_fs_group(self.handle, number, raw, err), err)
            yield Group(
                number,
                raw.block_bitmap_blk,
                raw.inode_bitmap_blk,
                raw.table_blk,
                raw.table_blocks,
                raw.used_table_blocks,
                bool(raw.block_bitmap_used),
                bool(raw.inode_bitmap_used),
            )
