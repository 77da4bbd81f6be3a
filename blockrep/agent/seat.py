"""A seat in a group: the membership, the segments it holds for others, who is at its door."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from blockrep.agent.dialling import group_by_id, group_by_number
from blockrep.agent.holdings import Holdings
from blockrep.agent.log import Log
from blockrep.agent.own_group import OwnGroup
from blockrep.errors import NotAMember, UsageError
from blockrep.group.handshake import Greeting
from blockrep.group.invitations import Claim, Invitations
from blockrep.group.invite import Invitation
from blockrep.transfer.stores import Writers


class Seat:
    """One membership with all that belongs to it."""

    def __init__(self, group: OwnGroup, holdings: Holdings, log: Log) -> None:
        self.group = group
        self.holdings = holdings
        self.writers = Writers()
        self._invitations = Invitations(group.group_id, group.identity.key)
        self._lock = threading.Lock()
        self._log = log

    def invite(self, address: str) -> Invitation:
        with self._lock:
            return self._invitations.invite(address, int(time.time()))

    def waiting(self) -> list[Claim]:
        """Who waits for an approval."""
        with self._lock:
            return self._invitations.claims()

    def has_shown_code(self, key: bytes) -> bool:
        """Whether this key has claimed an invitation that is still open."""
        with self._lock:
            return self._invitations.is_claimed_by(key)

    def approve(self, key: bytes, code: str) -> None:
        """Let the machine in whose screen shows `code`; `UsageError` when it shows another."""
        with self._lock:
            for claim in self._invitations.claims():
                if claim.key == key and claim.code != code:
                    raise UsageError("the short code has changed since it was compared")
            section = self._invitations.approve(key)
        self.group.welcome(section)
        self._log.notice(f"{section.member.name} was approved as a member of {self.group.name}")

    def refuse(self, key: bytes) -> None:
        """Send the machine away; its code is used up."""
        with self._lock:
            self._invitations.refuse(key)
        self._log.notice(f"the machine with the key {key.hex()[:16]}… was refused")

    def answer_joiner(self, call: bytes, greeting: Greeting) -> bytes:
        """A REPLY to a stranger."""
        document = self.group.document
        if document is None:
            raise NotAMember("the group document has not come back yet")
        with self._lock:
            reply = self._invitations.answer(call, greeting, document)
            while self._invitations.log:
                self._log.warning(self._invitations.log.popleft())
        return reply

    def answer(self, call: bytes, who: bytes) -> bytes:
        """A REPLY to a member or to a recovery identity; the news that it brings are taken in."""
        return self.group.answer(who, call)


class Seats:
    """All memberships of this machine. The first is whom those get who name no group."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seats: list[Seat] = []
        self._of_context: WeakKeyDictionary[ssl.SSLContext, Seat] = WeakKeyDictionary()

    def __iter__(self) -> Iterator[Seat]:
        with self._lock:
            return iter(tuple(self._seats))

    def add(self, seat: Seat) -> None:
        with self._lock:
            self._seats.append(seat)

    def remove(self, seat: Seat) -> None:
        with self._lock:
            self._seats.remove(seat)

    def pick(self, name: str | None) -> Seat:
        """The group with this name, or the only one; `NotAMember`, `UsageError`."""
        found = [seat for seat in self if name is None or seat.group.name == name]
        if len(found) > 1:
            names = ", ".join(seat.group.name for seat in found)
            raise UsageError(f"this machine is in several groups: {names}", hint="add --group NAME")
        if not found:
            which = f"the group {name}" if name is not None else "any group"
            raise NotAMember(
                f"this machine is not in {which}",
                hint="`blockrep group create` makes one, `blockrep group join` joins one",
            )
        return found[0]

    def server_context(self) -> ssl.SSLContext | None:
        """What a connection begins with; the name that the client gives chooses another group.

        A group whose document has been lost knows nobody yet, and is no reason to be silent in
        the others.
        """
        known = [seat for seat in self if seat.group.document is not None]
        contexts = [self._context_of(seat) for seat in known]
        if not contexts:
            return None
        contexts[0].sni_callback = self._choose
        return contexts[0]

    def of_context(self, context: ssl.SSLContext) -> Seat | None:
        """The seat whose certificate was shown."""
        with self._lock:
            return self._of_context.get(context)

    def _choose(self, secure: Any, name: str | None, context: ssl.SSLContext) -> None:
        """The context of now: one from before a removal would still trust who was removed."""
        for number, seat in enumerate(self):
            if seat.group.document is None:
                continue
            if name in (group_by_id(seat.group.group_id), group_by_number(number)):
                secure.context = self._context_of(seat)

    def _context_of(self, seat: Seat) -> ssl.SSLContext:
        context = seat.group.server_context()
        with self._lock:
            self._of_context[context] = seat
        return context
