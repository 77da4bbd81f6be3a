"""The group document: its founding, and the newest section of each member.

A document holds checked sections only. What it means, who of them is a member, is another question
(`blockrep.group.membership`). Format: docs/group-format.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.group.identity import ID_BYTES, KEY_BYTES
from blockrep.group.section import (
    MAX_MEMBERS,
    MAX_NAME_BYTES,
    Section,
    read_section,
    section_object,
)
from blockrep.group.strict_json import Fields, build_json, parse_object

MAX_DOCUMENT_BYTES = 1 << 20

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Founding:
    """What a group is called for good, and by whom; the group id is its digest."""

    name: str
    founder: bytes
    nonce: bytes

    @property
    def group_id(self) -> bytes:
        text = b"blockrep group 1\0" + self.founder + self.nonce + self.name.encode()
        return hashlib.sha256(text).digest()[:ID_BYTES]


@dataclass(frozen=True, slots=True)
class Document:
    """One founding, and at most 64 sections, by key in ascending order."""

    founding: Founding
    sections: tuple[Section, ...] = ()

    @property
    def group_id(self) -> bytes:
        return self.founding.group_id

    def section(self, key: bytes) -> Section | None:
        return next((s for s in self.sections if s.key == key), None)

    def by_key(self) -> dict[bytes, Section]:
        return {s.key: s for s in self.sections}


def new_founding(name: str, founder: bytes) -> Founding:
    """The founding of a new group."""
    return Founding(name, founder, os.urandom(ID_BYTES))


def make_document(founding: Founding, sections: Iterable[Section]) -> Document:
    """A document of these sections, in order."""
    return Document(founding, tuple(sorted(sections, key=lambda s: s.key)))


def build_document(document: Document) -> bytes:
    """As it is sent and stored."""
    return build_json(document_object(document))


def document_object(document: Document) -> dict[str, object]:
    """As it stands in JSON."""
    founding = document.founding
    return {
        "version": _VERSION,
        "founding": {
            "name": founding.name,
            "founder": founding.founder.hex(),
            "nonce": founding.nonce.hex(),
        },
        "sections": [section_object(s) for s in document.sections],
    }


def parse_document(data: bytes, group_id: bytes | None = None) -> Document:
    """A document from bytes that anybody may have written; of this group, when one is given.

    `RecordDamaged` when anything of it is wrong, `RecordUnsupported` for a newer version.
    """
    return read_document(parse_object(data, MAX_DOCUMENT_BYTES, "the group document"), group_id)


def read_document(fields: Fields, group_id: bytes | None = None) -> Document:
    """The opposite of `document_object`; errors as `parse_document`."""
    version = fields.number("version")
    if version != _VERSION:
        raise RecordUnsupported(f"the group document has version {version}, known is {_VERSION}")
    founding = _founding(fields.child("founding"))
    if group_id is not None and founding.group_id != group_id:
        raise RecordDamaged("this is the document of another group")
    listed = fields.children("sections", MAX_MEMBERS)
    sections = [read_section(s, founding.group_id) for s in listed]
    if len({s.key for s in sections}) != len(sections):
        raise RecordDamaged("the group document has two sections of one member")
    return make_document(founding, sections)


def _founding(fields: Fields) -> Founding:
    return Founding(
        name=fields.name("name", MAX_NAME_BYTES),
        founder=fields.hex("founder", KEY_BYTES),
        nonce=fields.hex("nonce", ID_BYTES),
    )
