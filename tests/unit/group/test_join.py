"""Invitation and approval: the way in, and everything that must not lead in."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace

import pytest
from group_builders import GROUP, NOW, document, identity, section
from tls_pairs import connected, listening

from blockrep.errors import (
    InvitationRefused,
    NotAllowed,
    PeerNotTrusted,
    RecordDamaged,
    UsageError,
)
from blockrep.group.document import Document, document_object
from blockrep.group.handshake import Greeting
from blockrep.group.identity import Identity
from blockrep.group.invitations import MAX_OPEN, MAX_UNKNOWN, MAX_WRONG_PROOFS, Invitations
from blockrep.group.invite import LIFE_S, Invitation, build_code, new_invitation, parse_code
from blockrep.group.join import JoinRequest, build_join, build_wait, read_join
from blockrep.group.membership import view_group
from blockrep.group.merge import merge
from blockrep.group.own_section import amend, approving, first_section
from blockrep.group.replies import build_call, parse_reply
from blockrep.group.section import section_object
from blockrep.group.tls import client_context, expect_peer, server_context

INVITER, JOINER, THIEF = identity(0), identity(5), identity(6)
ADDRESS = "192.0.2.1:7717"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Inviter:
    """The inviting machine: its open invitations and its document."""

    invitations: Invitations
    clock: Clock
    document: Document

    def answer(self, call: bytes, greeting: Greeting) -> bytes:
        return self.invitations.answer(call, greeting, self.document)

    def approve(self, key: bytes) -> None:
        joined = self.invitations.approve(key)
        changed = amend(self.document, INVITER, 2, NOW, approving(key))
        self.document = merge(changed, document(joined)).document


@pytest.fixture
def inviter() -> Inviter:
    clock = Clock()
    return Inviter(Invitations(GROUP, INVITER.key, clock), clock, document(section(0)))


def greet(joiner: Identity) -> Greeting:
    return Greeting(joiner.key, os.urandom(32), os.urandom(32))


def ask(
    invitation: Invitation, joiner: Identity = JOINER, name: str = "joiner"
) -> tuple[JoinRequest, Greeting]:
    greeting = greet(joiner)
    word = first_section(joiner, GROUP, name, NOW, [INVITER.key])
    return build_join(invitation, joiner, word, greeting), greeting


def wait(inviter: Inviter, invitation: Invitation, joiner: Identity = JOINER) -> bytes:
    greeting = greet(joiner)
    return inviter.answer(build_wait(invitation, joiner, greeting), greeting)


def test_the_whole_way_in(inviter: Inviter) -> None:
    invitation = parse_code(build_code(inviter.invitations.invite(ADDRESS, NOW)))
    request, greeting = ask(invitation)
    assert read_join(inviter.answer(request.call, greeting), invitation, JOINER.key) is None
    (claim,) = inviter.invitations.claims()
    assert claim.code == request.code
    assert len(claim.code) == 6
    assert claim.code.isdigit()
    assert claim.section.member.name == "joiner"
    assert read_join(wait(inviter, invitation), invitation, JOINER.key) is None
    inviter.approve(JOINER.key)
    got = read_join(wait(inviter, invitation), invitation, JOINER.key)
    assert got == inviter.document
    for viewer in (INVITER.key, JOINER.key):
        assert set(view_group(inviter.document, viewer).members) == {INVITER.key, JOINER.key}
    assert inviter.invitations.claims() == []


def test_the_document_is_given_only_after_it_says_so(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    request, greeting = ask(invitation)
    inviter.answer(request.call, greeting)
    inviter.invitations.approve(JOINER.key)
    assert read_join(wait(inviter, invitation), invitation, JOINER.key) is None


def test_refused_by_a_person(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    request, greeting = ask(invitation)
    inviter.answer(request.call, greeting)
    inviter.invitations.refuse(JOINER.key)
    with pytest.raises(InvitationRefused, match="refused"):
        read_join(wait(inviter, invitation), invitation, JOINER.key)
    with pytest.raises(InvitationRefused):
        inviter.invitations.approve(JOINER.key)
    # The code is used up, also for the same machine.
    again, greeting = ask(invitation)
    with pytest.raises(InvitationRefused):
        read_join(inviter.answer(again.call, greeting), invitation, JOINER.key)
    assert inviter.invitations.claims() == []


def test_a_code_serves_one_machine(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    first, greeting = ask(invitation)
    inviter.answer(first.call, greeting)
    second, greeting = ask(invitation, THIEF, "thief")
    with pytest.raises(InvitationRefused, match="another machine"):
        read_join(inviter.answer(second.call, greeting), invitation, THIEF.key)
    assert [c.key for c in inviter.invitations.claims()] == [JOINER.key]
    assert "thief" in inviter.invitations.log[-1]
    with pytest.raises(InvitationRefused):
        inviter.invitations.approve(THIEF.key)


def test_a_connection_that_was_cut_is_made_again(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    first, greeting = ask(invitation)
    inviter.answer(first.call, greeting)
    second, greeting = ask(invitation)
    inviter.answer(second.call, greeting)
    (claim,) = inviter.invitations.claims()
    assert claim.code == second.code


def test_a_stranger_is_told_nothing(inviter: Inviter) -> None:
    """HELLO may name any key: without its signature the document stays here."""
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    request, greeting = ask(invitation)
    inviter.answer(request.call, greeting)
    inviter.approve(JOINER.key)
    false = Greeting(JOINER.key, os.urandom(32), os.urandom(32))
    call = build_wait(invitation, THIEF, false)
    with pytest.raises(RecordDamaged, match="did not sign"):
        parse_reply(inviter.answer(call, false))
    # Nor does a signature help that was overheard on another connection.
    good = greet(JOINER)
    call = build_wait(invitation, JOINER, good)
    with pytest.raises(RecordDamaged, match="did not sign"):
        parse_reply(inviter.answer(call, replace(good, server_nonce=os.urandom(32))))


@pytest.mark.parametrize("verb", ["exchange", "divide", "", "status"])
def test_two_verbs_only(inviter: Inviter, verb: str) -> None:
    with pytest.raises(NotAllowed, match="stranger"):
        parse_reply(inviter.answer(build_call(verb), greet(JOINER)))


def test_replayed_or_altered_proofs(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    request, greeting = ask(invitation)
    for other in (
        replace(greeting, server_nonce=os.urandom(32)),
        replace(greeting, client_nonce=os.urandom(32)),
        replace(greeting, client_key=THIEF.key),
    ):
        with pytest.raises((InvitationRefused, RecordDamaged)):
            parse_reply(inviter.answer(request.call, other))
    fields = json.loads(request.call)
    fields["section"] = section_object(
        first_section(JOINER, GROUP, "other name", NOW, [INVITER.key])
    )
    with pytest.raises(InvitationRefused, match="proof"):
        parse_reply(inviter.answer(json.dumps(fields).encode(), greeting))
    assert inviter.invitations.claims() == []


def test_somebody_elses_section_cannot_be_shown(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    word = first_section(JOINER, GROUP, "joiner", NOW, [INVITER.key])
    greeting = greet(THIEF)
    with pytest.raises(ValueError, match="joiner's key"):
        build_join(invitation, THIEF, word, greeting)
    good, _ = ask(invitation, THIEF)
    fields = {**json.loads(good.call), "section": section_object(word)}
    with pytest.raises((InvitationRefused, RecordDamaged)):
        parse_reply(inviter.answer(json.dumps(fields).encode(), greeting))


def test_wrong_proofs_end_an_invitation(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    wrong, greeting = ask(invitation)
    fields = {**json.loads(wrong.call), "proof": "00" * 32}
    for _ in range(MAX_WRONG_PROOFS):
        with pytest.raises(InvitationRefused, match="proof"):
            parse_reply(inviter.answer(json.dumps(fields).encode(), greeting))
    with pytest.raises(InvitationRefused, match="not known"):
        parse_reply(inviter.answer(wrong.call, greeting))
    assert "five" in inviter.invitations.log[-1]


def test_strangers_who_guess_do_not_shut_out_who_was_invited(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    for _ in range(MAX_UNKNOWN):
        guess, greeting = ask(new_invitation(GROUP, INVITER.key, ADDRESS, NOW))
        with pytest.raises(InvitationRefused, match="not known"):
            parse_reply(inviter.answer(guess.call, greeting))
    guess, greeting = ask(new_invitation(GROUP, INVITER.key, ADDRESS, NOW))
    with pytest.raises(InvitationRefused, match="too many"):
        parse_reply(inviter.answer(guess.call, greeting))
    request, greeting = ask(invitation)
    assert parse_reply(inviter.answer(request.call, greeting)).text("state", 16) == "waiting"
    inviter.clock.now += 61
    guess, greeting = ask(new_invitation(GROUP, INVITER.key, ADDRESS, NOW))
    with pytest.raises(InvitationRefused, match="not known"):
        parse_reply(inviter.answer(guess.call, greeting))


def test_codes_end(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    inviter.clock.now += LIFE_S - 1
    request, greeting = ask(invitation)
    assert parse_reply(inviter.answer(request.call, greeting)).text("state", 16) == "waiting"
    # From here on the person has as long again.
    inviter.clock.now += LIFE_S - 1
    assert inviter.invitations.claims()
    inviter.clock.now += 1
    assert not inviter.invitations.claims()
    with pytest.raises(InvitationRefused):
        inviter.invitations.approve(JOINER.key)
    late = inviter.invitations.invite(ADDRESS, NOW)
    inviter.clock.now += LIFE_S
    request, greeting = ask(late)
    with pytest.raises(InvitationRefused, match="not known"):
        parse_reply(inviter.answer(request.call, greeting))


def test_not_too_many_at_once(inviter: Inviter) -> None:
    for _ in range(MAX_OPEN):
        inviter.invitations.invite(ADDRESS, NOW)
    with pytest.raises(UsageError, match="open"):
        inviter.invitations.invite(ADDRESS, NOW)
    inviter.clock.now += LIFE_S
    assert inviter.invitations.invite(ADDRESS, NOW)


def test_a_name_that_is_taken(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)
    request, greeting = ask(invitation, name="m0")
    with pytest.raises(InvitationRefused, match="m0"):
        parse_reply(inviter.answer(request.call, greeting))


def test_the_joiner_checks_what_it_is_given(inviter: Inviter) -> None:
    invitation = inviter.invitations.invite(ADDRESS, NOW)

    def reply(given: Document | None, state: str = "approved") -> bytes:
        plain = None if given is None else document_object(given)
        return json.dumps({"ok": True, "state": state, "document": plain}).encode()

    with pytest.raises(RecordDamaged, match="as a member"):
        read_join(reply(document(section(0))), invitation, JOINER.key)
    with pytest.raises(RecordDamaged, match="another group"):
        read_join(reply(document(section(0))), replace(invitation, group_id=bytes(16)), JOINER.key)
    with pytest.raises(RecordDamaged):
        read_join(reply(document(section(0)), "welcome"), invitation, JOINER.key)
    assert read_join(reply(None), invitation, JOINER.key) is None


def test_codes_as_text() -> None:
    invitation = new_invitation(GROUP, INVITER.key, "[2001:db8::1]:7717", NOW)
    assert invitation.expires_s % 60 == 0
    assert NOW + LIFE_S <= invitation.expires_s < NOW + LIFE_S + 60
    code = build_code(invitation)
    assert parse_code(code) == invitation
    assert parse_code(code.lower().replace("-", "\n")) == invitation
    assert invitation.secret.hex() not in repr(invitation)
    for wrong in (code[:-1], code + "0", code.replace("BJ1", "BR1"), "", code[:3], "BJ1-00000"):
        with pytest.raises(UsageError):
            parse_code(wrong)


@pytest.mark.parametrize(
    "address", ["", "x", "x:", ":1", "x:0", "x:65536", "x:1 ", "x" * 130 + ":1"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        new_invitation(GROUP, INVITER.key, address, NOW)


def test_over_a_real_connection_the_code_pins_the_inviter() -> None:
    """The joiner has no certificate; it hangs up when the server is not the inviter."""
    for server in (INVITER, THIEF):
        with (
            listening(server_context(server, [INVITER.certificate])) as (address, _),
            connected(address, client_context(None)) as connection,
        ):
            if server is INVITER:
                expect_peer(connection, INVITER.key)
            else:
                with pytest.raises(PeerNotTrusted):
                    expect_peer(connection, INVITER.key)
