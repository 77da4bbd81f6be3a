"""The inviter's side of joining: the invitations that are open, who claimed them, what was decided.

All of it is in memory alone: a restart ends every invitation. Lifetimes are counted by a monotonic
clock: no jump of the wall clock makes one longer. Not locked; the caller has one lock around it.
Rules: docs/group-format.md.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from blockrep.errors import BlockrepError, InvitationRefused, RecordDamaged, UsageError
from blockrep.group.document import Document, document_object
from blockrep.group.handshake import (
    MAC_BYTES,
    Greeting,
    join_transcript,
    knows_secret,
    owns_key,
    short_code,
    wait_message,
)
from blockrep.group.identity import SIGNATURE_BYTES
from blockrep.group.invite import LIFE_S, Invitation, new_invitation
from blockrep.group.replies import (
    MAX_JOIN_CALL_BYTES,
    NO_RIGHT,
    PROTOCOL,
    TOO_MANY,
    build_refusal,
    build_reply,
    parse_call,
)
from blockrep.group.section import Section, read_section
from blockrep.group.strict_json import Fields
from blockrep.signature import is_signed_by

MAX_OPEN = 16
MAX_LOG = 100
MAX_WRONG_PROOFS = 5
MAX_UNKNOWN = 10
UNKNOWN_WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class Claim:
    """A machine that has proven to have a code, and waits for the word of a person.

    `code` is the short code that its screen shows as well.
    """

    section: Section
    code: str
    ends_at: float
    state: str = "waiting"

    @property
    def key(self) -> bytes:
        return self.section.key


@dataclass(slots=True)
class _Open:
    invitation: Invitation
    ends_at: float
    wrong_proofs: int = 0
    claim: Claim | None = None


class Invitations:
    """Those of one member. `log` has what somebody should know of, newest last."""

    def __init__(
        self, group_id: bytes, inviter_key: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._group_id = group_id
        self._inviter_key = inviter_key
        self._clock = clock
        self._open: dict[bytes, _Open] = {}
        self._unknown: list[float] = []
        self.log: deque[str] = deque(maxlen=MAX_LOG)

    def invite(self, address: str, now_s: int, life_s: int = LIFE_S) -> Invitation:
        """A new invitation, at `now_s` seconds since 1970; `UsageError` when too many are open."""
        self._forget_old()
        if len(self._open) >= MAX_OPEN:
            raise UsageError(f"{MAX_OPEN} invitations are open: use them, or wait until they end")
        invitation = new_invitation(self._group_id, self._inviter_key, address, now_s, life_s)
        self._open[invitation.number] = _Open(invitation, self._clock() + life_s)
        return invitation

    def claims(self) -> list[Claim]:
        """Who waits for an approval."""
        self._forget_old()
        return [c for c in self._claims() if c.state == "waiting"]

    def is_claimed_by(self, key: bytes) -> bool:
        """Whether a code was used by this key, whatever was decided."""
        self._forget_old()
        return any(c.key == key for c in self._claims())

    def approve(self, key: bytes) -> Section:
        """Say yes: the joiner's section, for the document; `InvitationRefused` if nobody waits.

        The caller then approves the key in its own section, merges this one, saves, and only then
        does `wait` give the document away: it asks whether the document has the section.
        """
        return self._decide(key, "approved").section

    def refuse(self, key: bytes) -> None:
        """Say no; the code is used up."""
        self._decide(key, "refused")

    def answer(self, call: bytes, greeting: Greeting, document: Document) -> bytes:
        """The REPLY to a CALL on a connection without a certificate. Never raises."""
        self._forget_old()
        try:
            verb, fields = parse_call(call, MAX_JOIN_CALL_BYTES)
            if verb == "join":
                return self._join(fields, greeting, document)
            if verb == "wait":
                return self._wait(fields, greeting, document)
            return build_refusal(NO_RIGHT, f"a stranger may not call {verb!r}")
        except InvitationRefused as error:
            return build_refusal(TOO_MANY, error.message)
        except BlockrepError as error:
            return build_refusal(PROTOCOL, error.message)

    def _join(self, fields: Fields, greeting: Greeting, document: Document) -> bytes:
        found = self._find(fields.hex("invitation", 8))
        section = read_section(fields.child("section"), self._group_id)
        proof = fields.hex("proof", MAC_BYTES)
        signature = fields.hex("signature", SIGNATURE_BYTES)
        transcript = join_transcript(self._group_id, self._inviter_key, greeting, section)
        if not knows_secret(found.invitation.secret, transcript, proof):
            self._count_wrong(found)
        if section.key != greeting.client_key or not owns_key(section.key, transcript, signature):
            raise RecordDamaged("the joiner's key did not sign this connection")
        if found.claim is not None and found.claim.key != section.key:
            self.log.append(
                f"a second machine, {section.member.name}, used the code that "
                f"{found.claim.section.member.name} had used: somebody else has it"
            )
            raise InvitationRefused("this code was used by another machine already")
        self._refuse_namesake(section, document)
        if found.claim is None or found.claim.state == "waiting":
            found.claim = Claim(section, short_code(transcript), self._clock() + LIFE_S)
        return build_reply(state=found.claim.state)

    def _refuse_namesake(self, section: Section, document: Document) -> None:
        """Two members of one name could be taken for each other by whoever grants something."""
        name = section.member.name
        if any(s.member.name == name and s.key != section.key for s in document.sections):
            raise InvitationRefused(f"the group has a member called {name} already")

    def _wait(self, fields: Fields, greeting: Greeting, document: Document) -> bytes:
        message = wait_message(self._group_id, self._inviter_key, greeting)
        signature = fields.hex("signature", SIGNATURE_BYTES)
        if not is_signed_by(greeting.client_key, signature, message):
            raise RecordDamaged("the joiner's key did not sign this connection")
        claim = self._claim_of(greeting.client_key)
        if claim.state != "approved":
            return build_reply(state=claim.state)
        if document.section(claim.key) is None:
            # Approved, but the document that says so is not saved yet.
            return build_reply(state="waiting")
        return build_reply(state="approved", document=document_object(document))

    def _find(self, number: bytes) -> _Open:
        found = self._open.get(number)
        if found is None:
            self._count_unknown()
            raise InvitationRefused("this code is not known here: used up, too old, or of another")
        return found

    def _count_unknown(self) -> None:
        now = self._clock()
        self._unknown = [at for at in self._unknown if now - at < UNKNOWN_WINDOW_S]
        if len(self._unknown) >= MAX_UNKNOWN:
            raise InvitationRefused("too many wrong codes: try again in a minute")
        self._unknown.append(now)

    def _count_wrong(self, found: _Open) -> None:
        found.wrong_proofs += 1
        if found.wrong_proofs >= MAX_WRONG_PROOFS:
            del self._open[found.invitation.number]
            self.log.append("an invitation has ended: its proof was wrong five times")
        raise InvitationRefused("the proof of the code is wrong")

    def _decide(self, key: bytes, state: str) -> Claim:
        self._forget_old()
        for opened in self._open.values():
            claim = opened.claim
            if claim is not None and claim.key == key and claim.state == "waiting":
                opened.claim = replace(claim, state=state, ends_at=self._clock() + LIFE_S)
                return opened.claim
        raise InvitationRefused(f"no machine with the key {key.hex()[:16]}… waits for an approval")

    def _claims(self) -> list[Claim]:
        return [o.claim for o in self._open.values() if o.claim is not None]

    def _claim_of(self, key: bytes) -> Claim:
        for claim in self._claims():
            if claim.key == key:
                return claim
        raise InvitationRefused("this machine has not shown a code, or waited too long")

    def _forget_old(self) -> None:
        """A claim lives on from its own moment."""
        now = self._clock()
        for number, opened in list(self._open.items()):
            ends_at = opened.ends_at if opened.claim is None else opened.claim.ends_at
            if now >= ends_at:
                del self._open[number]
