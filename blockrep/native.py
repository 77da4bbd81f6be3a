"""The C core with types: open filesystems, what lies where in them, and proofs that two are equal.

`chunks` and `pump` have what the core does besides. Every position and length is in filesystem
blocks unless its name says bytes. A `Filesystem` belongs to one thread at a time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from blockrep._core import ffi, lib
from blockrep.closing import Closing
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
    ProofFailed,
)
from blockrep.extents import Extent


def crc32c(seed: int, data: bytes) -> int:
    """CRC32C as ext4 uses it: reflected, seeded, no final inversion."""
    return int(lib.br_crc32c(seed, ffi.from_buffer("uint8_t[]", data), len(data)))


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


class FileKind(IntEnum):
    """What an inode's blocks hold; the numbers are the core's."""

    FILE = 0
    EA = 1
    DIRECTORY = 2
    SYMLINK = 3
    SPECIAL = 4
    JOURNAL = 5
    QUOTA = 6
    ORPHAN = 7
    RESIZE = 8
    BAD_BLOCKS = 9


class FileExtent(NamedTuple):
    """`length` blocks of a file from its block `lblk` on, at `pblk` of the filesystem."""

    lblk: int
    pblk: int
    length: int
    unwritten: bool


@dataclass(frozen=True, slots=True)
class File:
    """An inode in use. `paths` are all its names (absolute; undecodable bytes as surrogates)."""

    ino: int
    kind: FileKind
    mode: int
    size_bytes: int
    blocks: int
    runs: int
    paths: tuple[str, ...]
    extents: tuple[FileExtent, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a whole filesystem; a fragmented file lies in more runs than it needs."""

    used_blocks: int
    highest_used_blk: int
    file_blocks: int
    fragmented_blocks: int
    inodes_used: int
    files: int
    fragmented_files: int
    directories: int
    symlinks: int
    devices: int
    ea_inodes: int
    system_inodes: int


class Cell(NamedTuple):
    """Blocks of one part of the filesystem by what they hold."""

    metadata: int
    contiguous: int
    fragmented: int
    unused: int


class Filesystem(Closing):
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
    def open(cls, path: Path | str, offset_bytes: int = 0, *, writable: bool = False) -> Filesystem:
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

    def free(self) -> list[Extent]:
        """What the block bitmap calls free, in order."""
        return self._list(lib.br_fs_free_extents)

    def used(self) -> list[Extent]:
        """What the block bitmap calls used, in order."""
        return self._list(lib.br_fs_used_extents)

    def effective_size(self, blocks: int) -> int:
        """The size that resize2fs makes of `blocks`; `DoesNotFit` when not one group fits."""
        err = ffi.new("struct br_err *")
        out = ffi.new("uint64_t *")
        _check(lib.br_fs_effective_size(self.handle, blocks, out, err), err)
        return int(out[0])

    def minimum_blocks(self) -> int:
        """The smallest size that holds the used blocks and inodes and the metadata they need."""
        err = ffi.new("struct br_err *")
        out = ffi.new("uint64_t *")
        _check(lib.br_fs_minimum_blocks(self.handle, out, err), err)
        return int(out[0])

    @contextmanager
    def _map(self) -> Iterator[Any]:
        """The core's table of all files; built anew each time, since the filesystem may change."""
        err = ffi.new("struct br_err *")
        out = ffi.new("struct br_map **")
        _check(lib.br_map_open(self.handle, out, err), err)
        try:
            yield out[0]
        finally:
            lib.br_map_close(out[0])

    def summary(self) -> Summary:
        """Count inodes by kind, blocks, and fragmented files."""
        err = ffi.new("struct br_err *")
        raw = ffi.new("struct br_summary *")
        with self._map() as table:
            _check(lib.br_map_summary(table, raw, err), err)
        return Summary(**{field.name: getattr(raw, field.name) for field in fields(Summary)})

    def cells(self, count: int) -> list[Cell]:
        """What lies in each of `count` equal parts, for the pictures; at most one per block."""
        err = ffi.new("struct br_err *")
        count = min(count, self.geometry.blocks)
        raw = ffi.new("struct br_cell[]", count)
        with self._map() as table:
            _check(lib.br_map_cells(table, raw, count, err), err)
        return [Cell(c.metadata, c.contiguous, c.fragmented, c.unused) for c in raw]

    def files(self) -> Iterator[File]:
        """Every inode in use with its names and extents, in inode order."""
        paths = _Paths(self.handle)
        count = ffi.new("size_t *")
        with self._map() as table:
            extents = lib.br_map_extents(table, count)
            inodes = lib.br_map_inodes(table, count)
            for index in range(count[0]):
                raw = inodes[index]
                first = raw.first_extent
                yield File(
                    ino=raw.ino,
                    kind=FileKind(raw.kind),
                    mode=raw.mode,
                    size_bytes=raw.size_bytes,
                    blocks=raw.blocks,
                    runs=raw.runs,
                    paths=paths.of(raw.ino),
                    extents=tuple(
                        FileExtent(e.lblk, e.pblk, e.length, bool(e.unwritten))
                        for e in (extents[i] for i in range(first, first + raw.extent_count))
                    ),
                )


_ROOT_INO = 2


class _Paths:
    """The paths of all inodes, from the names in all directories."""

    def __init__(self, handle: Any) -> None:
        err = ffi.new("struct br_err *")
        out = ffi.new("struct br_names **")
        _check(lib.br_names_open(handle, out, err), err)
        try:
            self._names = _names(out[0])
        finally:
            lib.br_names_close(out[0])

    def of(self, ino: int) -> tuple[str, ...]:
        """All absolute paths of an inode; none for what no directory reachable from / names."""
        if ino == _ROOT_INO:
            return ("/",)
        named = ((self._folder(parent), name) for parent, name in self._names.get(ino, ()))
        return tuple(f"{folder}/{name}" for folder, name in named if folder is not None)

    def _folder(self, ino: int) -> str | None:
        """The path of a directory without a final slash, or None when it hangs in no tree."""
        parts: list[str] = []
        seen = {ino}
        while ino != _ROOT_INO:
            if ino not in self._names:
                return None
            ino, name = self._names[ino][0]
            if ino in seen:
                return None
            seen.add(ino)
            parts.append(name)
        return "".join("/" + part for part in reversed(parts))


def _names(table: Any) -> dict[int, list[tuple[int, str]]]:
    """From inode to its `(folder, name)` pairs."""
    count = ffi.new("size_t *")
    text = lib.br_names_text(table, count)
    pool = ffi.buffer(text, count[0])[:] if count[0] else b""
    items = lib.br_names_items(table, count)
    result: dict[int, list[tuple[int, str]]] = {}
    for index in range(count[0]):
        raw = items[index]
        name = os.fsdecode(pool[raw.text_at : raw.text_at + raw.length])
        result.setdefault(raw.ino, []).append((raw.parent_ino, name))
    return result


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
    *,
    at_any_cost: bool = False,
) -> ConsolidateStats:
    """Map everything at or past `end_blk`, or in `forbidden`, into blocks below that are free now.

    `shadow` is a file with the metadata of an ext2/3/4 filesystem at its true offsets. Data is not
    copied, metadata content is; group metadata stays for resize2fs. With `join`, fragmented regular
    files below the end also get one run each where there is one, as long as that costs little
    beside what has to move, or `at_any_cost`. Inodes in `pinned` are not moved.

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
    request.at_any_cost = at_any_cost
    stats = ffi.new("struct br_consolidate_stats *")
    err = ffi.new("struct br_err *")
    handle = ffi.new("struct br_fs **")
    _check(lib.br_fs_open(os.fsencode(shadow), 0, 1, handle, err), err)
    result = lib.br_consolidate(handle[0], request, stats, err)
    # What failed must not hide behind a failure to write back what is thrown away anyway.
    closed = lib.br_fs_close(handle[0], err if result == 0 else ffi.NULL)
    _check(result or closed, err)
    names = (field.name for field in fields(ConsolidateStats))
    return ConsolidateStats(**{name: int(getattr(stats, name)) for name in names})


class Copy(NamedTuple):
    """`length` blocks of file data that go from `src` to `dst`."""

    src: int
    dst: int
    length: int


class InodeMap:
    """Which inode of the old filesystem is which of the new one; opaque but for the count."""

    def __init__(self, handle: Any) -> None:
        self.handle = ffi.gc(handle, lib.br_inode_map_free)
        self.renumbered = int(lib.br_inode_map_renumbered(handle))


def match_inodes(before: Filesystem, after: Filesystem) -> InodeMap:
    """Walk both in step and find each inode of `before` again in `after`.

    `ProofFailed` names what has no counterpart, or two. Cheap when nothing was renumbered.
    """
    err = ffi.new("struct br_err *")
    out = ffi.new("struct br_inode_map **")
    _check(lib.br_match(before.handle, after.handle, out, err), err, ProofFailed)
    return InodeMap(out[0])


def restore_inodes(before: Filesystem, after: Filesystem, inodes: InodeMap) -> None:
    """Put right on `after`, which is writable, what resize2fs gets wrong.

    Times and other fields of inodes, numbers of special inodes in the superblock, checksums of the
    orphan file, the journal's backup, free counts, usage in quota files. `after` is undefined on
    failure.
    """
    err = ffi.new("struct br_err *")
    result = lib.br_restore(before.handle, after.handle, inodes.handle, err)
    _check(result, err, ProofFailed)


def compare(before: Filesystem, after: Filesystem, inodes: InodeMap) -> list[Copy]:
    """Prove that `after` holds every inode of `before`; give the copies that its data needs.

    Copies are sorted by source and joined. Content that lives in metadata is compared here: from
    the device for `before`, from the shadow for `after`. `ProofFailed` names the first difference.
    """
    err = ffi.new("struct br_err *")
    out = ffi.new("struct br_copies *")
    _check(lib.br_compare(before.handle, after.handle, inodes.handle, out, err), err, ProofFailed)
    try:
        if not out.count:
            return []
        flat = memoryview(ffi.buffer(out.items, out.count * 24)).cast("B").cast("Q").tolist()
        return list(map(Copy, flat[::3], flat[1::3], flat[2::3]))
    finally:
        lib.br_copies_free(out)
