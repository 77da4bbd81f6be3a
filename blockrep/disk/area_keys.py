"""The keys in an area record: what makes a machine a member, and this disk one of its devices.

Byte table: docs/area-format.md. Whether seed, key and certificate belong together is for
`blockrep.group.identity` to say; here are only their places.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from blockrep.errors import RecordDamaged

KEYS_BYTES = 2048
NAME_BYTES = 64
CERTIFICATE_BYTES = 1024
NO_WRAP_KEY = bytes(32)
COUNTER_LIMIT = 1 << 53

_FIXED = struct.Struct("<16s32s32s16s64s32sQQ64s64sII1024s")
_FLAG_ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class AreaKeys:
    """One member of one group on one disk. Secrets are left out of its `repr`.

    `counter` is the highest that a section may have been signed with, `wrap_key` zeros while there
    is no recovery key.
    """

    group_id: bytes
    seed: bytes = field(repr=False)
    key: bytes
    device_id: bytes
    data_key: bytes = field(repr=False)
    wrap_key: bytes = field(repr=False)
    counter: int
    joined_s: int
    member_name: str
    group_name: str
    certificate: bytes
    encrypted: bool = True


def build_keys(keys: AreaKeys) -> bytes:
    """The 2,048 bytes; `ValueError` for what the format cannot hold."""
    _check_lengths(keys)
    packed = _FIXED.pack(
        keys.group_id,
        keys.seed,
        keys.key,
        keys.device_id,
        keys.data_key,
        keys.wrap_key,
        keys.counter,
        keys.joined_s,
        _pack_name(keys.member_name),
        _pack_name(keys.group_name),
        _FLAG_ENCRYPTED if keys.encrypted else 0,
        len(keys.certificate),
        keys.certificate,
    )
    return packed.ljust(KEYS_BYTES, b"\0")


def parse_keys(data: bytes) -> AreaKeys:
    """The opposite of `build_keys`; `RecordDamaged` for what makes no sense."""
    (
        group_id,
        seed,
        key,
        device_id,
        data_key,
        wrap_key,
        counter,
        joined_s,
        member_name,
        group_name,
        flags,
        certificate_bytes,
        certificate,
    ) = _FIXED.unpack_from(data)
    if certificate_bytes > CERTIFICATE_BYTES or counter >= COUNTER_LIMIT:
        raise RecordDamaged(
            f"the keys of the area record name {certificate_bytes} bytes of a certificate and the "
            f"counter {counter}"
        )
    return AreaKeys(
        group_id=group_id,
        seed=seed,
        key=key,
        device_id=device_id,
        data_key=data_key,
        wrap_key=wrap_key,
        counter=counter,
        joined_s=joined_s,
        member_name=_unpack_name(member_name),
        group_name=_unpack_name(group_name),
        certificate=certificate[:certificate_bytes],
        encrypted=bool(flags & _FLAG_ENCRYPTED),
    )


def _check_lengths(keys: AreaKeys) -> None:
    lengths = (
        (keys.group_id, 16),
        (keys.seed, 32),
        (keys.key, 32),
        (keys.device_id, 16),
        (keys.data_key, 64),
        (keys.wrap_key, 32),
    )
    if any(len(value) != length for value, length in lengths):
        raise ValueError("a key or an id of the wrong length")
    if len(keys.certificate) > CERTIFICATE_BYTES or not 0 <= keys.counter < COUNTER_LIMIT:
        raise ValueError("a certificate or a counter that is too large")


def _pack_name(name: str) -> bytes:
    data = name.encode()
    if len(data) > NAME_BYTES or not name.isprintable():
        raise ValueError("a name has at most 64 bytes and no control characters")
    return data


def _unpack_name(data: bytes) -> str:
    try:
        name = data.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise RecordDamaged("a name in the keys of the area record is not UTF-8") from error
    if not name.isprintable():
        raise RecordDamaged("a name in the keys of the area record has control characters")
    return name
