"""Owners and segments in memory, to try the store of segments with.

What an owner says of its content is worked out here with hashlib alone, from
docs/segment-format.md, so that it is no echo of what the store does.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from blockrep.divide.layout import SegmentPlan
from blockrep.errors import DeviceIO
from blockrep.segment.epoch import Epoch, build_epoch
from blockrep.segment.geometry import MIB, geometry_with_ring
from blockrep.segment.header import segment_writes
from blockrep.segment.store import Store
from blockrep.segment.values import Assignment

BLOCK = 4096
CHUNK = 65536
START = MIB  # of the segment on its device
UUID = "00112233-4455-6677-8899-AABBCCDDEEFF"

Blocks = Mapping[int, bytes]
"""The stored blocks of a first area, by number."""


class MemoryDisk:
    """A disk in memory that remembers nothing but its content."""

    def __init__(self, content: bytes | bytearray) -> None:
        self.content = bytearray(content)

    def read_into(self, offset_bytes: int, view: memoryview) -> None:
        if offset_bytes + len(view) > len(self.content):
            raise DeviceIO("a read past the end")
        view[:] = self.content[offset_bytes : offset_bytes + len(view)]

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        assert offset_bytes % 512 == len(data) % 512 == 0
        self.content[offset_bytes : offset_bytes + len(data)] = data

    def flush(self) -> None:
        pass


@dataclass
class FakeClock:
    """Clocks that stand still, and jump when told to."""

    wall: int = 1_800_000_000
    uptime: int = 1000

    def wall_s(self) -> int:
        return self.wall

    def uptime_s(self) -> int:
        return self.uptime

    def go_on(self, seconds: int) -> None:
        self.wall += seconds
        self.uptime += seconds


def new_disk(segment_bytes: int, ring_bytes: int, *, noise: int = 0) -> bytearray:
    """A device with one unassigned segment at `START`, full of an older user's bytes."""
    disk = bytearray(random.Random(noise).randbytes(START + segment_bytes + MIB))
    geometry = geometry_with_ring(segment_bytes, ring_bytes)
    plan = SegmentPlan(1, START, segment_bytes, geometry.data_bytes, ring_bytes, UUID)
    for write in segment_writes(plan, bytes(range(16))):
        disk[write.offset_bytes : write.end_bytes] = write.data
    return disk


def mask_of(blocks: Blocks, chunk: int) -> int:
    return sum(1 << n for n in range(16) if chunk * 16 + n in blocks)


def packed(blocks: Blocks, chunk: int, mask: int) -> bytes:
    return b"".join(blocks[chunk * 16 + n] for n in range(16) if mask >> n & 1)


def digest_of(blocks: Blocks, chunk: int) -> bytes:
    mask = mask_of(blocks, chunk)
    if not mask:
        return bytes(32)
    return hashlib.sha256(struct.pack("<H", mask) + packed(blocks, chunk, mask)).digest()


def root_of(blocks: Blocks, content_bytes: int) -> bytes:
    chunks = -(-content_bytes // CHUNK)
    leaves = b""
    for first in range(0, chunks, 102):
        entries = (
            struct.pack("<H", mask_of(blocks, c)) + digest_of(blocks, c)
            for c in range(first, min(first + 102, chunks))
        )
        leaves += hashlib.sha256(b"blockrep leaf 1\0" + b"".join(entries)).digest()
    head = b"blockrep root 1\0" + struct.pack("<Q", content_bytes)
    return hashlib.sha256(head + leaves).digest()


@dataclass
class Owner:
    """A member with one device; its key is made from a seed, so that runs repeat."""

    seed: int = 1
    number: int = 0
    last: bytes = bytes(16)
    writer: bytes = b"w" * 16
    device: bytes = b"d" * 16
    group: bytes = b"g" * 16
    attempt: int = 0  # another one gives other ids
    key: Ed25519PrivateKey = field(init=False)

    def __post_init__(self) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(bytes([self.seed])).digest())

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def assignment(self, content_bytes: int, lock_s: int = 0) -> Assignment:
        return Assignment(
            *(self.group, self.public, self.device, "anna", self.writer, content_bytes, lock_s),
            escrow=b"escrow",
        )

    def next_id(self) -> bytes:
        return hashlib.sha256(
            struct.pack("<QQQ", self.seed, self.number + 1, self.attempt)
        ).digest()[:16]

    def record(self, blocks: Blocks, content_bytes: int, *, consistent: bool = True) -> bytes:
        """The signed record of the next epoch."""
        epoch = Epoch(
            number=self.number + 1,
            id=self.next_id(),
            parent=self.last,
            root=root_of(blocks, content_bytes),
            owner_key=self.public,
            device=self.device,
            group=self.group,
            writer=self.writer,
            time_s=1_800_000_000 + self.number,
            content_bytes=content_bytes,
            stored_bytes=BLOCK * len(blocks),
            disk_bytes=1 << 40,
            sector_bytes=512,
            key_id=bytes(8),
            encrypted=False,
            consistent=consistent,
            partitions=(),
        )
        return build_epoch(epoch, self.key.sign)

    def committed(self) -> None:
        """The next epoch was accepted."""
        self.last = self.next_id()
        self.number += 1


def random_blocks(rng: random.Random, chunks: int, share: float) -> dict[int, bytes]:
    return {n: rng.randbytes(BLOCK) for n in range(chunks * 16) if rng.random() < share}


def changed_blocks(rng: random.Random, blocks: Blocks, chunks: int, count: int) -> dict[int, bytes]:
    """A third of the changes write, a third write what was free or not, a third free."""
    found = dict(blocks)
    for _ in range(count):
        number = rng.randrange(chunks * 16)
        if rng.random() < 0.3:
            found.pop(number, None)
        else:
            found[number] = rng.randbytes(BLOCK)
    return found


def differing_chunks(old: Blocks, new: Blocks) -> list[int]:
    changed = {n // 16 for n in old.keys() | new.keys() if old.get(n) != new.get(n)}
    return sorted(changed)


def messages(
    chunks: Iterable[int], new: Blocks, old: Blocks | None, size: int
) -> Iterator[tuple[list[tuple[int, int, int, bytes]], bytes]]:
    """What an owner sends of these chunks; with `old` only the blocks that differ from it."""
    numbers = list(chunks)
    for at in range(0, len(numbers), size):
        items, data = [], []
        for chunk in numbers[at : at + size]:
            mask = mask_of(new, chunk)
            sent = mask
            if old is not None:
                base = chunk * 16
                sent = sum(
                    1 << n
                    for n in range(16)
                    if mask >> n & 1 and old.get(base + n) != new[base + n]
                )
            items.append((chunk, mask, sent, digest_of(new, chunk)))
            data.append(packed(new, chunk, sent))
        yield items, b"".join(data)


def send(
    store: Store,
    owner: Owner,
    new: Blocks,
    old: Blocks | None,
    content_bytes: int,
    *,
    size: int = 8,
    consistent: bool = True,
    accept_oversize: bool = False,
) -> bytes:
    """A whole epoch: full with `old` None, else differential. Gives the record."""
    store.begin(owner.next_id(), owner.number + 1, owner.last, accept_oversize=accept_oversize)
    chunks = -(-content_bytes // CHUNK)
    numbers = range(chunks) if old is None else differing_chunks(old, new)
    for items, blocks in messages(numbers, new, old, size):
        assert store.apply(items, blocks) == []
    record = owner.record(new, content_bytes, consistent=consistent)
    store.commit(record)
    owner.committed()
    return record


def read_all(store: Store, epoch_id: bytes, chunks: int) -> dict[int, bytes]:
    """Every stored block of an epoch, read through a reader; damage is an error."""
    reader = store.view(epoch_id)
    reader.verify()
    found = {}
    pages = reader.map_pages(0, -(-chunks // 102))
    masks = [
        struct.unpack_from("<H", pages, 4096 * (c // 102) + 16 + 40 * (c % 102))[0]
        for c in range(chunks)
    ]
    for first in range(0, chunks, 64):
        items = [(c, masks[c]) for c in range(first, min(first + 64, chunks))]
        result = reader.read(items)
        assert not any(result.damaged), f"damaged: {result.damaged}"
        at = 0
        for chunk, mask in items:
            for n in range(16):
                if mask >> n & 1:
                    found[chunk * 16 + n] = result.blocks[at : at + BLOCK]
                    at += BLOCK
    return found
