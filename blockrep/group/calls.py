"""What members ask each other over CALL and REPLY: pure functions from bytes to bytes.

Verbs and caps: docs/group-format.md. The caller keeps the document that comes out, logs, and sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blockrep.errors import BlockrepError, RecordDamaged
from blockrep.group.document import Document, document_object, read_document
from blockrep.group.grants import Grants
from blockrep.group.identity import KEY_BYTES
from blockrep.group.membership import view_group
from blockrep.group.merge import (
    Event,
    EventKind,
    Known,
    Merged,
    OwnKey,
    merge,
    newer_than,
    summary_of,
)
from blockrep.group.replies import (
    MAX_CALL_BYTES,
    NOT_A_MEMBER,
    PROTOCOL,
    build_call,
    build_refusal,
    build_reply,
    parse_call,
    parse_reply,
)
from blockrep.group.section import HASH_BYTES, MAX_MEMBERS
from blockrep.group.strict_json import Fields


@dataclass(frozen=True, slots=True)
class Answer:
    """The REPLY; the document afterwards (the same object when nothing changed); what to log."""

    reply: bytes
    document: Document
    events: tuple[Event, ...] = ()
    refusal: str = ""


def answer_member(
    call: bytes, who: bytes, document: Document, own: OwnKey, grants: Grants
) -> Answer:
    """Answer a CALL of the connection whose key is `who`. Never raises for what a peer sent.

    A recovery identity may exchange as well: sections prove themselves, whoever brings them.
    """
    view = view_group(document, own.key, grants.removers)
    if who not in view.members and who not in view.recovering:
        text = f"{view.name(who)} is not a member of the group"
        return Answer(build_refusal(NOT_A_MEMBER, text), document, refusal=text)
    try:
        verb, fields = parse_call(call, MAX_CALL_BYTES)
        if verb != "exchange":
            raise RecordDamaged(f"there is no verb {verb!r}")
        return _exchange(fields, document, own)
    except BlockrepError as error:
        text = f"{view.name(who)}: {error.message}"
        return Answer(build_refusal(PROTOCOL, error.message), document, refusal=text)


def build_exchange(document: Document, theirs: Mapping[bytes, Known] | None = None) -> bytes:
    """The CALL that says what we have, and sends what they lack once it is known what they have.

    The first call of a connection is made without `theirs`, the second with what `read_exchange`
    gave, when `they_lack` something.
    """
    offered = None if theirs is None else document_object(newer_than(document, theirs))
    return build_call("exchange", summary=_summary(document), document=offered)


def build_document_call() -> bytes:
    """The CALL of one who knows nothing of the group yet: a recovery identity."""
    return build_call("exchange", summary=[], document=None)


def read_document_reply(reply: bytes, group_id: bytes) -> Document:
    """The whole document that answers it; errors as `read_exchange`."""
    return read_document(parse_reply(reply).child("document"), group_id)


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What came back: our document merged with theirs, and what they have."""

    merged: Merged
    theirs: dict[bytes, Known]

    @property
    def they_lack(self) -> bool:
        """Whether a second call is needed."""
        return bool(newer_than(self.merged.document, self.theirs).sections)


def read_exchange(reply: bytes, document: Document, own: OwnKey) -> Exchanged:
    """What a REPLY to `exchange` says; `NotAMember`, `NotAllowed`, `RecordDamaged`."""
    fields = parse_reply(reply)
    offered = read_document(fields.child("document"), document.group_id)
    theirs = _read_summary(fields)
    return Exchanged(merge(document, offered, own), theirs)


def _exchange(fields: Fields, document: Document, own: OwnKey) -> Answer:
    theirs = _read_summary(fields)
    after = document
    events: tuple[Event, ...] = ()
    if not fields.is_null("document"):
        offered = read_document(fields.child("document"), document.group_id)
        merged = merge(document, offered, own)
        events = merged.events
        after = merged.document if merged.document != document else document
    reply = build_reply(
        summary=_summary(after),
        document=document_object(newer_than(after, theirs)),
        refused=[e.text for e in events if e.kind in (EventKind.OLD, EventKind.FORK)],
    )
    return Answer(reply, after, events)


def _summary(document: Document) -> list[dict[str, object]]:
    known = summary_of(document).items()
    return [{"key": k.hex(), "counter": s.counter, "hash": s.hash.hex()} for k, s in known]


def _read_summary(fields: Fields) -> dict[bytes, Known]:
    rows = fields.children("summary", MAX_MEMBERS)
    return {
        row.hex("key", KEY_BYTES): Known(row.number("counter"), row.hex("hash", HASH_BYTES))
        for row in rows
    }
