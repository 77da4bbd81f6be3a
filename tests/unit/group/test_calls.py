"""CALL and REPLY between members."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from group_builders import GROUP, after, chain, document, identity, section, signed

from blockrep.errors import DeviceBusy, NotAllowed, NotAMember, RecordDamaged
from blockrep.group.calls import (
    Answer,
    answer_member,
    build_document_call,
    build_exchange,
    read_document_reply,
    read_exchange,
)
from blockrep.group.document import Document
from blockrep.group.grants import Grants, Verb, grant_verb
from blockrep.group.merge import EventKind, OwnKey
from blockrep.group.replies import MAX_CALL_BYTES, build_call, build_refusal, parse_reply
from blockrep.group.section import Recovery
from blockrep.group.strict_json import Fields


def key(number: int) -> bytes:
    return identity(number).key


def own(number: int) -> OwnKey:
    return OwnKey(key(number), 1 << 40)


def answer(
    call: bytes,
    held: Document,
    who: int = 1,
    grants: Grants | None = None,
    remote: Mapping[Verb, object] | None = None,
) -> Answer:
    return answer_member(call, key(who), held, own(0), grants or Grants(), remote or {})  # type: ignore[arg-type]


def test_two_calls_make_both_sides_equal() -> None:
    base = chain(4)
    here = after(base, 0, lambda m: replace(m, addresses=("here:1",)))
    there = after(base, 1, lambda m: replace(m, addresses=("there:1",)))
    first = answer(build_exchange(there), here)
    assert first.document is here
    got = read_exchange(first.reply, there, own(1))
    assert got.they_lack
    second = answer(build_exchange(got.merged.document, got.theirs), here)
    assert second.document == got.merged.document
    assert not read_exchange(second.reply, got.merged.document, own(1)).they_lack
    assert [e.kind for e in second.events] == [EventKind.UPDATED]


def test_nothing_new_means_nothing_sent() -> None:
    base = chain(4)
    reply = answer(build_exchange(base), base).reply
    got = read_exchange(reply, base, own(1))
    assert got.merged.document == base
    assert not got.they_lack
    assert len(reply) < 1000


def test_a_machine_that_lost_everything_gets_the_highest() -> None:
    held = after(after(chain(3), 1, lambda m: m), 2, lambda m: m)
    lost = document(section(1))
    got = read_exchange(answer(build_exchange(lost), held).reply, lost, own(1))
    assert got.merged.document == held


def test_old_sections_are_refused_and_named() -> None:
    old = chain(2)
    held = after(old, 1, lambda m: m)
    found = answer(build_exchange(old, {}), held)
    assert found.document is held
    refused = json.loads(found.reply)["refused"]
    assert len(refused) == 1
    assert "m1" in refused[0]


def test_both_sides_of_a_fork_are_told() -> None:
    base = chain(3)
    here = after(base, 2, lambda m: replace(m, addresses=("here:1",)))
    there = after(base, 2, lambda m: replace(m, addresses=("there:1",)))
    got = read_exchange(answer(build_exchange(there), here).reply, there, own(1))
    assert [e.kind for e in got.merged.events] == [EventKind.FORK]
    assert got.merged.document == there
    found = answer(build_exchange(there, got.theirs), here)
    assert [e.kind for e in found.events] == [EventKind.FORK]
    assert found.document is here


def test_who_is_no_member_is_refused() -> None:
    for who in (7, 3):
        found = answer(build_exchange(chain(2)), chain(2), who)
        assert found.refusal
        with pytest.raises(NotAMember):
            parse_reply(found.reply)


def test_a_recovery_identity_may_read_the_document() -> None:
    recovery = Recovery(key(9), identity(9).certificate, b"")
    held = document(section(0, 1, (1,)), signed(1, recovery=recovery))
    reply = answer(build_document_call(), held, 9).reply
    assert read_document_reply(reply, GROUP) == held
    with pytest.raises(RecordDamaged, match="another group"):
        read_document_reply(reply, bytes(16))
    granted = grant_verb(Grants(), key(9), Verb.STATUS)
    found = answer(build_call("status", arguments={}), held, 9, granted, {Verb.STATUS: dict})
    assert found.refusal


def test_remote_verbs() -> None:
    calls: list[object] = []

    def backup(fields: Fields) -> Mapping[str, object]:
        calls.append(fields.text("device", 64))
        return {"job": 7}

    call = build_call("backup", arguments={"device": "sda"})
    refused = answer(call, chain(3), remote={Verb.BACKUP: backup})
    with pytest.raises(NotAllowed, match="not granted"):
        parse_reply(refused.reply)
    assert "m1" in refused.refusal
    assert calls == []
    granted = grant_verb(Grants(), key(1), Verb.BACKUP)
    reply = answer(call, chain(3), grants=granted, remote={Verb.BACKUP: backup}).reply
    assert parse_reply(reply).child("result").number("job") == 7
    assert calls == ["sda"]
    # Of another member, of another verb, of one that this agent does not have.
    assert answer(call, chain(3), 2, granted, {Verb.BACKUP: backup}).refusal
    assert answer(
        build_call("divide", arguments={}), chain(3), 1, granted, {Verb.DIVIDE: dict}
    ).refusal
    assert answer(build_call("backup", arguments={}), chain(3), 1, granted).refusal
    assert calls == ["sda"]


def test_what_a_verb_cannot_do_is_answered() -> None:
    def busy(fields: Fields) -> Mapping[str, object]:
        raise DeviceBusy("a backup is running")

    granted = grant_verb(Grants(), key(1), Verb.BACKUP)
    found = answer(build_call("backup", arguments={}), chain(2), 1, granted, {Verb.BACKUP: busy})
    with pytest.raises(RecordDamaged, match="a backup is running"):
        parse_reply(found.reply)


@pytest.mark.parametrize(
    "call",
    [
        b"",
        b"[]",
        b"{}",
        b'{"verb":7}',
        b'{"verb":"exchange"}',
        b'{"verb":"exchange","summary":[{"key":"00","counter":1,"hash":""}],"document":null}',
        b'{"verb":"exchange","summary":[],"document":[]}',
        b'{"verb":"exchange","summary":[],"document":{"version":1}}',
        b'{"verb":"exchange","summary":' + b"[" * 100_000,
        b'{"verb":"' + b"x" * MAX_CALL_BYTES + b'"}',
        b'{"verb":"exchange","verb":"exchange","summary":[],"document":null}',
    ],
)
def test_malformed_calls_are_answered_and_change_nothing(call: bytes) -> None:
    held = chain(2)
    found = answer(call, held)
    assert found.document is held
    assert found.refusal
    with pytest.raises(RecordDamaged):
        parse_reply(found.reply)


@pytest.mark.parametrize(
    "reply", [b"", b"{}", b'{"ok":1}', b'{"ok":false}', b'{"ok":true}', build_refusal(99, "x")]
)
def test_malformed_replies(reply: bytes) -> None:
    with pytest.raises(RecordDamaged):
        read_exchange(reply, chain(2), own(1))
