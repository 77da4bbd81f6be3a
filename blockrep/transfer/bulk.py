"""The messages that carry blocks, digests of blocks, or pages of the map.

As in `messages`, `parse` gives what makes sense by itself or `ProtocolError`. What only the segment
can tell (whether a chunk is within the content, whether a digest fits) is checked behind it. Blocks
that a parser gives are a part of the body, not a copy.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple, Self

from blockrep.chunks import (
    CHUNK_BYTES,
    DIGEST_BYTES,
    PAGE_BYTES,
    SHORT_DIGEST_BYTES,
    compress,
    decompress,
    packed_bytes,
)
from blockrep.errors import ProtocolError
from blockrep.transfer.fields import LARGEST_CHUNK, Body, check_between, split_head
from blockrep.transfer.frames import Kind
from blockrep.transfer.messages import MAX_MAP_PAGES

MAX_CHUNKS = 256
MAX_RAW_BYTES = 1 << 20
MAX_COMPARED = 16
MAX_READ = 64
NO_DIGEST = bytes(DIGEST_BYTES)
CODEC_PLAIN, CODEC_LZ4 = 0, 1


class SentChunk(NamedTuple):
    """The new mask and digest of a chunk, and which of its blocks are on their way."""

    chunk: int
    mask: int
    sent: int
    digest: bytes


class ComparedChunk(NamedTuple):
    """A chunk as the owner has it, with 8 bytes of digest for each block of the mask."""

    chunk: int
    mask: int
    digest: bytes
    short: bytes


class ReadChunk(NamedTuple):
    """Blocks of a chunk that are asked for, or that were read; `damaged` only then."""

    chunk: int
    blocks: int
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """Blocks as they travel."""

    codec: int
    raw_bytes: int
    data: bytes | memoryview


def encode_blocks(blocks: bytes | memoryview, *, packable: bool) -> Encoded:
    """Compressed where that makes them smaller; encrypted blocks are not `packable`."""
    packed = compress(blocks) if packable and len(blocks) <= MAX_RAW_BYTES else None
    if packed is not None:
        return Encoded(CODEC_LZ4, len(blocks), packed)
    return Encoded(CODEC_PLAIN, len(blocks), blocks)


def decode_blocks(encoded: Encoded) -> bytes | memoryview:
    """The opposite; `ProtocolError` when they are not what was said. The length was capped."""
    if encoded.codec == CODEC_PLAIN:
        return encoded.data
    try:
        return decompress(encoded.data, encoded.raw_bytes)
    except ValueError as error:
        raise ProtocolError(f"blocks that cannot be unpacked: {error}") from error


def _check_encoded(encoded: Encoded, most_bytes: int) -> None:
    check_between(encoded.codec, CODEC_PLAIN, CODEC_LZ4, "the codec")
    check_between(encoded.raw_bytes, 0, most_bytes, "the raw length")
    plain = encoded.codec == CODEC_PLAIN
    if plain != (len(encoded.data) == encoded.raw_bytes) or len(encoded.data) > encoded.raw_bytes:
        raise ProtocolError(f"{len(encoded.data)} bytes stand for {encoded.raw_bytes}")


def _check_ascending(chunks: Sequence[int]) -> None:
    if any(a >= b for a, b in pairwise(chunks)) or (chunks and chunks[-1] >= LARGEST_CHUNK):
        raise ProtocolError("chunks that do not ascend or do not exist")


@dataclass(frozen=True, slots=True)
class Chunks:
    """CHUNKS: new content. A chunk with mask 0 is one that holds nothing any more."""

    kind: ClassVar[Kind] = Kind.CHUNKS
    _HEAD: ClassVar = struct.Struct("<QIIII")
    _ITEM: ClassVar = struct.Struct("<QHH4x32s")

    sequence: int
    items: tuple[SentChunk, ...]
    encoded: Encoded

    def build(self) -> tuple[bytes, bytes | memoryview]:
        e = self.encoded
        lengths = e.codec, e.raw_bytes, len(e.data)
        head = self._HEAD.pack(self.sequence, len(self.items), *lengths)
        return head + b"".join(self._ITEM.pack(*item) for item in self.items), e.data

    @classmethod
    def parse(cls, body: Body) -> Self:
        head = split_head(cls._HEAD, body, "CHUNKS")
        sequence, count, codec, raw_bytes, encoded_bytes = head
        check_between(count, 1, MAX_CHUNKS, "the count of chunks")
        at = cls._HEAD.size + count * cls._ITEM.size
        if len(body) != at + encoded_bytes:
            raise ProtocolError(f"a CHUNKS of {len(body)} bytes for {count} chunks")
        view = memoryview(body)
        items = tuple(map(SentChunk._make, cls._ITEM.iter_unpack(view[cls._HEAD.size : at])))
        _check_sent(items, raw_bytes)
        encoded = Encoded(codec, raw_bytes, view[at:])
        _check_encoded(encoded, MAX_RAW_BYTES)
        return cls(sequence, items, encoded)


def _check_sent(items: Sequence[SentChunk], raw_bytes: int) -> None:
    _check_ascending([item.chunk for item in items])
    if any(item.sent & ~item.mask for item in items):
        raise ProtocolError("a block is sent that its chunk does not have")
    if any((item.mask == 0) != (item.digest == NO_DIGEST) for item in items):
        raise ProtocolError("an empty chunk with a digest, or another one without")
    if packed_bytes([item.sent for item in items]) != raw_bytes:
        raise ProtocolError(f"{raw_bytes} bytes are not the blocks that were announced")


@dataclass(frozen=True, slots=True)
class Compare:
    """COMPARE: what the owner's chunks are like, without their content."""

    kind: ClassVar[Kind] = Kind.COMPARE
    _HEAD: ClassVar = struct.Struct("<QI4x16s")
    _ITEM: ClassVar = struct.Struct("<QH6x32s")

    sequence: int
    salt: bytes
    items: tuple[ComparedChunk, ...]

    def build(self) -> bytes:
        head = self._HEAD.pack(self.sequence, len(self.items), self.salt)
        parts = [self._ITEM.pack(i.chunk, i.mask, i.digest) for i in self.items]
        return b"".join((head, *parts, *(i.short for i in self.items)))

    @classmethod
    def parse(cls, body: Body) -> Self:
        sequence, count, salt = split_head(cls._HEAD, body, "COMPARE")
        check_between(count, 1, MAX_COMPARED, "the count of chunks")
        at = cls._HEAD.size + count * cls._ITEM.size
        if len(body) < at:
            raise ProtocolError(f"a COMPARE of {len(body)} bytes for {count} chunks")
        found = list(cls._ITEM.iter_unpack(memoryview(body)[cls._HEAD.size : at]))
        _check_ascending([chunk for chunk, _, _ in found])
        lengths = [SHORT_DIGEST_BYTES * mask.bit_count() for _, mask, _ in found]
        if 0 in lengths or len(body) != at + sum(lengths):
            raise ProtocolError(f"a COMPARE of {len(body)} bytes for {sum(lengths)} of digests")
        items = []
        for (chunk, mask, digest), length in zip(found, lengths, strict=True):
            items.append(ComparedChunk(chunk, mask, digest, bytes(body[at : at + length])))
            at += length
        return cls(sequence, salt, tuple(items))


@dataclass(frozen=True, slots=True)
class Want:
    """WANT: for each chunk of a COMPARE, in its order, the blocks to be sent."""

    kind: ClassVar[Kind] = Kind.WANT
    _HEAD: ClassVar = struct.Struct("<QI4x")

    sequence: int
    masks: tuple[int, ...]

    def build(self) -> bytes:
        head = self._HEAD.pack(self.sequence, len(self.masks))
        return head + struct.pack(f"<{len(self.masks)}H", *self.masks)

    @classmethod
    def parse(cls, body: Body) -> Self:
        sequence, masks = _numbered(cls._HEAD, body, "WANT", "H", MAX_COMPARED)
        return cls(sequence, masks)


@dataclass(frozen=True, slots=True)
class Applied:
    """APPLIED: a CHUNKS was taken in, but for the chunks that must come whole."""

    kind: ClassVar[Kind] = Kind.APPLIED
    _HEAD: ClassVar = struct.Struct("<QI4x")

    sequence: int
    whole: tuple[int, ...]

    def build(self) -> bytes:
        head = self._HEAD.pack(self.sequence, len(self.whole))
        return head + struct.pack(f"<{len(self.whole)}Q", *self.whole)

    @classmethod
    def parse(cls, body: Body) -> Self:
        sequence, whole = _numbered(cls._HEAD, body, "APPLIED", "Q", MAX_CHUNKS)
        return cls(sequence, whole)


def _numbered(
    head: struct.Struct, body: Body, what: str, unit: str, most: int
) -> tuple[int, tuple[int, ...]]:
    fields = split_head(head, body, what)
    sequence, count = fields
    check_between(count, 0, most, f"the count in {what}")
    if len(body) != head.size + count * struct.calcsize(unit):
        raise ProtocolError(f"a {what} of {len(body)} bytes for {count}")
    return sequence, struct.unpack_from(f"<{count}{unit}", body, head.size)


@dataclass(frozen=True, slots=True)
class MapPages:
    """MAP: pages of the chunk map; whether they are sound is for the reader to check."""

    kind: ClassVar[Kind] = Kind.MAP
    _HEAD: ClassVar = struct.Struct("<QI4x")

    first_page: int
    pages: bytes | memoryview

    def build(self) -> tuple[bytes, bytes | memoryview]:
        return self._HEAD.pack(self.first_page, len(self.pages) // PAGE_BYTES), self.pages

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = split_head(cls._HEAD, body, "MAP")
        first, count = fields
        check_between(count, 1, MAX_MAP_PAGES, "the count of pages")
        if len(body) != cls._HEAD.size + count * PAGE_BYTES:
            raise ProtocolError(f"a MAP of {len(body)} bytes for {count} pages")
        return cls(first, memoryview(body)[cls._HEAD.size :])


@dataclass(frozen=True, slots=True)
class Read:
    """READ: blocks of chunks of an epoch."""

    kind: ClassVar[Kind] = Kind.READ
    _HEAD: ClassVar = struct.Struct("<16sI4x")
    _ITEM: ClassVar = struct.Struct("<QH")

    epoch_id: bytes
    items: tuple[ReadChunk, ...]

    def build(self) -> bytes:
        head = self._HEAD.pack(self.epoch_id, len(self.items))
        return head + b"".join(self._ITEM.pack(i.chunk, i.blocks) for i in self.items)

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = split_head(cls._HEAD, body, "READ")
        epoch_id, count = fields
        check_between(count, 1, MAX_READ, "the count of chunks")
        if len(body) != cls._HEAD.size + count * cls._ITEM.size:
            raise ProtocolError(f"a READ of {len(body)} bytes for {count} chunks")
        items = tuple(ReadChunk(*item) for item in cls._ITEM.iter_unpack(body[cls._HEAD.size :]))
        _check_ascending([item.chunk for item in items])
        if any(item.blocks == 0 for item in items):
            raise ProtocolError("a READ of nothing")
        return cls(epoch_id, items)


@dataclass(frozen=True, slots=True)
class Data:
    """DATA: what a READ asked for; the blocks of a damaged chunk are as they were found."""

    kind: ClassVar[Kind] = Kind.DATA
    _HEAD: ClassVar = struct.Struct("<IIII")
    _ITEM: ClassVar = struct.Struct("<QHH")

    items: tuple[ReadChunk, ...]
    encoded: Encoded

    def build(self) -> tuple[bytes, bytes | memoryview]:
        e = self.encoded
        head = self._HEAD.pack(len(self.items), e.codec, e.raw_bytes, len(e.data))
        return head + b"".join(self._ITEM.pack(*item) for item in self.items), e.data

    @classmethod
    def parse(cls, body: Body) -> Self:
        count, codec, raw_bytes, encoded_bytes = split_head(cls._HEAD, body, "DATA")
        check_between(count, 1, MAX_READ, "the count of chunks")
        at = cls._HEAD.size + count * cls._ITEM.size
        if len(body) != at + encoded_bytes:
            raise ProtocolError(f"a DATA of {len(body)} bytes for {count} chunks")
        view = memoryview(body)
        found = list(cls._ITEM.iter_unpack(view[cls._HEAD.size : at]))
        if any(result > 1 for _, _, result in found):
            raise ProtocolError("a result that does not exist")
        items = tuple(ReadChunk(chunk, blocks, result == 1) for chunk, blocks, result in found)
        _check_ascending([item.chunk for item in items])
        if packed_bytes([item.blocks for item in items]) != raw_bytes:
            raise ProtocolError(f"{raw_bytes} bytes are not the blocks that were announced")
        encoded = Encoded(codec, raw_bytes, view[at:])
        _check_encoded(encoded, MAX_READ * CHUNK_BYTES)
        return cls(items, encoded)
