"""A section of the group document: what one member says about itself, signed by it.

The bytes that were signed are carried as they are, so that an older version hands on what it does
not know. Format: docs/group-format.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.group.certificate import MAX_CERTIFICATE_BYTES, check_certificate
from blockrep.group.escrow import MAX_ESCROW_BYTES
from blockrep.group.identity import ID_BYTES, KEY_BYTES, SIGNATURE_BYTES, Identity
from blockrep.group.strict_json import Fields, build_json, parse_object, to_base64
from blockrep.signature import is_signed_by

MAX_SECTION_BYTES = 11_264
MAX_MEMBERS = 64
MAX_NAME_BYTES = 64
MAX_ADDRESSES = 8
MAX_ADDRESS_BYTES = 128
MAX_DEVICES = 16
MAX_LISTED = MAX_MEMBERS - 1
HASH_BYTES = 32
NO_PREVIOUS = bytes(HASH_BYTES)

_VERSION = 1
_SIGNED = b"blockrep section 1\0"
_HASHED = b"blockrep section hash 1\0"


@dataclass(frozen=True, slots=True)
class MemberDevice:
    """A disk that a member has put into the group; only `instance_id` may write its replicas."""

    device_id: bytes
    instance_id: bytes
    name: str
    content_bytes: int
    disk_bytes: int
    encrypted: bool = True


@dataclass(frozen=True, slots=True)
class Recovery:
    """An owner's recovery identity, and its wrapped keys."""

    key: bytes
    certificate: bytes = field(repr=False)
    escrow: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Member:
    """What a section says. `removed` and `approved` are keys of other members."""

    group_id: bytes
    key: bytes
    name: str
    certificate: bytes = field(repr=False)
    counter: int = 1
    previous: bytes = field(default=NO_PREVIOUS, repr=False)
    time_s: int = 0
    addresses: tuple[str, ...] = ()
    devices: tuple[MemberDevice, ...] = ()
    recovery: Recovery | None = None
    approved: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()
    left: bool = False

    def device(self, device_id: bytes) -> MemberDevice | None:
        return next((d for d in self.devices if d.device_id == device_id), None)


@dataclass(frozen=True, slots=True)
class Section:
    """A member's word with its signature; there is none whose signature has not been checked."""

    member: Member
    body: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def key(self) -> bytes:
        return self.member.key

    @property
    def counter(self) -> int:
        return self.member.counter

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(_HASHED + self.body + self.signature).digest()


def sign_section(member: Member, identity: Identity) -> Section:
    """`member` as its section; `ValueError` for what the format cannot hold."""
    body = build_json(_plain(member))
    signature = identity.sign(_SIGNED + body)
    try:
        return parse_section(body, signature, member.group_id)
    except RecordDamaged as error:
        raise ValueError(error.message) from error


def parse_section(body: bytes, signature: bytes, group_id: bytes) -> Section:
    """A section from bytes that anybody may have written.

    `RecordDamaged` unless it makes sense, belongs to this group and is signed by the key that it
    names; `RecordUnsupported` for one of a newer version.
    """
    fields = parse_object(body, MAX_SECTION_BYTES, "a section of the group document")
    version = fields.number("version")
    if version != _VERSION:
        raise RecordUnsupported(f"a section has version {version}, known is {_VERSION}")
    key = fields.hex("key", KEY_BYTES)
    # Before anything else of it is believed.
    if not is_signed_by(key, signature, _SIGNED + body):
        raise RecordDamaged(f"the section of {key.hex()[:16]}… is not signed by it")
    member = _member(fields, key)
    if member.group_id != group_id:
        raise RecordDamaged(f"the section of {member.name} is of another group")
    check_certificate(member.certificate, key)
    return Section(member, body, signature)


def section_object(section: Section) -> dict[str, str]:
    """As it stands in JSON."""
    return {"body": to_base64(section.body), "signature": to_base64(section.signature)}


def read_section(fields: Fields, group_id: bytes) -> Section:
    """The opposite of `section_object`; errors as `parse_section`."""
    body = fields.base64("body", MAX_SECTION_BYTES)
    return parse_section(body, fields.base64("signature", SIGNATURE_BYTES), group_id)


def _plain(member: Member) -> dict[str, object]:
    recovery = member.recovery
    return {
        "version": _VERSION,
        "group": member.group_id.hex(),
        "key": member.key.hex(),
        "counter": member.counter,
        "previous": member.previous.hex(),
        "time": member.time_s,
        "name": member.name,
        "certificate": to_base64(member.certificate),
        "addresses": list(member.addresses),
        "devices": [_plain_device(d) for d in member.devices],
        "recovery": None if recovery is None else _plain_recovery(recovery),
        "approved": [key.hex() for key in member.approved],
        "removed": [key.hex() for key in member.removed],
        "left": member.left,
    }


def _plain_device(device: MemberDevice) -> dict[str, object]:
    return {
        "id": device.device_id.hex(),
        "instance": device.instance_id.hex(),
        "name": device.name,
        "content": device.content_bytes,
        "disk": device.disk_bytes,
        "encrypted": device.encrypted,
    }


def _plain_recovery(recovery: Recovery) -> dict[str, object]:
    return {
        "key": recovery.key.hex(),
        "certificate": to_base64(recovery.certificate),
        "escrow": to_base64(recovery.escrow),
    }


def _member(fields: Fields, key: bytes) -> Member:
    counter = fields.number("counter")
    if counter == 0:
        raise RecordDamaged("a section with the counter 0")
    return Member(
        group_id=fields.hex("group", ID_BYTES),
        key=key,
        name=fields.name("name", MAX_NAME_BYTES),
        certificate=fields.base64("certificate", MAX_CERTIFICATE_BYTES),
        counter=counter,
        previous=fields.hex("previous", HASH_BYTES),
        time_s=fields.number("time"),
        addresses=fields.texts("addresses", MAX_ADDRESS_BYTES, MAX_ADDRESSES),
        devices=_devices(fields),
        recovery=None if fields.is_null("recovery") else _recovery(fields.child("recovery")),
        approved=fields.keys("approved", KEY_BYTES, MAX_LISTED),
        removed=fields.keys("removed", KEY_BYTES, MAX_LISTED),
        left=fields.truth("left"),
    )


def _devices(fields: Fields) -> tuple[MemberDevice, ...]:
    devices = tuple(
        MemberDevice(
            device_id=d.hex("id", ID_BYTES),
            instance_id=d.hex("instance", ID_BYTES),
            name=d.text("name", MAX_NAME_BYTES),
            content_bytes=d.number("content"),
            disk_bytes=d.number("disk"),
            encrypted=d.truth("encrypted"),
        )
        for d in fields.children("devices", MAX_DEVICES)
    )
    if len({d.device_id for d in devices}) != len(devices):
        raise RecordDamaged("a section lists a device twice")
    return devices


def _recovery(fields: Fields) -> Recovery:
    recovery = Recovery(
        key=fields.hex("key", KEY_BYTES),
        certificate=fields.base64("certificate", MAX_CERTIFICATE_BYTES),
        escrow=fields.base64("escrow", MAX_ESCROW_BYTES),
    )
    check_certificate(recovery.certificate, recovery.key)
    return recovery
