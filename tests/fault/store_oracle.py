"""A segment read with nothing but docs/segment-format.md: no code of the store, no code in C.

`read_segment` tells what a raw segment holds, also one that a cut has left in the middle of an
epoch. Whatever does not have its digest, its root or its chain is `Damaged`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAGE = 4096
CHUNK = 65536
NONE = (1 << 64) - 1
SLOTS = (1536 << 10, 1792 << 10)
GUARD = 4 << 20


class Bytes(Protocol):
    def __getitem__(self, part: slice, /) -> bytes: ...


class Damaged(AssertionError):
    """What is there is not what its owner has signed."""


def crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = crc32c_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    mask: int
    kept: int
    digest: bytes


@dataclass
class Batch:
    position: int
    kind: int
    pages: int
    first_data: int
    digest: bytes
    chain: bytes
    before: int
    record: bytes
    entries: list[tuple[int, Entry, int, int]]  # chunk, entry, saved, first page of its content


@dataclass
class Epoch:
    id: bytes
    number: int
    root: bytes
    content_bytes: int
    record: bytes


@dataclass
class Segment:
    """What a raw segment holds: epochs, the newest first, each with its stored blocks."""

    state: int
    applying: bytes
    base_lost: bool
    epochs: list[tuple[Epoch, dict[int, bytes]]] = field(default_factory=list)


def read_segment(raw: Bytes, versions: bool = True) -> Segment:
    """All epochs, each block checked; without `versions` the newest alone."""
    header = _newest_header(raw)
    (state,) = struct.unpack_from("<I", header, 68)
    if state == 0:
        return Segment(0, b"", False)
    found = Segment(state, header[360:376], bool(header[140] & 1))
    decoder = _Decoder(raw, header)
    for start, record in decoder.epochs(versions):
        found.epochs.append((epoch := parse_record(record, header[160:192]), {}))
        found.epochs[-1][1].update(decoder.blocks(epoch, start))
    return found


def parse_record(record: bytes, owner_key: bytes) -> Epoch:
    if record[:8] != b"BLKREPOC" or record[88:120] != owner_key:
        raise Damaged("no record of an epoch of this owner")
    try:
        Ed25519PublicKey.from_public_bytes(owner_key).verify(
            record[896:960], b"blockrep epoch 1\0" + record[:896]
        )
    except InvalidSignature as error:
        raise Damaged("the signature of an epoch is wrong") from error
    (number,) = struct.unpack_from("<Q", record, 16)
    (content,) = struct.unpack_from("<Q", record, 176)
    return Epoch(record[24:40], number, record[56:88], content, record)


_SOUND: dict[bytes, bool] = {}  # a checksum in Python takes a while


def _is_header(data: bytes, slot: int) -> bool:
    if data not in _SOUND:
        if len(_SOUND) > 5000:
            _SOUND.clear()
        zeroed = data[:12] + bytes(4) + data[16:]
        said = struct.unpack_from("<I", data, 12)[0]
        _SOUND[data] = data[:8] == b"BLKRSEGM" and crc32c(zeroed) == said
    return _SOUND[data] and struct.unpack_from("<Q", data, 24)[0] % 2 == slot


def _newest_header(raw: Bytes) -> bytes:
    slots = [raw[at : at + PAGE] for at in SLOTS]
    sound = [data for slot, data in enumerate(slots) if _is_header(data, slot)]
    if not sound:
        raise Damaged("no header is sound")
    return max(sound, key=lambda data: struct.unpack_from("<Q", data, 24)[0])


class _Decoder:
    def __init__(self, raw: Bytes, header: bytes) -> None:
        self.raw = raw
        self.uuid = header[32:48]
        self.map_at, _, self.ring_at, ring, self.data_at, data = struct.unpack_from(
            "<6Q", header, 80
        )
        self.chunks = data // CHUNK
        self.ring_pages = ring // PAGE
        self.guard = (GUARD - self.ring_at) // PAGE
        if 0 <= self.guard < self.ring_pages:
            self.ring_pages -= 1
        else:
            self.guard = NONE
        (self.state,) = struct.unpack_from("<I", header, 68)
        self.tail, self.head = struct.unpack_from("<2Q", header, 312)
        self.chain = header[328:360]
        self.applying = header[360:376]
        (self.newest,) = struct.unpack_from("<Q", header, 408)
        self.record = header[512:1536]
        self.unfinished = list(self._unfinished()) if self.state == 2 else []
        self.end = (
            self.unfinished[-1].position + self.unfinished[-1].pages
            if (self.unfinished)
            else self.head
        )

    def ring(self, position: int, count: int) -> bytes:
        parts = []
        for at in range(position, position + count):
            page = at % self.ring_pages
            page += page >= self.guard
            parts.append(self.raw[self.ring_at + page * PAGE : self.ring_at + (page + 1) * PAGE])
        return b"".join(parts)

    def batch(self, position: int, *, whole: bool) -> Batch | None:
        """The batch at a position; None where there is none, or it is not what it was."""
        page = self.ring(position, 1)
        magic, version, kind, uuid, said, _applying = struct.unpack_from("<8sII16sQ16s", page)
        if (magic, version, uuid, said) != (b"BLKRRING", 1, self.uuid, position):
            return None
        count, headers, data, _ = struct.unpack_from("<4I", page, 56)
        if count > 256 or headers > 5 or headers + data > self.ring_pages:
            return None
        (before,) = struct.unpack_from("<Q", page, 88)
        header = self.ring(position, headers)
        if whole:
            body = header + self.ring(position + headers, data)
            zeroed = body[:128] + bytes(32) + body[160:]
            if hashlib.sha256(zeroed).digest() != page[128:160]:
                return None
        entries = []
        for index in range(count):
            chunk, mask, kept, saved, _flags, first, digest = struct.unpack_from(
                "<QHHHHI12x32s", header, 160 + 64 * index
            )
            entries.append((chunk, Entry(mask, kept, digest), saved, position + headers + first))
        return Batch(
            *(position, kind, headers + data, position + headers, page[128:160], page[96:128]),
            before,
            page[512:1536],
            entries,
        )

    def _unfinished(self) -> Iterator[Batch]:
        position, chain = self.head, self.chain
        while position < self.tail + self.ring_pages:
            batch = self.batch(position, whole=True)
            if batch is None or batch.chain != chain:
                return
            if self.ring(position, 1)[40:56] != self.applying:
                return
            if (batch.kind == 1) != (position == self.head):
                return
            yield batch
            position, chain = position + batch.pages, batch.digest

    def epochs(self, versions: bool) -> Iterator[tuple[int, bytes]]:
        """Where the batches begin that lead back to an epoch, and its record."""
        if any(self.record):
            yield self.head, self.record
        at = self.newest
        while versions and at != NONE and at >= self.tail:
            batch = self.batch(at, whole=True)
            if batch is None or batch.kind != 1:
                raise Damaged(f"the batch at {at} is not what it was")
            yield at, batch.record
            at = batch.before

    def entry(self, chunk: int) -> Entry:
        at = self.map_at + PAGE * (chunk // 102) + 16 + 40 * (chunk % 102)
        return Entry(*struct.unpack("<HH4x32s", self.raw[at : at + 40]))

    def blocks(self, epoch: Epoch, start: int) -> dict[int, bytes]:
        """The stored blocks of an epoch; `Damaged` unless they are what was signed."""
        entries = {chunk: self.entry(chunk) for chunk in range(self.chunks)}
        old: dict[int, Entry] = {}
        saved: dict[int, bytes] = {}
        for batch in self._from(start):
            for chunk, entry, blocks, first in batch.entries:
                old.setdefault(chunk, entry)
                pages = self.ring(first, blocks.bit_count())
                for n in (n for n in range(16) if blocks >> n & 1):
                    saved.setdefault(chunk * 16 + n, pages[:PAGE])
                    pages = pages[PAGE:]
        entries.update(old)
        self._check_root(epoch, entries)
        found = {}
        for chunk in range(-(-epoch.content_bytes // CHUNK)):
            found.update(self._chunk(chunk, entries[chunk], saved))
        return found

    def _from(self, start: int) -> Iterator[Batch]:
        chain = None
        while start < self.end:
            batch = self.batch(start, whole=True)
            if batch is None or chain not in (None, batch.chain):
                raise Damaged(f"the ring is broken at {start}")
            yield batch
            start, chain = start + batch.pages, batch.digest

    def _chunk(self, chunk: int, entry: Entry, saved: dict[int, bytes]) -> dict[int, bytes]:
        found = {}
        for n in (n for n in range(16) if entry.mask >> n & 1):
            at = self.data_at + chunk * CHUNK + n * PAGE
            number = chunk * 16 + n
            found[number] = saved[number] if number in saved else self.raw[at : at + PAGE]
        digest = hashlib.sha256(struct.pack("<H", entry.mask) + b"".join(found.values())).digest()
        if digest != entry.digest and (entry.mask or any(entry.digest)):
            raise Damaged(f"chunk {chunk} does not have its digest")
        return found

    def _check_root(self, epoch: Epoch, entries: dict[int, Entry]) -> None:
        chunks = -(-epoch.content_bytes // CHUNK)
        leaves = b""
        for first in range(0, chunks, 102):
            numbers = range(first, min(first + 102, chunks))
            said = (struct.pack("<H", entries[c].mask) + entries[c].digest for c in numbers)
            leaves += hashlib.sha256(b"blockrep leaf 1\0" + b"".join(said)).digest()
        head = b"blockrep root 1\0" + struct.pack("<Q", epoch.content_bytes)
        if hashlib.sha256(head + leaves).digest() != epoch.root:
            raise Damaged(f"the map does not have the root of epoch {epoch.number}")
