"""The escrow: an owner's secrets, wrapped under its recovery key, kept by everybody.

The table is in docs/group-format.md. A holder stores it and cannot read it.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from blockrep.errors import RecordDamaged, RecordUnsupported, RecoveryKeyWrong
from blockrep.group.identity import DeviceKeys, Identity, identity_from_seed

MAX_ESCROW_BYTES = 2044
MAX_DEVICES = 16

_MAGIC = b"BLKRESCR"
_VERSION = 1
_HEAD = struct.Struct("<8sHHI16s12s")
_BODY = struct.Struct("<32s64s64sH6x")
_DEVICE = struct.Struct("<16s64s")
_TAG_BYTES = 16
_NAME_BYTES = 64


@dataclass(frozen=True, slots=True)
class Secrets:
    """All that makes a bare machine the owner again."""

    group_id: bytes
    identity: Identity
    owner_name: str
    group_name: str
    devices: tuple[DeviceKeys, ...]

    def device(self, device_id: bytes) -> DeviceKeys | None:
        """The keys of one device; None where the escrow is older than the device."""
        return next((d for d in self.devices if d.device_id == device_id), None)


def keep_devices(now: Secrets, before: Secrets) -> Secrets:
    """`now`, with the devices of `before` that it does not have: a lost disk's key stays known.

    Only what is past 16 devices is left out, the oldest first.
    """
    known = {d.device_id for d in now.devices}
    kept = [d for d in before.devices if d.device_id not in known]
    room = MAX_DEVICES - len(now.devices)
    return replace(now, devices=(*kept[max(0, len(kept) - room) :], *now.devices))


def wrap_secrets(secrets: Secrets, wrap_key: bytes) -> bytes:
    """The escrow of `secrets`; `ValueError` for more than 16 devices or names past 64 bytes."""
    names = secrets.owner_name.encode(), secrets.group_name.encode()
    if len(secrets.devices) > MAX_DEVICES or any(len(name) > _NAME_BYTES for name in names):
        raise ValueError("an escrow has at most 16 devices, and names of 64 bytes")
    body = _BODY.pack(secrets.identity.seed, *names, len(secrets.devices))
    body += b"".join(_DEVICE.pack(d.device_id, d.data_key) for d in secrets.devices)
    nonce = os.urandom(12)
    length = _HEAD.size + len(body) + _TAG_BYTES
    head = _HEAD.pack(_MAGIC, _VERSION, 0, length, secrets.group_id, nonce)
    return head + ChaCha20Poly1305(wrap_key).encrypt(nonce, body, head)


def escrow_group(escrow: bytes) -> bytes:
    """The id of the group that an escrow belongs to: the salt of its recovery key.

    `RecordDamaged` for what is no escrow, `RecordUnsupported` for one of a newer version.
    """
    if not _HEAD.size + _TAG_BYTES <= len(escrow) <= MAX_ESCROW_BYTES:
        raise RecordDamaged(f"an escrow of {len(escrow)} bytes")
    magic, version, _, length, group_id, _ = _HEAD.unpack_from(escrow)
    if magic != _MAGIC or length != len(escrow):
        raise RecordDamaged("this is no escrow, or it has been cut")
    if version != _VERSION:
        raise RecordUnsupported(f"the escrow has version {version}, known is {_VERSION}")
    return bytes(group_id)


def unwrap_secrets(escrow: bytes, wrap_key: bytes) -> Secrets:
    """What an escrow holds; `RecoveryKeyWrong` when this key does not open it."""
    group_id = escrow_group(escrow)
    head, nonce = escrow[: _HEAD.size], escrow[_HEAD.size - 12 : _HEAD.size]
    try:
        body = ChaCha20Poly1305(wrap_key).decrypt(nonce, escrow[_HEAD.size :], head)
    except InvalidTag as error:
        raise RecoveryKeyWrong("this recovery key does not open the owner's keys") from error
    return _parse_body(group_id, body)


def _parse_body(group_id: bytes, body: bytes) -> Secrets:
    """The owner wrote it, as the tag has shown; still nothing is believed about its lengths."""
    if len(body) < _BODY.size:
        raise RecordDamaged("an escrow without its secrets")
    seed, owner_name, group_name, count = _BODY.unpack_from(body)
    if count > MAX_DEVICES or len(body) != _BODY.size + count * _DEVICE.size:
        raise RecordDamaged(f"an escrow of {count} devices in {len(body)} bytes")
    devices = _DEVICE.iter_unpack(body[_BODY.size :])
    return Secrets(
        group_id=group_id,
        identity=identity_from_seed(seed),
        owner_name=_name(owner_name),
        group_name=_name(group_name),
        devices=tuple(DeviceKeys(*fields) for fields in devices),
    )


def _name(data: bytes) -> str:
    try:
        return data.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise RecordDamaged("a name in the escrow is not UTF-8") from error
