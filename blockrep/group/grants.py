"""What was granted at this machine, by somebody sitting at it. Never sent, never taken from a peer.

Format: docs/group-format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.group.identity import KEY_BYTES
from blockrep.group.section import MAX_MEMBERS
from blockrep.group.strict_json import Fields, build_json, parse_object

MAX_GRANTS_BYTES = 1 << 20
_VERSION = 1
_MAX_PAIRS = MAX_MEMBERS * MAX_MEMBERS


class Verb(StrEnum):
    """What a member can be granted to do to this machine from afar."""

    BACKUP = "backup"
    CONFIGURE = "configure"
    DIVIDE = "divide"
    REMOVE = "remove"
    STATUS = "status"


class Act(StrEnum):
    """What somebody may want of a segment here."""

    WRITE = "write"
    ASSIGN = "assign"
    RESTORE = "restore"
    TAKEOVER = "takeover"
    DELETE = "delete"


Pairs = frozenset[tuple[bytes, bytes]]
Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Grants:
    """`verbs` by member; `restore` as (member, owner); `denied` as (owner, act)."""

    verbs: Mapping[bytes, frozenset[Verb]] = field(default_factory=dict)
    restore: Pairs = frozenset()
    denied: frozenset[tuple[bytes, Act]] = frozenset()

    def has_verb(self, key: bytes, verb: Verb) -> bool:
        return verb in self.verbs.get(key, frozenset())

    @property
    def removers(self) -> tuple[bytes, ...]:
        """Whose removing of a member counts here as well."""
        return tuple(key for key, verbs in self.verbs.items() if Verb.REMOVE in verbs)


def grant_verb(grants: Grants, key: bytes, verb: Verb) -> Grants:
    verbs = grants.verbs.get(key, frozenset()) | {verb}
    return replace(grants, verbs={**grants.verbs, key: verbs})


def withdraw_verb(grants: Grants, key: bytes, verb: Verb) -> Grants:
    verbs = grants.verbs.get(key, frozenset()) - {verb}
    rest = {k: v for k, v in grants.verbs.items() if k != key}
    return replace(grants, verbs={**rest, key: verbs} if verbs else rest)


def build_grants(grants: Grants) -> bytes:
    """As it is stored."""
    return build_json(
        {
            "version": _VERSION,
            "verbs": {k.hex(): sorted(verbs) for k, verbs in sorted(grants.verbs.items())},
            "restore": [[a.hex(), b.hex()] for a, b in sorted(grants.restore)],
            "denied": [[k.hex(), act] for k, act in sorted(grants.denied)],
        }
    )


def parse_grants(data: bytes) -> Grants:
    """The opposite of `build_grants`; `RecordDamaged`, `RecordUnsupported`."""
    fields = parse_object(data, MAX_GRANTS_BYTES, "the file of grants")
    version = fields.number("version")
    if version != _VERSION:
        raise RecordUnsupported(f"the file of grants has version {version}, known is {_VERSION}")
    return Grants(
        verbs=_verbs(fields.child("verbs")),
        restore=_pairs(fields, "restore"),
        denied=_denied(fields),
    )


def _verbs(fields: Fields) -> dict[bytes, frozenset[Verb]]:
    found = {}
    for name in fields.values:
        (key,) = Fields({"key": [name]}, fields.what).keys("key", KEY_BYTES, 1)
        texts = fields.texts(name, 16, len(Verb))
        found[key] = frozenset(_member_of(Verb, text) for text in texts)
    return found


def _pairs(fields: Fields, name: str) -> Pairs:
    rows = (_row(fields, name, row) for row in fields.rows(name, _MAX_PAIRS))
    return frozenset((row.hex("0", KEY_BYTES), row.hex("1", KEY_BYTES)) for row in rows)


def _denied(fields: Fields) -> frozenset[tuple[bytes, Act]]:
    rows = (_row(fields, "denied", row) for row in fields.rows("denied", _MAX_PAIRS))
    return frozenset((r.hex("0", KEY_BYTES), _member_of(Act, r.text("1", 16))) for r in rows)


def _row(fields: Fields, name: str, row: list[object]) -> Fields:
    if len(row) != 2:
        raise RecordDamaged(f"{fields.what}: {name!r} has a row that is no pair")
    return Fields({"0": row[0], "1": row[1]}, fields.what)


def _member_of(kind: type[Choice], text: str) -> Choice:
    try:
        return kind(text)
    except ValueError as error:
        raise RecordUnsupported(f"the file of grants names {text!r}, which is not known") from error
