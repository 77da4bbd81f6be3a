"""What the members tell each other: documents go round after each change, and now and then.

Whoever has something new to say tells everybody itself; what it could not tell, the others hear
when they ask.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from blockrep.agent.dialling import dial_member
from blockrep.agent.log import Log
from blockrep.agent.own_group import OwnGroup
from blockrep.agent.seat import Seats
from blockrep.errors import BlockrepError
from blockrep.group.calls import build_exchange
from blockrep.group.section import Member
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.wire import Purpose

EVERY_S = 600.0
AGAIN_S = 60.0
SETTLE_S = 0.2
ANSWER_S = 30.0
AT_ONCE = 4


def exchange_with(group: OwnGroup, member: Member) -> None:
    """Tell a member what we know, and take in what it knows. Errors as of a connection."""
    document = group.document
    if document is None:
        return
    with dial_member(group, member, Purpose.GROUP).channel as channel:
        found = group.learn(call(channel, build_exchange(document)))
        if found.they_lack:
            group.learn(call(channel, build_exchange(found.merged.document, found.theirs)))
        channel.end()


def call(channel: Channel, body: bytes) -> bytes:
    """A CALL and the body of its REPLY."""
    channel.post(Kind.CALL, body)
    frame = channel.receive(ANSWER_S)
    return bytes(frame.body)


class Exchanger:
    """A thread that keeps the documents of all groups in step."""

    def __init__(self, seats: Seats, log: Log) -> None:
        self._seats = seats
        self._log = log
        self._wake = threading.Event()
        self._over = threading.Event()
        self._silent: set[bytes] = set()
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something new to tell."""
        self._wake.set()

    def close(self, timeout_s: float) -> None:
        self._over.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def round(self) -> bool:
        """Exchange with every member of every group; whether all have answered."""
        pairs = [(seat.group, member) for seat in self._seats for member in _others(seat.group)]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="exchange") as pool:
            return all(list(pool.map(lambda pair: self._try(*pair), pairs)))

    def _run(self) -> None:
        while not self._over.is_set():
            self._wake.clear()
            everybody = self.round()
            self._wake.wait(EVERY_S if everybody else AGAIN_S)
            # Changes come in rows (a join is three): they are told together.
            self._over.wait(SETTLE_S)

    def _try(self, group: OwnGroup, member: Member) -> bool:
        if self._over.is_set():
            return False
        try:
            exchange_with(group, member)
        except (BlockrepError, OSError) as error:
            # Said once, not at every try. An `OSError` is of the state folder: it may be full.
            if member.key not in self._silent:
                self._log.info(f"group {group.name}: {error}")
            self._silent.add(member.key)
            return False
        if member.key in self._silent:
            self._silent.discard(member.key)
            self._log.info(f"group {group.name}: {member.name} answers again")
        return True


def _others(group: OwnGroup) -> list[Member]:
    return [] if group.document is None else group.others()
