"""The recovery key, on paper and as a passphrase, and what it opens."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockrep.errors import BlockrepError, RecordDamaged, RecordUnsupported, RecoveryKeyWrong
from blockrep.group.escrow import (
    MAX_ESCROW_BYTES,
    Secrets,
    escrow_group,
    keep_devices,
    unwrap_secrets,
    wrap_secrets,
)
from blockrep.group.identity import DeviceKeys, identity_from_seed, new_device_keys
from blockrep.group.recovery_key import check_recovery_text, derive_recovery, new_recovery_text

GROUP = bytes(range(16))
OWNER = identity_from_seed(bytes([7] * 32))
SECRETS = Secrets(GROUP, OWNER, "Zoë's PC", "home", (new_device_keys(), new_device_keys()))
WRAP = os.urandom(32)


def test_the_way_back() -> None:
    text = new_recovery_text()
    keys = derive_recovery(text, GROUP)
    escrow = wrap_secrets(SECRETS, keys.wrap_key)
    assert unwrap_secrets(escrow, keys.wrap_key) == SECRETS
    sloppy = text.lower().replace("-", "  ").replace("0", "o").replace("1", "l")
    assert derive_recovery(f" {sloppy}\n", escrow_group(escrow)) == keys
    other = derive_recovery(new_recovery_text(), GROUP)
    with pytest.raises(RecoveryKeyWrong, match="does not open"):
        unwrap_secrets(escrow, other.wrap_key)


def test_the_derivation_is_the_documented_one() -> None:
    """Against hashlib, which is another implementation of scrypt and HMAC."""
    keys = derive_recovery("correct horse battery staple", GROUP)
    salt = b"blockrep recovery 1\0" + GROUP
    secret = hashlib.scrypt(
        b"correct horse battery staple",
        salt=salt,
        n=1 << 16,
        r=8,
        p=1,
        dklen=32,
        maxmem=1 << 27,
    )
    assert keys.wrap_key == _hkdf(secret, b"blockrep escrow 1")
    assert keys.identity.seed == _hkdf(secret, b"blockrep recovery identity 1")
    assert keys.identity.key != OWNER.key


def test_passphrases_are_read_as_people_write_them() -> None:
    plain = derive_recovery("Blaue Möwen fliegen", GROUP)
    assert derive_recovery("  Blaue  Mo\u0308wen\tfliegen ", GROUP) == plain
    assert derive_recovery("Blaue Möwen fliegen", bytes(16)).wrap_key != plain.wrap_key
    assert derive_recovery("blaue Möwen fliegen", GROUP).wrap_key != plain.wrap_key


@pytest.mark.parametrize("text", ["", "short", "fifteen letters", "x" * 2000])
def test_what_can_be_no_passphrase(text: str) -> None:
    with pytest.raises(RecoveryKeyWrong):
        check_recovery_text(text)


def test_every_typing_error_is_seen() -> None:
    text = new_recovery_text()
    for at in range(4, len(text)):
        if text[at] == "-":
            continue
        wrong = "7" if text[at] != "7" else "8"
        with pytest.raises(RecoveryKeyWrong, match=r"mistyped|letter"):
            check_recovery_text(text[:at] + wrong + text[at + 1 :])
    for part in (text[:-1], text[:-6], text + "0", "BR1", "BR1-U"):
        with pytest.raises(RecoveryKeyWrong):
            check_recovery_text(part)


def test_generated_keys_have_160_bits() -> None:
    texts = {new_recovery_text() for _ in range(100)}
    assert len(texts) == 100
    assert all(len(text.replace("-", "")) == 3 + 39 for text in texts)


def test_as_many_devices_as_there_may_be() -> None:
    devices = tuple(DeviceKeys(os.urandom(16), os.urandom(64)) for _ in range(16))
    secrets = Secrets(GROUP, OWNER, "x" * 64, "y" * 64, devices)
    escrow = wrap_secrets(secrets, WRAP)
    assert len(escrow) <= MAX_ESCROW_BYTES
    assert unwrap_secrets(escrow, WRAP) == secrets
    assert secrets.device(devices[3].device_id) == devices[3]
    assert secrets.device(bytes(16)) is None
    with pytest.raises(ValueError, match="16 devices"):
        wrap_secrets(Secrets(GROUP, OWNER, "x", "y", (*devices, devices[0])), WRAP)


def test_a_device_that_is_not_there_any_more_stays_in_the_escrow() -> None:
    """An owner with two disks takes over with one of them: the key of the other is not lost."""
    first, second = SECRETS.devices
    alone = replace(SECRETS, devices=(first,))
    assert set(keep_devices(alone, SECRETS).devices) == {first, second}
    assert keep_devices(SECRETS, alone) == SECRETS
    fresh = DeviceKeys(second.device_id, os.urandom(64))
    assert (
        keep_devices(replace(SECRETS, devices=(fresh,)), SECRETS).device(fresh.device_id) == fresh
    )
    many = tuple(new_device_keys() for _ in range(16))
    full = keep_devices(alone, replace(SECRETS, devices=many))
    assert full.devices == (*many[1:], first)


def test_nothing_of_the_secrets_shows() -> None:
    escrow = wrap_secrets(SECRETS, WRAP)
    assert escrow != wrap_secrets(SECRETS, WRAP)
    hidden = [OWNER.seed, *(d.data_key for d in SECRETS.devices), b"PC"]
    assert not [secret for secret in hidden if secret in escrow]
    assert escrow_group(escrow) == GROUP
    assert OWNER.seed.hex() not in repr(SECRETS)


def test_every_changed_byte_is_seen() -> None:
    escrow = wrap_secrets(SECRETS, WRAP)
    for at in range(len(escrow)):
        changed = bytearray(escrow)
        changed[at] ^= 0x40
        with pytest.raises((RecoveryKeyWrong, RecordDamaged, RecordUnsupported)):
            unwrap_secrets(bytes(changed), WRAP)


@settings(max_examples=300)
@given(st.binary(max_size=3000))
def test_any_bytes_as_an_escrow(data: bytes) -> None:
    for attempt in (data, b"BLKRESCR\1\0\0\0" + len(data).to_bytes(4, "little") + data):
        with pytest.raises((RecoveryKeyWrong, RecordDamaged, RecordUnsupported)):
            unwrap_secrets(attempt, WRAP)


@settings(max_examples=300)
@given(st.text(max_size=60))
def test_any_text_as_a_recovery_key(text: str) -> None:
    for attempt in (text, "BR1" + text):
        try:
            check_recovery_text(attempt)
        except BlockrepError as error:
            assert isinstance(error, RecoveryKeyWrong)


def _hkdf(secret: bytes, info: bytes) -> bytes:
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")
