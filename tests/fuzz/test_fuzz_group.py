"""Bytes of strangers: JSON, sections, documents, calls, codes fail as documented, and quickly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from group_builders import GROUP, NOW, chain, document, identity, section
from hypothesis import given, settings
from hypothesis import strategies as st

from blockrep.disk.area_keys import KEYS_BYTES, parse_keys
from blockrep.errors import InvitationRefused, RecordDamaged, RecordUnsupported, UsageError
from blockrep.group.calls import answer_member, build_exchange, read_exchange
from blockrep.group.document import MAX_DOCUMENT_BYTES, build_document, parse_document
from blockrep.group.grants import Grants, parse_grants
from blockrep.group.handshake import Greeting
from blockrep.group.invitations import Invitations
from blockrep.group.invite import build_code, new_invitation, parse_code
from blockrep.group.join import build_join
from blockrep.group.merge import OwnKey
from blockrep.group.own_section import first_section
from blockrep.group.replies import parse_reply
from blockrep.group.section import MAX_SECTION_BYTES, parse_section
from blockrep.group.strict_json import MAX_DEPTH, parse_object

HELD = chain(3)
OWN = OwnKey(identity(0).key, 1)
INVITER, JOINER = identity(0), identity(5)
GREETING = Greeting(JOINER.key, bytes(32), bytes(32))
EXPECTED = (RecordDamaged, RecordUnsupported)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=70), st.just("00" * 32)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(sorted(json.loads(section(0).body)))
MUTATIONS = st.dictionaries(FIELDS, JSON, min_size=1, max_size=3)


def signed_as(number: int, plain: object) -> tuple[bytes, bytes]:
    body = json.dumps(plain).encode()
    return body, identity(number).sign(b"blockrep section 1\0" + body)


@settings(max_examples=500)
@given(MUTATIONS)
def test_a_section_with_any_fields(changes: dict[str, object]) -> None:
    """Signed, by a hostile member: only what is said in it is wrong."""
    body, signature = signed_as(0, {**json.loads(section(0).body), **changes})
    try:
        found = parse_section(body, signature, GROUP)
    except EXPECTED as error:
        assert error.message
    else:
        assert found.member.counter >= 1
        assert parse_document(build_document(document(found))).sections == (found,)


PARSERS: list[Callable[[bytes], object]] = [
    lambda data: parse_object(data, 10_000, "x"),
    parse_document,
    parse_grants,
    parse_reply,
    lambda data: parse_section(data, bytes(64), GROUP),
    lambda data: read_exchange(data, HELD, OWN),
]


@pytest.mark.parametrize("parse", PARSERS)
@settings(max_examples=150)
@given(data=st.one_of(st.binary(max_size=300), JSON.map(lambda v: json.dumps(v).encode())))
def test_any_bytes(parse: Callable[[bytes], object], data: bytes) -> None:
    for attempt in (data, b'{"version":1,"ok":true,"a":' + data + b"}"):
        try:
            parse(attempt)
        except EXPECTED as error:
            assert error.message


@settings(max_examples=300)
@given(
    verb=st.sampled_from(["exchange", "join", "wait", "backup", "divide", ""]),
    changes=st.dictionaries(
        st.sampled_from(
            ["summary", "document", "arguments", "section", "proof", "signature", "invitation"]
        ),
        JSON,
    ),
)
def test_any_call_is_answered(verb: str, changes: dict[str, object]) -> None:
    call = json.dumps({"verb": verb, **changes}).encode()
    found = answer_member(call, identity(1).key, HELD, OWN, Grants())
    assert found.document == HELD
    assert json.loads(found.reply)["ok"] in (True, False)
    invitations = Invitations(GROUP, INVITER.key)
    assert json.loads(invitations.answer(call, GREETING, HELD))["ok"] is False


INVITATION = new_invitation(GROUP, INVITER.key, "host:1", NOW)
JOIN = build_join(
    INVITATION, JOINER, first_section(JOINER, GROUP, "j", NOW, [INVITER.key]), GREETING
).call


@settings(max_examples=300)
@given(st.integers(0, len(JOIN) - 1), st.integers(0, 255))
def test_a_join_with_a_wrong_byte_joins_nobody(at: int, value: int) -> None:
    changed = bytearray(JOIN)
    if changed[at] == value:
        return
    changed[at] = value
    invitations = Invitations(GROUP, INVITER.key)
    invitations.answer(bytes(changed), GREETING, HELD)
    assert invitations.claims() == []


@settings(max_examples=300)
@given(st.integers(0, 8191), st.integers(0, 255))
def test_a_document_with_a_wrong_byte(at: int, value: int) -> None:
    data = bytearray(build_document(HELD))
    data[at % len(data)] = value
    try:
        found = parse_document(bytes(data), GROUP)
    except EXPECTED:
        return
    assert found == HELD


@settings(max_examples=500)
@given(st.text(max_size=300))
def test_any_text_as_a_code(text: str) -> None:
    for attempt in (text, "BJ1" + text):
        with pytest.raises((UsageError, InvitationRefused)):
            parse_code(attempt)


@settings(max_examples=200)
@given(st.integers(0, 400), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_a_code_with_a_wrong_letter(at: int, letter: str) -> None:
    code = build_code(INVITATION)
    at %= len(code)
    if code[at] in (letter, "-"):
        return
    with pytest.raises(UsageError):
        parse_code(code[:at] + letter + code[at + 1 :])


@settings(max_examples=300)
@given(st.binary(min_size=KEYS_BYTES, max_size=KEYS_BYTES))
def test_any_keys_in_an_area_record(data: bytes) -> None:
    try:
        parse_keys(data)
    except RecordDamaged as error:
        assert error.message


# --- caps: what is too deep, too long or too many is refused before it costs anything


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 500_000,
        b'{"a":' * 200_000,
        b'{"a":' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}",
        b'{"a":' + b"9" * 900_000 + b"}",
        b'{"a":"' + b"\\\\" * 400_000,
        b'{"' + b'a":1,"' * 150_000,
        b'{"' + b'\\"' * 400_000,
        b'{"a":"' + b'\\"[' * 250_000 + b"\\",
        b'{"a":1e999999999}',
        b'{"a":NaN}',
        b'{"a":-0.0}',
        b" " * (1 << 21),
        b"\xff" * 100_000,
        b'{"a":"\\ud800"}x',
    ],
)
def test_bombs_are_refused_quickly(data: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(RecordDamaged):
        parse_object(data, MAX_DOCUMENT_BYTES, "a bomb")
    assert time.monotonic() - started < 2


def test_as_deep_as_it_may_be() -> None:
    inner = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert parse_object(b'{"a":' + inner + b"}", 100, "x")
    assert parse_object(b'{"a":"' + b"[" * 100 + b'\\"{"}', 200, "x").text("a", 200)
    with pytest.raises(RecordDamaged, match="deep"):
        parse_object(b'{"a":[' + inner + b"]}", 100, "x")


def test_caps_of_lengths() -> None:
    body = section(0).body
    big = body[:-1] + b',"x":"' + b"x" * MAX_SECTION_BYTES + b'"}'
    with pytest.raises(RecordDamaged, match="at most"):
        parse_section(big, identity(0).sign(b"blockrep section 1\0" + big), GROUP)
    with pytest.raises(RecordDamaged, match="at most"):
        parse_document(build_document(HELD) + b" " * MAX_DOCUMENT_BYTES)
    plain = json.loads(build_document(HELD))
    plain["sections"] = plain["sections"][:1] * 65
    with pytest.raises(RecordDamaged):
        parse_document(json.dumps(plain).encode())
    plain["sections"] = plain["sections"][:1] * 2
    with pytest.raises(RecordDamaged, match="two sections"):
        parse_document(json.dumps(plain).encode())
    # A stranger has less room than a member.
    invitations = Invitations(GROUP, INVITER.key)
    reply = invitations.answer(JOIN[:-1] + b',"x":"' + b"x" * 17_000 + b'"}', GREETING, HELD)
    assert "at most 16384" in json.loads(reply)["text"]
    assert len(build_exchange(HELD, {})) < MAX_DOCUMENT_BYTES
