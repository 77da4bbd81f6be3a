"""The owner's copy of the map of its last epoch, so that nothing has to be asked of the holders.

A file in the state folder; it may be lost or stale at any time and is believed only where all of
it agrees. 16 KiB of head, then the pages of the map as in a segment:

    0 magic BLKRKEPT 8, version 4, holders 4, epoch record 1024, then per holder: segment 16, map
    generation 8 (at most 600); the last 32 bytes are the SHA-256 of those before.

Beside it lies the id that the next epoch will have: what an earlier try with it has brought to a
holder stays there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blockrep.chunks import PAGE_BYTES, RootHasher, map_pages, page_is_sound
from blockrep.errors import BlockrepError, RecordDamaged
from blockrep.folders import flush_folder
from blockrep.segment.epoch import EPOCH_BYTES, ID_BYTES, Epoch, parse_epoch, verify_epoch
from blockrep.transfer.map_file import MapFile

HEAD_BYTES = 16 << 10
MAX_HOLDERS = 600
_MAGIC = b"BLKRKEPT"
_VERSION = 1
_FIXED = struct.Struct(f"<8sII{EPOCH_BYTES}s")
_HOLDER = struct.Struct("<16sQ")
_DIGEST_AT = HEAD_BYTES - 32


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an epoch: `generations` are the map generations of segments that have it."""

    record: bytes
    epoch: Epoch
    generations: Mapping[bytes, int]


class KeptMap:
    """The file of one device of ours; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = path.with_name(path.name + ".next")

    @property
    def folder(self) -> Path:
        return self._path.parent

    def load(self, owner_key: bytes, device_id: bytes) -> Kept | None:
        """The head, if there is one that is whole and of this device."""
        try:
            with self._path.open("rb") as file:
                kept = _parse_head(file.read(HEAD_BYTES), owner_key)
        except (OSError, BlockrepError):
            return None
        return kept if kept.epoch.device == device_id else None

    def load_map(self, kept: Kept, into: MapFile) -> bool:
        """Whether the pages are those of the epoch; then `into` has them."""
        hasher = RootHasher(kept.epoch.content_bytes)
        try:
            with self._path.open("rb") as file:
                file.seek(HEAD_BYTES)
                for first, piece in into.pieces(map_pages(kept.epoch.content_bytes)):
                    if file.readinto(piece) != len(piece) or not _are_sound(piece, first):
                        return False
                    hasher.update(piece)
        except OSError:
            return False
        return hasher.finish() == kept.epoch.root

    def save(self, record: bytes, generations: Mapping[bytes, int], pages: MapFile) -> None:
        """Replace what was kept; a crash leaves the old file or the new one. `OSError`."""
        content_bytes = parse_epoch(record).content_bytes
        new = self._path.with_name(self._path.name + ".new")
        with new.open("wb") as file:
            file.write(_build_head(record, generations))
            for _, piece in pages.pieces(map_pages(content_bytes)):
                file.write(piece)
            file.flush()
            # Before the new name stands for it, all of it must be on the disk.
            os.fsync(file.fileno())
        new.rename(self._path)
        flush_folder(self.folder)

    def next_id(self) -> bytes:
        """The id of the next epoch, the same until `used_id`: so a later try can go on with it."""
        with contextlib.suppress(OSError):
            found = self._next.read_bytes()
            if len(found) == ID_BYTES and any(found):
                return found
        made = secrets.token_bytes(ID_BYTES)
        # If it cannot be kept, a later try begins anew.
        with contextlib.suppress(OSError):
            self._next.write_bytes(made)
        return made

    def used_id(self) -> None:
        """The id belongs to an epoch now."""
        self._next.unlink(missing_ok=True)


def _build_head(record: bytes, generations: Mapping[bytes, int]) -> bytes:
    holders = list(generations.items())[:MAX_HOLDERS]
    head = bytearray(HEAD_BYTES)
    _FIXED.pack_into(head, 0, _MAGIC, _VERSION, len(holders), record)
    for index, holder in enumerate(holders):
        _HOLDER.pack_into(head, _FIXED.size + index * _HOLDER.size, *holder)
    head[_DIGEST_AT:] = hashlib.sha256(head[:_DIGEST_AT]).digest()
    return bytes(head)


def _parse_head(head: bytes, owner_key: bytes) -> Kept:
    if len(head) != HEAD_BYTES or hashlib.sha256(head[:_DIGEST_AT]).digest() != head[_DIGEST_AT:]:
        raise RecordDamaged("the kept map is damaged")
    magic, version, count, record = _FIXED.unpack_from(head)
    if magic != _MAGIC or version != _VERSION or count > MAX_HOLDERS:
        raise RecordDamaged("this is no kept map")
    holders = _HOLDER.iter_unpack(head[_FIXED.size : _FIXED.size + count * _HOLDER.size])
    return Kept(record, verify_epoch(record, owner_key), dict(holders))


def _are_sound(pages: memoryview, first: int) -> bool:
    return all(
        page_is_sound(pages[at : at + PAGE_BYTES], first + at // PAGE_BYTES)
        for at in range(0, len(pages), PAGE_BYTES)
    )
