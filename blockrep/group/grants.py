"""What was granted at this machine, by somebody sitting at it. Never sent, never taken from a peer.

Format: docs/group-format.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.group.identity import KEY_BYTES
from blockrep.group.section import MAX_MEMBERS
from blockrep.group.strict_json import Fields, build_json, parse_object

MAX_GRANTS_BYTES = 1 << 20
_VERSION = 2
# In version 1 members had verbs, of which `remove` was the only one that did anything.
_VERSION_OF_VERBS = 1
_MAX_VERBS = 5
_MAX_PAIRS = MAX_MEMBERS * MAX_MEMBERS


class Act(StrEnum):
    """What somebody may want of a segment here."""

    WRITE = "write"
    ASSIGN = "assign"
    RESTORE = "restore"
    TAKEOVER = "takeover"


Pairs = frozenset[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Grants:
    """`removers`: whose removing of a member counts here as well; `restore` as (member, owner);
    `denied` as (owner, act).
    """

    removers: frozenset[bytes] = frozenset()
    restore: Pairs = frozenset()
    denied: frozenset[tuple[bytes, Act]] = frozenset()


def build_grants(grants: Grants) -> bytes:
    """As it is stored."""
    return build_json(
        {
            "version": _VERSION,
            "remove": sorted(key.hex() for key in grants.removers),
            "restore": [[a.hex(), b.hex()] for a, b in sorted(grants.restore)],
            "denied": [[k.hex(), act] for k, act in sorted(grants.denied)],
        }
    )


def parse_grants(data: bytes) -> Grants:
    """The opposite of `build_grants`; `RecordDamaged`, `RecordUnsupported`."""
    fields = parse_object(data, MAX_GRANTS_BYTES, "the file of grants")
    version = fields.number("version")
    if version not in (_VERSION, _VERSION_OF_VERBS):
        raise RecordUnsupported(f"the file of grants has version {version}, known is {_VERSION}")
    return Grants(
        removers=_removers(fields, version),
        restore=_pairs(fields, "restore"),
        denied=_denied(fields),
    )


def _removers(fields: Fields, version: int) -> frozenset[bytes]:
    if version == _VERSION:
        return frozenset(fields.keys("remove", KEY_BYTES, _MAX_PAIRS))
    verbs = fields.child("verbs")
    names = list(verbs.values)
    keys = Fields({"keys": names}, fields.what).keys("keys", KEY_BYTES, _MAX_PAIRS)
    said = (verbs.texts(name, 16, _MAX_VERBS) for name in names)
    return frozenset(key for key, texts in zip(keys, said, strict=True) if "remove" in texts)


def _pairs(fields: Fields, name: str) -> Pairs:
    rows = (_row(fields, name, row) for row in fields.rows(name, _MAX_PAIRS))
    return frozenset((row.hex("0", KEY_BYTES), row.hex("1", KEY_BYTES)) for row in rows)


def _denied(fields: Fields) -> frozenset[tuple[bytes, Act]]:
    rows = (_row(fields, "denied", row) for row in fields.rows("denied", _MAX_PAIRS))
    return frozenset((r.hex("0", KEY_BYTES), _act(r.text("1", 16))) for r in rows)


def _row(fields: Fields, name: str, row: list[object]) -> Fields:
    if len(row) != 2:
        raise RecordDamaged(f"{fields.what}: {name!r} has a row that is no pair")
    return Fields({"0": row[0], "1": row[1]}, fields.what)


def _act(text: str) -> Act:
    try:
        return Act(text)
    except ValueError as error:
        raise RecordUnsupported(f"the file of grants names {text!r}, which is not known") from error
