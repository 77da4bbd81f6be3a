"""TAKEOVER: the owner's key says that another instance of its device writes from now on."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from blockrep.transfer.fields import Body, unpack
from blockrep.transfer.frames import Kind
from blockrep.transfer.receipt import Sign, verify_signature

CONTEXT = b"blockrep takeover 1\0"


@dataclass(frozen=True, slots=True)
class Takeover:
    """Bound to one connection by the holder's nonce, so it cannot be said again later."""

    kind: ClassVar[Kind] = Kind.TAKEOVER
    _SIGNED: ClassVar = struct.Struct("<32s16s16sQ")
    _FIELDS: ClassVar = struct.Struct(_SIGNED.format + "64s")

    owner_key: bytes
    device_id: bytes
    writer: bytes
    time_s: int
    signature: bytes

    def build(self) -> bytes:
        return self._signed() + self.signature

    @classmethod
    def parse(cls, body: Body) -> Self:
        """`ProtocolError` for a wrong length; the signature is not looked at."""
        return cls(*unpack(cls._FIELDS, body, "TAKEOVER"))

    def verify(self, nonce: bytes) -> None:
        """`EpochRefused` unless the owner key signed it for the connection with this nonce."""
        data = CONTEXT + self._signed() + nonce
        verify_signature(self.owner_key, self.signature, data, "a takeover")

    def _signed(self) -> bytes:
        return self._SIGNED.pack(self.owner_key, self.device_id, self.writer, self.time_s)


def make_takeover(
    owner_key: bytes, device_id: bytes, writer: bytes, time_s: int, nonce: bytes, sign: Sign
) -> Takeover:
    """A takeover for the connection whose holder sent `nonce` in its HELLO."""
    bare = Takeover(owner_key, device_id, writer, time_s, bytes(64))
    signature = sign(CONTEXT + bare._signed() + nonce)
    return Takeover(owner_key, device_id, writer, time_s, signature)
