"""The joiner's side: from a code to the group's document (docs/group-format.md)."""

from __future__ import annotations

from dataclasses import dataclass

from blockrep.errors import InvitationRefused, RecordDamaged
from blockrep.group.document import Document, read_document
from blockrep.group.handshake import (
    Greeting,
    join_transcript,
    prove_key,
    prove_secret,
    short_code,
    wait_message,
)
from blockrep.group.identity import Identity
from blockrep.group.invite import Invitation
from blockrep.group.membership import view_group
from blockrep.group.replies import build_call, parse_reply
from blockrep.group.section import Section, section_object


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """The CALL that shows the code, and the short code for this machine's screen."""

    call: bytes
    code: str


def build_join(
    invitation: Invitation, joiner: Identity, section: Section, greeting: Greeting
) -> JoinRequest:
    """For a connection whose server was found to have the inviter's key (`expect_peer`).

    `section` is the joiner's first, with the inviter among its approved.
    """
    if greeting.client_key != joiner.key or section.key != joiner.key:
        raise ValueError("the joiner's key is not the one of HELLO and of its section")
    transcript = join_transcript(invitation.group_id, invitation.inviter_key, greeting, section)
    call = build_call(
        "join",
        invitation=invitation.number.hex(),
        section=section_object(section),
        proof=prove_secret(invitation.secret, transcript).hex(),
        signature=prove_key(joiner, transcript).hex(),
    )
    return JoinRequest(call, short_code(transcript))


def build_wait(invitation: Invitation, joiner: Identity, greeting: Greeting) -> bytes:
    """The CALL that asks what was decided; asked again every few seconds."""
    message = wait_message(invitation.group_id, invitation.inviter_key, greeting)
    return build_call("wait", signature=joiner.sign(message).hex())


def read_join(reply: bytes, invitation: Invitation, joiner_key: bytes) -> Document | None:
    """What a REPLY to either CALL says: the document when approved, None while it is waited for.

    `InvitationRefused` when it was refused, `RecordDamaged` for a document that is not that of the
    group in the code, or in which this machine is no member.
    """
    fields = parse_reply(reply)
    state = fields.text("state", 16)
    if state == "waiting":
        return None
    if state == "refused":
        raise InvitationRefused("the join was refused at the other machine")
    if state != "approved":
        raise RecordDamaged(f"the inviter answered {state!r}")
    if fields.is_null("document"):
        # To `join` shown again, after the approval: `wait` has the document.
        return None
    document = read_document(fields.child("document"), invitation.group_id)
    inviter = document.section(invitation.inviter_key)
    if inviter is None or joiner_key not in view_group(document, invitation.inviter_key).members:
        raise RecordDamaged("the inviter's document does not have this machine as a member")
    return document
