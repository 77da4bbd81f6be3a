"""Taking over: a restored machine becomes the writer of its segments again.

The signature of TAKEOVER (docs/wire-protocol.md) is by the owner's key, over the nonce that this
very connection's holder chose: it cannot be kept and shown again, nor shown to another holder.
"""

from __future__ import annotations

import struct

from blockrep.errors import NotAllowed
from blockrep.group.identity import Identity, is_signed_by

_FIELDS = struct.Struct("<32s16s16sQ")
_LABEL = b"blockrep takeover 1\0"
NONCE_BYTES = 32


def takeover_message(
    owner_key: bytes, device_id: bytes, writer: bytes, time_s: int, holder_nonce: bytes
) -> bytes:
    """The bytes that are signed."""
    if len(holder_nonce) != NONCE_BYTES:
        raise ValueError("a nonce has 32 bytes")
    return _LABEL + _FIELDS.pack(owner_key, device_id, writer, time_s) + holder_nonce


def sign_takeover(
    owner: Identity, device_id: bytes, writer: bytes, time_s: int, holder_nonce: bytes
) -> bytes:
    """The signature with which `writer` (an instance id) becomes the only writer."""
    return owner.sign(takeover_message(owner.key, device_id, writer, time_s, holder_nonce))


def verify_takeover(message: bytes, owner_key: bytes, signature: bytes) -> None:
    """`NotAllowed` unless the owner's key has signed this message."""
    if not is_signed_by(owner_key, signature, message):
        raise NotAllowed("the takeover is not signed by the owner's key for this connection")
