"""The gate: who has connected, whether it may come in, and what it came for.

The trust boundary of the network. Nothing that a peer says is believed before TLS has proven its
key, and its rights are those that the group document and the grants of this machine give that key.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable

from blockrep.agent.dialling import introduce
from blockrep.agent.limits import ConnectionLimits
from blockrep.agent.listener import Connection
from blockrep.agent.log import Log
from blockrep.agent.own_group import OwnGroup
from blockrep.agent.seat import Seat, Seats
from blockrep.errors import BlockrepError, NotAMember, PeerBusy, PeerRefused, PeerUnreachable
from blockrep.group.handshake import Greeting as JoinGreeting
from blockrep.group.membership import View
from blockrep.group.rights import may_write, readable_owners, takeable_owners
from blockrep.group.tls import peer_key
from blockrep.segment.clock import Clock
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.greeting import Greeting, answer_greeting
from blockrep.transfer.hold import HolderSession
from blockrep.transfer.stores import Holder, Peer
from blockrep.transfer.wire import Phase, Purpose

HANDSHAKE_S = 10.0
STRANGER_S = 30.0


class Gate:
    """Serves each connection that the listener accepts."""

    def __init__(self, seats: Seats, limits: ConnectionLimits, clock: Clock, log: Log) -> None:
        self._seats = seats
        self._clock = clock
        self._limits = limits
        self._log = log

    def serve(self, connection: Connection) -> None:
        """From the handshake to the end. Refusals are told to the peer and logged."""
        context = self._seats.server_context()
        if context is None:
            return  # a machine without a group has nothing to say
        with _shake_hands(connection.socket, context) as secure:
            connection.settle()
            seat = self._seats.of_context(secure.context)
            if seat is not None:
                self._speak(connection, secure, seat)

    def _speak(self, connection: Connection, secure: ssl.SSLSocket, seat: Seat) -> None:
        name = connection.address
        channel = Channel(secure, serving=True, name=name)
        try:
            key = peer_key(secure)
            connection.key, connection.group_id = key, seat.group.group_id
            name = channel.name = _name(seat.group, key, name)
            if not self._limits.name(key, connection.address):
                raise PeerBusy("there are as many connections as there may be")
            try:
                self._enter(channel, seat, key)
            finally:
                self._limits.unname(key, connection.address)
        except PeerUnreachable as error:
            channel.close()
            if channel.talk.phase is not Phase.ENDED:  # else it has said good-bye
                self._log.info(error.message)
        except BlockrepError as error:
            channel.end(error)
            self._log.warning(f"{name}: {error.message}")

    def _enter(self, channel: Channel, seat: Seat, key: bytes | None) -> None:
        view = seat.group.view
        if key is not None and key not in view.members and key not in view.recovering:
            raise NotAMember(f"{view.name(key)} is not a member of the group")
        greeting = answer_greeting(channel, introduce(seat.group), key)
        if greeting.purpose is Purpose.JOIN:
            _answer_joiner(channel, seat, greeting)
        elif key is None:
            raise PeerRefused("without a certificate only a join is possible")
        elif greeting.purpose is Purpose.GROUP:
            _answer_calls(channel, lambda call: seat.answer(call, key), lambda: None)
        else:
            self._hold(channel, seat, greeting, key)

    def _hold(self, channel: Channel, seat: Seat, greeting: Greeting, key: bytes) -> None:
        holder = Holder(
            seat.group.identity.key,
            seat.group.identity.sign,
            lambda other: other in seat.group.view.members,
            self._clock,
        )
        peer = _peer(seat.group, key)
        HolderSession(channel, greeting, peer, seat.holdings, seat.writers, holder).run()


def _peer(group: OwnGroup, key: bytes) -> Peer:
    """What this key may do here, by the document and the grants of now."""
    view, grants = group.view, group.grants
    return Peer(
        key=key,
        name=_name(group, key, ""),
        may_write=may_write(view, grants, key),
        may_read=readable_owners(view, grants, key),
        may_take_over=takeable_owners(view, grants, key),
    )


def _name(group: OwnGroup, key: bytes | None, otherwise: str) -> str:
    if key is None:
        return otherwise
    view = group.view
    # A section may name any key as its recovery key: a member is called by its own word.
    if key not in view.members:
        for owner in sorted(view.recovering.get(key, ())):
            return f"the recovery key of {view.name(owner)}"
    return _section_name(view, key)


def _section_name(view: View, key: bytes) -> str:
    section = view.document.section(key)
    return section.member.name if section else view.name(key)


def _answer_joiner(channel: Channel, seat: Seat, greeting: Greeting) -> None:
    """Who has shown no good code in time gives its place to the next one."""
    said = JoinGreeting(greeting.peer.key, greeting.peer.nonce, greeting.nonce)
    until = time.monotonic() + STRANGER_S

    def wait_s() -> float | None:
        left_s = until - time.monotonic()
        if seat.has_shown_code(said.client_key):
            return None
        if left_s <= 0:
            raise PeerBusy(f"no code that is known here was shown within {STRANGER_S:.0f} s")
        return left_s

    _answer_calls(channel, lambda call: seat.answer_joiner(call, said), wait_s)


def _answer_calls(
    channel: Channel, answer: Callable[[bytes], bytes], wait_s: Callable[[], float | None]
) -> None:
    """Until the other side says BYE, or nothing for too long: `wait_s`, or its silence."""
    with channel:
        while True:
            frame = channel.receive(wait_s())
            channel.post(Kind.REPLY, answer(bytes(frame.body)))
            channel.give_back(frame)


def _shake_hands(raw: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The TLS handshake as a whole within its limit, however slowly its bytes come."""
    secure = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
    secure.setblocking(False)
    until = time.monotonic() + HANDSHAKE_S
    waiting = select.poll()
    try:
        while True:
            try:
                secure.do_handshake()
                return secure
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            waiting.register(secure, events)
            left_s = until - time.monotonic()
            if left_s <= 0 or not waiting.poll(left_s * 1000):
                raise TimeoutError(f"no handshake within {HANDSHAKE_S:.0f} s")
    except BaseException:
        secure.close()
        raise
