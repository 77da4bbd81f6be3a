"""CALL and REPLY between members."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from group_builders import GROUP, after, chain, document, identity, section, signed

from blockrep.errors import NotAMember, RecordDamaged
from blockrep.group.calls import (
    Answer,
    answer_member,
    build_document_call,
    build_exchange,
    read_document_reply,
    read_exchange,
)
from blockrep.group.document import Document
from blockrep.group.grants import Grants
from blockrep.group.merge import EventKind, OwnKey
from blockrep.group.replies import MAX_CALL_BYTES, build_call, build_refusal, parse_reply
from blockrep.group.section import Recovery


def key(number: int) -> bytes:
    return identity(number).key


def own(number: int) -> OwnKey:
    return OwnKey(key(number), 1 << 40)


def answer(call: bytes, held: Document, who: int = 1, grants: Grants | None = None) -> Answer:
    return answer_member(call, key(who), held, own(0), grants or Grants())


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


@pytest.mark.parametrize("verb", ["backup", "configure", "divide", "remove", "status", "join"])
def test_there_is_no_other_verb(verb: str) -> None:
    grants = Grants(removers=frozenset({key(1)}))
    found = answer(build_call(verb, arguments={}), chain(3), grants=grants)
    with pytest.raises(RecordDamaged, match=f"no verb '{verb}'"):
        parse_reply(found.reply)
    assert "m1" in found.refusal


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
