"""The bytes of a join: what is proven, by whom, and the short code on both screens.

Everything is bound to both keys, both nonces of HELLO and the joiner's section. The joiner's key
and nonce are sent before the inviter chooses its own nonce, so nobody can search for keys that make
two short codes equal. Formats: docs/group-format.md.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from blockrep.group.identity import Identity
from blockrep.group.section import Section
from blockrep.signature import is_signed_by

MAC_BYTES = 32
_SIGNED = b"blockrep join signature 1\0"
_WAITING = b"blockrep wait 1\0"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What HELLO said on a connection: the key and nonce of the client, the nonce of the server."""

    client_key: bytes
    client_nonce: bytes
    server_nonce: bytes


def join_transcript(
    group_id: bytes, inviter_key: bytes, greeting: Greeting, section: Section
) -> bytes:
    """What both proofs of a join are made over."""
    return b"blockrep join 1\0" + _bound(group_id, inviter_key, greeting) + section.hash


def wait_message(group_id: bytes, inviter_key: bytes, greeting: Greeting) -> bytes:
    """What a joiner signs to be told what was decided: HELLO alone proves no key."""
    return _WAITING + _bound(group_id, inviter_key, greeting)


def _bound(group_id: bytes, inviter_key: bytes, greeting: Greeting) -> bytes:
    names = group_id + inviter_key + greeting.client_key
    return names + greeting.client_nonce + greeting.server_nonce


def prove_secret(secret: bytes, transcript: bytes) -> bytes:
    """The MAC that only somebody who has the code can make."""
    return hmac.digest(secret, transcript, "sha256")


def knows_secret(secret: bytes, transcript: bytes, proof: bytes) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(prove_secret(secret, transcript), proof)


def prove_key(joiner: Identity, transcript: bytes) -> bytes:
    """A fresh signature by the joiner's key, which shows no certificate on this connection."""
    return joiner.sign(_SIGNED + transcript)


def owns_key(key: bytes, transcript: bytes, signature: bytes) -> bool:
    return is_signed_by(key, signature, _SIGNED + transcript)


def short_code(transcript: bytes) -> str:
    """Six digits, the same on both screens."""
    digest = hashlib.sha256(b"blockrep short code 1\0" + transcript).digest()
    return f"{int.from_bytes(digest[:8], 'big') % 1_000_000:06}"
