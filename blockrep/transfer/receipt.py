"""A receipt: what a holder signs when it has an epoch whole (docs/wire-protocol.md, "Receipt")."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from blockrep.errors import EpochRefused
from blockrep.signature import is_signed_by
from blockrep.transfer.fields import Body, unpack
from blockrep.transfer.frames import Kind

CONTEXT = b"blockrep receipt 1\0"

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Receipt:
    """`record` is the epoch as the owner signed it; times are the holder's own."""

    kind: ClassVar[Kind] = Kind.COMMITTED
    _SIGNED: ClassVar = struct.Struct("<32s16sQQ1024s96x")
    _FIELDS: ClassVar = struct.Struct(_SIGNED.format + "64s")

    holder_key: bytes
    segment: bytes
    time_s: int
    uptime_s: int
    record: bytes
    signature: bytes

    def build(self) -> bytes:
        return self._signed() + self.signature

    @classmethod
    def parse(cls, body: Body) -> Self:
        """`ProtocolError` for a wrong length; the signature is not looked at."""
        return cls(*unpack(cls._FIELDS, body, "receipt"))

    def verify(self) -> None:
        """`EpochRefused` unless it is signed by the key that it names."""
        verify_signature(self.holder_key, self.signature, CONTEXT + self._signed(), "a receipt")

    def _signed(self) -> bytes:
        fields = self.holder_key, self.segment, self.time_s, self.uptime_s, self.record
        return self._SIGNED.pack(*fields)


def make_receipt(
    holder_key: bytes, segment: bytes, time_s: int, uptime_s: int, record: bytes, sign: Sign
) -> Receipt:
    """A receipt signed by the holder."""
    bare = Receipt(holder_key, segment, time_s, uptime_s, record, bytes(64))
    signature = sign(CONTEXT + bare._signed())
    return Receipt(holder_key, segment, time_s, uptime_s, record, signature)


def verify_signature(key: bytes, signature: bytes, data: bytes, what: str) -> None:
    """Ed25519; `EpochRefused` when it is not of this key. Any 32 bytes are taken for a key."""
    if not is_signed_by(key, signature, data):
        raise EpochRefused(f"{what} is not signed by whom it should be")
