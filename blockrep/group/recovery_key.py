"""The recovery key: what outlives the disk, on paper or in somebody's head.

From it come the key that wraps the owner's secrets, and an identity of its own with which a bare
machine fetches them. Formats: docs/group-format.md.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from blockrep.errors import RecoveryKeyWrong, UsageError
from blockrep.group.identity import ID_BYTES, Identity, identity_from_seed
from blockrep.group.text_form import MAX_TEXT, build_text, normal_letters, parse_text

GENERATED_BYTES = 20
MIN_PASSPHRASE = 16
PREFIX = "BR1"

# 64 MiB and a quarter of a second: a small NAS can do it, a guesser has to do it for every guess.
_SCRYPT_N = 1 << 16
_SCRYPT_R = 8
_SCRYPT_P = 1


@dataclass(frozen=True, slots=True)
class RecoveryKeys:
    """What a recovery key of one group gives."""

    group_id: bytes
    wrap_key: bytes = field(repr=False)
    identity: Identity


def new_recovery_text() -> str:
    """A new recovery key of 160 bits, to be written down."""
    return build_text(PREFIX, os.urandom(GENERATED_BYTES))


def check_recovery_text(text: str) -> None:
    """`RecoveryKeyWrong` when this can be no recovery key: mistyped, or a passphrase too short."""
    _secret_bytes(text)


def derive_recovery(text: str, group_id: bytes) -> RecoveryKeys:
    """The keys that this recovery key or passphrase gives in this group; takes 64 MiB meanwhile.

    `RecoveryKeyWrong` as `check_recovery_text`. Whether it is the right one shows when it opens an
    escrow.
    """
    if len(group_id) != ID_BYTES:
        raise ValueError("a group id has 16 bytes")
    salt = b"blockrep recovery 1\0" + group_id
    stretch = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P)
    secret = stretch.derive(_secret_bytes(text))
    return RecoveryKeys(
        group_id=group_id,
        wrap_key=_child(secret, b"blockrep escrow 1"),
        identity=identity_from_seed(_child(secret, b"blockrep recovery identity 1")),
    )


def _secret_bytes(text: str) -> bytes:
    if len(text) > MAX_TEXT:
        raise RecoveryKeyWrong(f"a recovery key has at most {MAX_TEXT} characters")
    if normal_letters(text).startswith(PREFIX):
        return _generated(text)
    phrase = " ".join(unicodedata.normalize("NFKC", text).split())
    if len(phrase) < MIN_PASSPHRASE:
        raise RecoveryKeyWrong(
            f"a recovery passphrase has at least {MIN_PASSPHRASE} characters",
            hint="use several words, or let blockrep generate a key",
        )
    return phrase.encode()


def _generated(text: str) -> bytes:
    try:
        data = parse_text(PREFIX, text, "the recovery key")
    except UsageError as error:
        raise RecoveryKeyWrong(error.message) from error
    if len(data) != GENERATED_BYTES:
        raise RecoveryKeyWrong("the recovery key is mistyped, or a part of it is missing")
    return data


def _child(secret: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
