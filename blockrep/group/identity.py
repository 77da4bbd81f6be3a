"""A member's identity: its signing key and the certificate that goes with it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from blockrep.disk.area_keys import NO_WRAP_KEY, AreaKeys
from blockrep.errors import RecordDamaged
from blockrep.group.certificate import build_certificate

SEED_BYTES = 32
KEY_BYTES = 32
ID_BYTES = 16
DATA_KEY_BYTES = 64
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Identity:
    """A signing key (Ed25519): `seed` is the secret, `key` the public key."""

    seed: bytes = field(repr=False)
    key: bytes
    certificate: bytes = field(repr=False)

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of a signature; `message` begins with a label of its own and a NUL."""
        return self.signing_key().sign(message)

    def signing_key(self) -> Ed25519PrivateKey:
        """The secret as the library takes it."""
        return Ed25519PrivateKey.from_private_bytes(self.seed)


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """What a device takes with it when it is restored: its id, and the key of its replicas."""

    device_id: bytes
    data_key: bytes = field(repr=False)


def new_identity() -> Identity:
    """A new signing key."""
    return identity_from_seed(os.urandom(SEED_BYTES))


def identity_from_seed(seed: bytes) -> Identity:
    """The identity that this secret makes; always the same."""
    signing_key = Ed25519PrivateKey.from_private_bytes(seed)
    key = signing_key.public_key().public_bytes_raw()
    return Identity(seed, key, build_certificate(signing_key))


def new_device_keys() -> DeviceKeys:
    """The id and data key of a device that joins a group for the first time.

    The two halves of an XTS key differ: equal ones are refused by every implementation, and have
    a probability of 2**-256.
    """
    return DeviceKeys(os.urandom(ID_BYTES), os.urandom(DATA_KEY_BYTES))


def identity_of(keys: AreaKeys) -> Identity:
    """The member that a divided disk belongs to; `RecordDamaged` when its keys do not agree."""
    identity = identity_from_seed(keys.seed)
    if (identity.key, identity.certificate) != (keys.key, keys.certificate):
        raise RecordDamaged("the keys of the area record do not belong together")
    return identity


def device_of(keys: AreaKeys) -> DeviceKeys:
    """This disk as a device of the group."""
    return DeviceKeys(keys.device_id, keys.data_key)


def area_keys(
    identity: Identity,
    device: DeviceKeys,
    *,
    group_id: bytes,
    group_name: str,
    member_name: str,
    joined_s: int,
    counter: int = 0,
    wrap_key: bytes = NO_WRAP_KEY,
    encrypted: bool = True,
) -> AreaKeys:
    """What goes into the area record of a disk that is put into a group."""
    return AreaKeys(
        group_id=group_id,
        seed=identity.seed,
        key=identity.key,
        device_id=device.device_id,
        data_key=device.data_key,
        wrap_key=wrap_key,
        counter=counter,
        joined_s=joined_s,
        member_name=member_name,
        group_name=group_name,
        certificate=identity.certificate,
        encrypted=encrypted,
    )
