"""The code that invites one machine: whom to reach, and the secret that proves it was invited.

Format: docs/group-format.md.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass, field

from blockrep.errors import InvitationRefused, UsageError
from blockrep.group.text_form import build_text, parse_text

PREFIX = "BJ1"
SECRET_BYTES = 16
LIFE_S = 15 * 60
MAX_ADDRESS_BYTES = 128

_VERSION = 1
_HEAD = struct.Struct(">B16s32s16sIB")


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a code says. `expires_s` is a multiple of 60 seconds since 1970 UTC."""

    group_id: bytes
    inviter_key: bytes
    secret: bytes = field(repr=False)
    expires_s: int
    address: str

    @property
    def number(self) -> bytes:
        """8 bytes that name it to the inviter, and tell a stranger nothing of the secret."""
        return hmac.digest(self.secret, b"blockrep invitation 1\0", "sha256")[:8]


def new_invitation(
    group_id: bytes, inviter_key: bytes, address: str, now_s: int, life_s: int = LIFE_S
) -> Invitation:
    """An invitation that ends `life_s` seconds from now, rounded up to a minute."""
    check_address(address)
    expires_s = -(-(now_s + life_s) // 60) * 60
    return Invitation(group_id, inviter_key, os.urandom(SECRET_BYTES), expires_s, address)


def build_code(invitation: Invitation) -> str:
    """The code as it is shown."""
    address = invitation.address.encode()
    head = _HEAD.pack(
        _VERSION,
        invitation.group_id,
        invitation.inviter_key,
        invitation.secret,
        invitation.expires_s // 60,
        len(address),
    )
    return build_text(PREFIX, head + address)


def parse_code(text: str) -> Invitation:
    """What a code says; `UsageError` when it is mistyped, `InvitationRefused` for a newer kind.

    Whether it has expired is for the inviter to say: this machine's clock may be wrong.
    """
    data = parse_text(PREFIX, text, "the invitation code")
    if len(data) < _HEAD.size:
        raise UsageError("the invitation code is too short")
    version, group_id, key, secret, minutes, length = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise InvitationRefused("the invitation code is of a newer version of blockrep")
    if len(data) != _HEAD.size + length:
        raise UsageError("the invitation code is too short")
    try:
        address = data[_HEAD.size :].decode()
    except UnicodeDecodeError as error:
        raise UsageError("the invitation code names no address") from error
    check_address(address)
    return Invitation(group_id, key, secret, minutes * 60, address)


def check_address(address: str) -> None:
    """`UsageError` unless this is HOST:PORT."""
    host, colon, port = address.rpartition(":")
    good = host and colon and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536
    if not good or not address.isprintable() or len(address.encode()) > MAX_ADDRESS_BYTES:
        raise UsageError(f"{address!r} is no address: HOST:PORT is expected")
