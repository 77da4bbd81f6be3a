"""Chunks of a replica: masks, digests, the pages of their map, and blocks on their way.

Everything is as docs/segment-format.md has it. *Packed* blocks are those that masks name, chunk by
chunk, ascending, without gaps. `ValueError` means that arguments do not fit each other: what a peer
has said is checked by whoever read it. The work is done in C without the interpreter's lock.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Sequence
from mmap import mmap
from typing import Any, NamedTuple, TypeAlias

from blockrep._core import ffi, lib
from blockrep.errors import InternalError

BytesLike: TypeAlias = bytes | bytearray | memoryview | mmap
"""Contiguous bytes; what is written to must be writable."""

BLOCK_BYTES = 4096
CHUNK_BLOCKS = 16
CHUNK_BYTES = CHUNK_BLOCKS * BLOCK_BYTES
PAGE_BYTES = 4096
ENTRIES_PER_PAGE = 102
DIGEST_BYTES = 32
SHORT_DIGEST_BYTES = 8
KEY_BYTES = 64
MAX_RAW_BYTES = 64 * CHUNK_BYTES
"""The most that is compressed or decompressed at once: what DATA of the wire protocol may hold."""

_CHUNK_NUMBER_BITS = 60  # so that the number of a block has 64
_PAGE_HEAD_BYTES = 16
_ENTRY = struct.Struct("<HH4x32s")
_ROOT_PREFIX = b"blockrep root 1\0"


class Entry(NamedTuple):
    """What the map says of a chunk: which blocks are stored, which are kept, the digest."""

    mask: int
    kept: int
    digest: bytes


EMPTY = Entry(0, 0, bytes(DIGEST_BYTES))


def chunk_count(content_bytes: int) -> int:
    """How many chunks begin below the end of the content."""
    return -(-content_bytes // CHUNK_BYTES)


def map_pages(content_bytes: int) -> int:
    """How many pages their entries take."""
    return -(-chunk_count(content_bytes) // ENTRIES_PER_PAGE)


def packed_bytes(masks: Sequence[int]) -> int:
    """The length of the blocks that masks name."""
    return BLOCK_BYTES * sum(mask.bit_count() for mask in masks)


# ---- digests


def chunk_digest(mask: int, stored_blocks: BytesLike) -> bytes:
    """The digest of one chunk."""
    return chunk_digests((mask,), stored_blocks)


def chunk_digests(masks: Sequence[int], blocks: BytesLike) -> bytes:
    """The digests of several chunks, one behind the other, from their packed blocks."""
    _check_packed(masks, blocks)
    out = bytearray(len(masks) * DIGEST_BYTES)
    _check(lib.br_chunk_digests(_masks(masks), len(masks), _bytes(blocks), _bytes(out)))
    return bytes(out)


def short_digests(salt: bytes, stored_blocks: BytesLike) -> bytes:
    """Eight bytes for each block, as in COMPARE of the wire protocol."""
    count, rest = divmod(len(stored_blocks), BLOCK_BYTES)
    if rest:
        raise ValueError(f"{len(stored_blocks)} bytes are not whole blocks")
    out = bytearray(count * SHORT_DIGEST_BYTES)
    _check(lib.br_short_digests(_bytes(salt), len(salt), _bytes(stored_blocks), count, _bytes(out)))
    return bytes(out)


def pick_blocks(masks: Sequence[int], wanted_masks: Sequence[int], blocks: BytesLike) -> bytes:
    """Of the packed blocks of `masks` those of `wanted_masks`, each a part of its mask; packed."""
    _check_packed(masks, blocks)
    if any(wanted & ~mask for mask, wanted in zip(masks, wanted_masks, strict=True)):
        raise ValueError("a block is wanted that is not there")
    out = bytearray(packed_bytes(wanted_masks))
    lib.br_pick_blocks(_masks(masks), _masks(wanted_masks), len(masks), _bytes(blocks), _bytes(out))
    return bytes(out)


# ---- the map


def empty_pages(first: int, count: int) -> bytes:
    """Sealed pages in which no chunk has a stored block."""
    pages = bytearray(count * PAGE_BYTES)
    clear_pages(pages, first)
    return bytes(pages)


def clear_pages(pages: BytesLike, first_page: int) -> None:
    """Make empty pages of a buffer, such as a mapped file."""
    lib.br_pages_clear(_writable(pages), first_page, _page_count(pages))


def seal_page(page: BytesLike) -> None:
    """Make the checksum of a page true after its entries were changed."""
    _check_one_page(page)
    lib.br_page_seal(_writable(page))


def page_is_sound(page: BytesLike, number: int) -> bool:
    """Whether checksum, magic and number are right; what its entries say is not looked at."""
    _check_one_page(page)
    return bool(lib.br_page_is_sound(_bytes(page), number))


def get_entry(pages: BytesLike, first_page: int, chunk: int) -> Entry:
    """The entry of a chunk in pages of which the first has the number `first_page`."""
    return Entry._make(_ENTRY.unpack_from(pages, _entry_at(pages, first_page, chunk)))


def set_entry(pages: BytesLike, first_page: int, chunk: int, entry: Entry) -> None:
    """Replace an entry; its page is to be sealed when all of its entries are set."""
    _ENTRY.pack_into(pages, _entry_at(pages, first_page, chunk), *entry)


def changed_chunks(
    a_pages: BytesLike, b_pages: BytesLike, first_page: int, first_chunk: int, count: int
) -> int:
    """Bit i: mask or digest of chunk `first_chunk` + i is not the same in both; at most 64."""
    if not 0 < count <= 64:
        raise ValueError(f"{count} chunks cannot be compared at once")
    for pages in (a_pages, b_pages):
        _entry_at(pages, first_page, first_chunk)
        _entry_at(pages, first_page, first_chunk + count - 1)
    return int(
        lib.br_changed_chunks(_bytes(a_pages), _bytes(b_pages), first_page, first_chunk, count)
    )


class RootHasher:
    """The root of a map whose pages come one after the other, from the first one on."""

    def __init__(self, content_bytes: int) -> None:
        self._hash = hashlib.sha256(_ROOT_PREFIX + content_bytes.to_bytes(8, "little"))
        self._entries = chunk_count(content_bytes)

    def update(self, pages: BytesLike) -> None:
        """The next pages; `ValueError` for more than the content has."""
        count = _page_count(pages)
        if count > -(-self._entries // ENTRIES_PER_PAGE):
            raise ValueError("the map has fewer pages")
        leaves = bytearray(count * DIGEST_BYTES)
        _check(lib.br_map_leaves(_bytes(pages), count, self._entries, _bytes(leaves)))
        self._hash.update(leaves)
        self._entries -= min(self._entries, count * ENTRIES_PER_PAGE)

    def finish(self) -> bytes:
        """The root; `ValueError` when pages are missing."""
        if self._entries:
            raise ValueError(f"the entries of {self._entries} chunks are missing")
        return self._hash.digest()


def map_root(pages: BytesLike, content_bytes: int) -> bytes:
    """The root of a whole map."""
    hasher = RootHasher(content_bytes)
    hasher.update(pages)
    return hasher.finish()


# ---- blocks encrypted and compressed


def encrypt_blocks(
    key: bytes, chunks: Sequence[int], masks: Sequence[int], blocks: BytesLike
) -> None:
    """Encrypt the packed blocks of several chunks where they lie: AES-256-XTS by block number."""
    _crypt_blocks(key, True, chunks, masks, blocks)


def decrypt_blocks(
    key: bytes, chunks: Sequence[int], masks: Sequence[int], blocks: BytesLike
) -> None:
    """Undo `encrypt_blocks`. There is no wrong key: it makes other bytes."""
    _crypt_blocks(key, False, chunks, masks, blocks)


def compress(blocks: BytesLike) -> bytes | None:
    """An lz4 block, or None when it would not be smaller."""
    if len(blocks) > MAX_RAW_BYTES:
        raise ValueError(f"{len(blocks)} bytes are too many to compress at once")
    if not blocks:
        return None
    out = bytearray(len(blocks) - 1)
    made = int(lib.br_compress(_bytes(blocks), len(blocks), _bytes(out)))
    return bytes(memoryview(out)[:made]) if made else None


def decompress(data: BytesLike, raw_bytes: int) -> bytes:
    """What was compressed, which had `raw_bytes`; `ValueError` when `data` is nothing of the kind.

    Both lengths may be a peer's: they are checked before anything is allocated.
    """
    if not (0 < raw_bytes <= MAX_RAW_BYTES and len(data) <= MAX_RAW_BYTES):
        raise ValueError(f"{len(data)} bytes for {raw_bytes} are not what is compressed at once")
    out = bytearray(raw_bytes)
    if lib.br_decompress(_bytes(data), len(data), _bytes(out), raw_bytes):
        raise ValueError(f"not an lz4 block of {raw_bytes} bytes")
    return bytes(out)


# ---- between Python and C


def _bytes(data: BytesLike) -> Any:
    return ffi.from_buffer("uint8_t[]", data)


def _writable(data: BytesLike) -> Any:
    return ffi.from_buffer("uint8_t[]", data, require_writable=True)


def _masks(masks: Sequence[int]) -> Any:
    """A mask that has more than 16 bits, or a sign, is an OverflowError."""
    return ffi.from_buffer("uint16_t[]", array("H", masks))


def _check(result: int) -> None:
    if result:
        raise InternalError(f"the core failed with {result}")


def _check_packed(masks: Sequence[int], blocks: BytesLike) -> None:
    if packed_bytes(masks) != len(blocks):
        raise ValueError(f"{len(blocks)} bytes are not the {packed_bytes(masks)} of the masks")


def _crypt_blocks(
    key: bytes, encrypt: bool, chunks: Sequence[int], masks: Sequence[int], blocks: BytesLike
) -> None:
    _check_packed(masks, blocks)
    if len(key) != KEY_BYTES or key[: KEY_BYTES // 2] == key[KEY_BYTES // 2 :]:
        raise ValueError(f"a key has {KEY_BYTES} bytes and two different halves")
    if len(chunks) != len(masks) or any(chunk >> _CHUNK_NUMBER_BITS for chunk in chunks):
        raise ValueError("the chunks are not those of the masks")
    numbers = ffi.from_buffer("uint64_t[]", array("Q", chunks))
    count = len(masks)
    _check(
        lib.br_crypt_blocks(_bytes(key), encrypt, numbers, _masks(masks), count, _writable(blocks))
    )


def _check_one_page(page: BytesLike) -> None:
    if len(page) != PAGE_BYTES:
        raise ValueError(f"{len(page)} bytes are not a page")


def _page_count(pages: BytesLike) -> int:
    count, rest = divmod(len(pages), PAGE_BYTES)
    if rest:
        raise ValueError(f"{len(pages)} bytes are not whole pages")
    return count


def _entry_at(pages: BytesLike, first_page: int, chunk: int) -> int:
    page, entry = divmod(chunk, ENTRIES_PER_PAGE)
    if not 0 <= page - first_page < _page_count(pages):
        raise ValueError(f"chunk {chunk} is not in these pages")
    return (page - first_page) * PAGE_BYTES + _PAGE_HEAD_BYTES + entry * _ENTRY.size
