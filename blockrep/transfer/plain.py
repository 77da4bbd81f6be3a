"""An epoch as its owner's disk was: decrypted, and zeros where nothing is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockrep.chunks import (
    BLOCK_BYTES,
    CHUNK_BLOCKS,
    CHUNK_BYTES,
    chunk_digests,
    decrypt_blocks,
    encrypt_blocks,
    get_entry,
    packed_bytes,
)
from blockrep.errors import BlockrepError, ReplicaDamaged, WrongKey
from blockrep.segment.epoch import Epoch
from blockrep.segment.runs import block_runs
from blockrep.transfer.source import (
    READ_CHUNKS,
    WINDOW_CHUNKS,
    WINDOW_PAGES,
    CheckedMap,
    EpochSource,
)

FULL = (1 << CHUNK_BLOCKS) - 1
MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks laid out whole, one behind the other, in `data`; `damaged` ones are zeros there."""

    numbers: tuple[int, ...]
    masks: tuple[int, ...]
    data: memoryview
    damaged: tuple[int, ...]


class PlainEpoch:
    """Decrypts what one or several holders have of the same epoch.

    The first source is asked; what is damaged there, or all when it fails, is asked of the next.
    It belongs to one thread at a time. As a `Source` of tables it is the owner's whole disk.
    """

    def __init__(self, sources: Sequence[EpochSource], key: bytes | None) -> None:
        """`WrongKey` when the key is not this epoch's, `ReplicaDamaged` for a map that is not."""
        self.epoch: Epoch = sources[0].epoch
        if any(source.epoch.id != self.epoch.id for source in sources):
            raise ValueError("the sources do not hold the same epoch")
        self._key = _checked_key(self.epoch, key)
        self._sources = list(sources)
        self.map = self._find_map()
        self._window: tuple[int, list[int]] = (-1, [])
        self._pages: tuple[int, bytes] = (-1, b"")
        self.path = Path(f"epoch {self.epoch.number}")
        self.size_bytes = self.epoch.disk_bytes
        self.sector_bytes = self.epoch.sector_bytes

    def _find_map(self) -> CheckedMap:
        """Of the first source that has a true one; a source without is not asked again."""
        while True:
            try:
                return CheckedMap(self._sources[0])
            except BlockrepError:
                if len(self._sources) == 1:
                    raise
                del self._sources[0]

    def masks(self, first: int, count: int) -> list[int]:
        """The masks of so many chunks; 0 for those behind the content."""
        found: list[int] = []
        for chunk in range(first, first + count):
            window, index = divmod(chunk, WINDOW_CHUNKS)
            found.append(self._masks_of(window)[index] if chunk < self.map.chunks else 0)
        return found

    def _masks_of(self, window: int) -> list[int]:
        """The window that was looked at last stays at hand."""
        if self._window[0] != window:
            self._window = (window, self.map.masks(window))
        return self._window[1]

    def digest(self, chunk: int) -> bytes:
        """What the owner signed for a chunk."""
        window, _ = divmod(chunk, WINDOW_CHUNKS)
        if self._pages[0] != window:
            self._pages = (window, self.map.pages(window))
        return get_entry(self._pages[1], window * WINDOW_PAGES, chunk).digest

    def load(self, numbers: Sequence[int], masks: Sequence[int], buffer: memoryview) -> Chunks:
        """Decrypt whole chunks into `buffer`; at most `READ_CHUNKS`, ascending, none empty."""
        items = list(zip(numbers, masks, strict=True))
        good: set[int] = set()
        lost: BlockrepError | None = None
        for source in tuple(self._sources):
            wanted = [item for item in items if item[0] not in good]
            if not wanted:
                break
            try:
                self._load_from(source, wanted, numbers, buffer, good)
            except BlockrepError as error:
                lost = error
                self._sources.remove(source)
        if not self._sources and lost is not None:
            raise lost
        damaged = tuple(number for number in numbers if number not in good)
        for index, number in enumerate(numbers):
            if number not in good:
                buffer[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES] = bytes(CHUNK_BYTES)
        return Chunks(tuple(numbers), tuple(masks), buffer[: len(items) * CHUNK_BYTES], damaged)

    def _load_from(
        self,
        source: EpochSource,
        items: Sequence[tuple[int, int]],
        numbers: Sequence[int],
        buffer: memoryview,
        good: set[int],
    ) -> None:
        blocks, damaged = source.read(items)
        masks = [mask for _, mask in items]
        if len(blocks) != packed_bytes(masks) or len(damaged) != len(items):
            raise ReplicaDamaged("a holder sent another amount than it was asked for")
        plain = memoryview(self._decrypted(items, blocks))
        places = {number: index * CHUNK_BYTES for index, number in enumerate(numbers)}
        at = 0
        for (number, mask), is_damaged in zip(items, damaged, strict=True):
            length = mask.bit_count() * BLOCK_BYTES
            if not is_damaged:
                place = places[number]
                _lay_out(buffer[place : place + CHUNK_BYTES], mask, plain[at : at + length])
                good.add(number)
            at += length

    def _decrypted(self, items: Sequence[tuple[int, int]], blocks: bytes) -> bytes | bytearray:
        if self._key is None:
            return blocks
        plain = bytearray(blocks)
        decrypt_blocks(self._key, [n for n, _ in items], [m for _, m in items], plain)
        return plain

    def stored_digests(
        self, numbers: Sequence[int], masks: Sequence[int], data: memoryview
    ) -> bytes:
        """The digests that chunks laid out in `data` have when they are stored."""
        parts = []
        for index, mask in enumerate(masks):
            chunk = data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
            parts += [chunk[start : start + length] for start, length in _byte_runs(mask)]
        packed = bytearray().join(parts)
        if self._key is not None:
            encrypt_blocks(self._key, numbers, masks, packed)
        return chunk_digests(masks, packed)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """Any bytes of the disk, zeros where nothing is stored; `ReplicaDamaged` names a chunk."""
        result = bytearray(length_bytes)
        end = offset_bytes + length_bytes
        for chunks in self.walk(offset_bytes // CHUNK_BYTES, -(-end // CHUNK_BYTES)):
            refuse_damaged(self.epoch, chunks.damaged)
            for index, number in enumerate(chunks.numbers):
                start = number * CHUNK_BYTES
                low, high = max(start, offset_bytes), min(start + CHUNK_BYTES, end)
                piece = chunks.data[index * CHUNK_BYTES + low - start :][: high - low]
                result[low - offset_bytes : high - offset_bytes] = piece
        return bytes(result)

    def walk(self, first: int, end: int) -> Iterator[Chunks]:
        """The chunks from `first` up to `end` that are not empty, in buffers that are reused."""
        buffer = memoryview(bytearray(READ_CHUNKS * CHUNK_BYTES))
        for numbers, masks in self.groups(first, end):
            yield self.load(numbers, masks, buffer)

    def groups(self, first: int, end: int) -> Iterator[tuple[list[int], list[int]]]:
        """Numbers and masks of the chunks that are not empty, as many as one `load` takes."""
        numbers: list[int] = []
        masks: list[int] = []
        for number in range(first, min(end, self.map.chunks)):
            window, index = divmod(number, WINDOW_CHUNKS)
            mask = self._masks_of(window)[index]
            if mask:
                numbers.append(number)
                masks.append(mask)
            if len(numbers) == READ_CHUNKS:
                yield numbers, masks
                numbers, masks = [], []
        if numbers:
            yield numbers, masks


def refuse_damaged(epoch: Epoch, damaged: Sequence[int]) -> None:
    """`ReplicaDamaged` that says where, if there are any."""
    if damaged:
        raise ReplicaDamaged(f"epoch {epoch.number} is damaged at {name_places(damaged)}")


def name_places(chunks: Sequence[int]) -> str:
    """Where chunks lie on the owner's disk, the first few of them."""
    named = [f"byte {number * CHUNK_BYTES}" for number in chunks[:MAX_NAMED]]
    rest = len(chunks) - len(named)
    return ", ".join(named) + (f" and {rest} more places" if rest else "")


def key_id(key: bytes) -> bytes:
    """What an epoch record says of the key that it was encrypted with."""
    return hashlib.sha256(b"blockrep key id" + key).digest()[:8]


def _checked_key(epoch: Epoch, key: bytes | None) -> bytes | None:
    if not epoch.encrypted:
        return None
    if key is None:
        raise WrongKey(
            f"epoch {epoch.number} is encrypted and its key is not at hand",
            hint="the owner's recovery key unlocks it: --recovery-key",
        )
    if key_id(key) != epoch.key_id:
        raise WrongKey(f"epoch {epoch.number} was encrypted with another key than the one given")
    return key


def _lay_out(chunk: memoryview, mask: int, blocks: memoryview) -> None:
    """Put packed blocks where they belong in their chunk, and zeros between them."""
    if mask != FULL:
        chunk[:] = bytes(CHUNK_BYTES)
    at = 0
    for start, length in _byte_runs(mask):
        chunk[start : start + length] = blocks[at : at + length]
        at += length


def _byte_runs(mask: int) -> Iterator[tuple[int, int]]:
    """The runs of stored blocks as (start, length) in bytes of the chunk."""
    for first, count in block_runs(mask):
        yield first * BLOCK_BYTES, count * BLOCK_BYTES
