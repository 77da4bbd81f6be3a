"""The short messages as values: from and to the bytes of docs/wire-protocol.md.

`parse` takes a body whose length passed its cap. It gives a value that makes sense by itself or
raises `ProtocolError`, and never anything else. `build` gives the body.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from blockrep.errors import ProtocolError
from blockrep.transfer.fields import (
    LARGEST_CHUNK,
    LARGEST_CONTENT_BYTES,
    NO_RECORD,
    RECORD_BYTES,
    Body,
    build_name,
    check_between,
    parse_name,
    record_or_none,
    split_head,
    unpack,
)
from blockrep.transfer.frames import Kind

HELLO_MAGIC = b"BLKRWIRE"
ESCROW_BYTES = 2044
RECEIPT_BYTES = 1248
MAX_MAP_PAGES = 256
MAX_EPOCHS = 1000
MAX_PIN_S = 86_400


@dataclass(frozen=True, slots=True)
class Hello:
    """Who is there, and what the connection is for; `key` is the sender's public key."""

    kind: ClassVar[Kind] = Kind.HELLO
    _FIELDS: ClassVar = struct.Struct("<8sHHHH16s16s32s32s16x")

    lowest_version: int
    highest_version: int
    purpose: int
    group_id: bytes
    instance_id: bytes
    nonce: bytes
    key: bytes

    def build(self) -> bytes:
        return self._FIELDS.pack(
            HELLO_MAGIC,
            self.lowest_version,
            self.highest_version,
            self.purpose,
            0,
            self.group_id,
            self.instance_id,
            self.nonce,
            self.key,
        )

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = unpack(cls._FIELDS, body, "HELLO")
        magic, lowest, highest, purpose, _, group, instance, nonce, key = fields
        if magic != HELLO_MAGIC or not 1 <= lowest <= highest:
            raise ProtocolError("this is no HELLO of blockrep")
        return cls(lowest, highest, purpose, group, instance, nonce, key)


@dataclass(frozen=True, slots=True)
class Open:
    """The owner names the replica it wants to write; `escrow` may be empty."""

    kind: ClassVar[Kind] = Kind.OPEN
    _FIELDS: ClassVar = struct.Struct("<16s16sQI4x64sI2044s")
    _ASSIGN: ClassVar = 1
    _VERIFY: ClassVar = 2

    device_id: bytes
    writer: bytes
    content_bytes: int
    assign: bool
    verify: bool
    owner_name: str
    escrow: bytes

    def build(self) -> bytes:
        if len(self.escrow) > ESCROW_BYTES:
            raise ValueError(f"an escrow of {len(self.escrow)} bytes")
        flags = self._ASSIGN * self.assign | self._VERIFY * self.verify
        name = build_name(self.owner_name)
        ids = self.device_id, self.writer
        escrow = len(self.escrow), self.escrow
        return self._FIELDS.pack(*ids, self.content_bytes, flags, name, *escrow)

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = unpack(cls._FIELDS, body, "OPEN")
        device, writer, content, flags, name, escrow_bytes, escrow = fields
        check_between(content, 1, LARGEST_CONTENT_BYTES, "the content")
        check_between(escrow_bytes, 0, ESCROW_BYTES, "the length of the escrow")
        assign, verify = bool(flags & cls._ASSIGN), bool(flags & cls._VERIFY)
        name = parse_name(name)
        return cls(device, writer, content, assign, verify, name, escrow[:escrow_bytes])


@dataclass(frozen=True, slots=True)
class State:
    """What the holder has. `state` is as in the segment's header, `record` None for no epoch.

    `fresh`: it was assigned just now, and its map is empty.
    """

    kind: ClassVar[Kind] = Kind.STATE
    _FIELDS: ClassVar = struct.Struct("<16sIIQQ16sQQQ1024s")
    _BASE_LOST: ClassVar = 1
    _FRESH: ClassVar = 2

    segment: bytes
    state: int
    base_lost: bool
    fresh: bool
    capacity_bytes: int
    map_generation: int
    applying: bytes
    lock_s: int
    ring_bytes: int
    ring_free_bytes: int
    record: bytes | None

    def build(self) -> bytes:
        return self._FIELDS.pack(
            self.segment,
            self.state,
            self._BASE_LOST * self.base_lost | self._FRESH * self.fresh,
            self.capacity_bytes,
            self.map_generation,
            self.applying,
            self.lock_s,
            self.ring_bytes,
            self.ring_free_bytes,
            self.record or NO_RECORD,
        )

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = unpack(cls._FIELDS, body, "STATE")
        segment, state, flags, capacity, generation, applying, lock, ring, free, record = fields
        check_between(capacity, 0, LARGEST_CONTENT_BYTES, "the capacity")
        return cls(
            segment=segment,
            state=state,
            base_lost=bool(flags & cls._BASE_LOST),
            fresh=bool(flags & cls._FRESH),
            capacity_bytes=capacity,
            map_generation=generation,
            applying=applying,
            lock_s=lock,
            ring_bytes=ring,
            ring_free_bytes=free,
            record=record_or_none(record),
        )


@dataclass(frozen=True, slots=True)
class MapGet:
    """Ask for pages of the map; `epoch_id` None means as it is now."""

    kind: ClassVar[Kind] = Kind.MAP_GET
    _FIELDS: ClassVar = struct.Struct("<16sQI4x")

    epoch_id: bytes | None
    first_page: int
    count: int

    def build(self) -> bytes:
        return self._FIELDS.pack(self.epoch_id or bytes(16), self.first_page, self.count)

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = unpack(cls._FIELDS, body, "MAP_GET")
        epoch_id, first, count = fields
        check_between(first, 0, LARGEST_CHUNK, "the first page")
        check_between(count, 1, MAX_MAP_PAGES, "the count of pages")
        return cls(epoch_id if any(epoch_id) else None, first, count)


@dataclass(frozen=True, slots=True)
class Begin:
    """The owner begins an epoch on top of `parent`, the one that the holder said it has.

    `full` says that everything will be sent. `receipt` is another holder's, or empty.
    """

    kind: ClassVar[Kind] = Kind.BEGIN
    _FIELDS: ClassVar = struct.Struct("<16sQ16sI4x")
    _FULL: ClassVar = 1
    _RECEIPT: ClassVar = 2

    epoch_id: bytes
    number: int
    parent: bytes
    full: bool
    receipt: bytes

    def build(self) -> bytes:
        flags = self._FULL * self.full | self._RECEIPT * bool(self.receipt)
        return self._FIELDS.pack(self.epoch_id, self.number, self.parent, flags) + self.receipt

    @classmethod
    def parse(cls, body: Body) -> Self:
        head = split_head(cls._FIELDS, body, "BEGIN")
        epoch_id, number, parent, flags = head
        receipt = bytes(body[cls._FIELDS.size :])
        if not any(epoch_id) or epoch_id == parent:
            raise ProtocolError("a BEGIN without an id of its own")
        check_between(number, 1, (1 << 63) - 1, "the number of the epoch")
        if len(receipt) != (RECEIPT_BYTES if flags & cls._RECEIPT else 0):
            raise ProtocolError(f"a BEGIN with {len(receipt)} bytes of a receipt")
        return cls(epoch_id, number, parent, bool(flags & cls._FULL), receipt)


@dataclass(frozen=True, slots=True)
class Ready:
    """The holder takes blocks of the epoch; `resumed` when some are there from before a cut."""

    kind: ClassVar[Kind] = Kind.READY
    _FIELDS: ClassVar = struct.Struct("<I4x")

    resumed: bool

    def build(self) -> bytes:
        return self._FIELDS.pack(self.resumed)

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = unpack(cls._FIELDS, body, "READY")
        return cls(bool(fields[0] & 1))


@dataclass(frozen=True, slots=True)
class Select:
    """Which replica the client wants to read."""

    kind: ClassVar[Kind] = Kind.SELECT
    _FIELDS: ClassVar = struct.Struct("<32s16s")

    owner_key: bytes
    device_id: bytes

    def build(self) -> bytes:
        return self._FIELDS.pack(self.owner_key, self.device_id)

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = unpack(cls._FIELDS, body, "SELECT")
        return cls(*fields)


@dataclass(frozen=True, slots=True)
class ListedEpoch:
    """One line of EPOCHS; the record is not yet checked."""

    record: bytes
    present: bool
    locked: bool


@dataclass(frozen=True, slots=True)
class Epochs:
    """What versions a segment holds, newest first."""

    kind: ClassVar[Kind] = Kind.EPOCHS
    _HEAD: ClassVar = struct.Struct("<I4x")
    _ITEM: ClassVar = struct.Struct("<Q1024s")
    _PRESENT: ClassVar = 1
    _LOCKED: ClassVar = 2

    epochs: tuple[ListedEpoch, ...]

    def build(self) -> bytes:
        items = [
            self._ITEM.pack(self._PRESENT * e.present | self._LOCKED * e.locked, e.record)
            for e in self.epochs[:MAX_EPOCHS]
        ]
        return self._HEAD.pack(len(items)) + b"".join(items)

    @classmethod
    def parse(cls, body: Body) -> Self:
        (count,) = split_head(cls._HEAD, body, "EPOCHS")
        check_between(count, 0, MAX_EPOCHS, "the count of epochs")
        if len(body) != cls._HEAD.size + count * cls._ITEM.size:
            raise ProtocolError(f"an EPOCHS of {len(body)} bytes for {count}")
        found = cls._ITEM.iter_unpack(body[cls._HEAD.size :])
        return cls(
            tuple(
                ListedEpoch(record, bool(flags & cls._PRESENT), bool(flags & cls._LOCKED))
                for flags, record in found
            )
        )


@dataclass(frozen=True, slots=True)
class Pin:
    """Keep an epoch readable for so long; the answer has the seconds that were granted."""

    kind: ClassVar[Kind] = Kind.PIN
    answer: ClassVar[Kind] = Kind.PINNED
    _FIELDS: ClassVar = struct.Struct("<16sI4x")

    epoch_id: bytes
    seconds: int

    def build(self) -> bytes:
        return self._FIELDS.pack(self.epoch_id, self.seconds)

    @classmethod
    def parse(cls, body: Body) -> Self:
        fields = unpack(cls._FIELDS, body, "PIN")
        check_between(fields[1], 0, MAX_PIN_S, "the seconds of a pin")
        return cls(*fields)


def parse_record(body: Body) -> bytes:
    """The record that a COMMIT carries; what it says is the store's to check."""
    if len(body) != RECORD_BYTES:
        raise ProtocolError(f"a COMMIT of {len(body)} bytes")
    return bytes(body)
