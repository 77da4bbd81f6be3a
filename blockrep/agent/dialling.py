"""Connections to other members: the first of their addresses that answers with their key."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from blockrep.agent.config import parse_address
from blockrep.agent.own_group import OwnGroup
from blockrep.errors import BlockrepError, PeerUnreachable
from blockrep.group.section import Member
from blockrep.group.tls import expect_peer
from blockrep.transfer.channel import Channel
from blockrep.transfer.greeting import Greeting, Self, greet
from blockrep.transfer.wire import Purpose

CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection, and what was said at its beginning."""

    channel: Channel
    greeting: Greeting


def dial(group: OwnGroup, member: Member, *, within_s: float = CONNECT_S) -> Channel:
    """A connection to a member, on which nothing has been said yet.

    `PeerUnreachable` when no address answers, `PeerNotTrusted` when one does with another key.
    """
    context = group.client_context(member)
    failure: BlockrepError = PeerUnreachable(f"{member.name} has told no address")
    for address in member.addresses:
        try:
            sock = connect(address, member.name, context, group_by_id(group.group_id), within_s)
        except BlockrepError as error:
            failure = error
            continue
        try:
            expect_peer(sock, member.key)
        except BlockrepError as error:
            sock.close()
            failure = error
            continue
        return Channel(sock, serving=False, name=member.name)
    raise failure


def dial_member(
    group: OwnGroup, member: Member, purpose: Purpose, *, within_s: float = CONNECT_S
) -> Line:
    """A greeted connection to a member; `PeerRefused` when it does not know us."""
    channel = dial(group, member, within_s=within_s)
    try:
        return Line(channel, greet(channel, introduce(group), purpose, member.key))
    except BaseException:
        channel.close()
        raise


def group_by_id(group_id: bytes) -> str:
    """The server name that asks for a group: a machine may be in several."""
    return group_id.hex()


def group_by_number(number: int) -> str:
    """The server name that asks for one group after the other, by who knows no id; from 0 on."""
    return f"group-{number}"


def connect(
    address: str, name: str, context: ssl.SSLContext, server_name: str, within_s: float
) -> ssl.SSLSocket:
    """A TLS connection to the member of a group that listens there."""
    place = parse_address(address)
    try:
        raw = socket.create_connection((place.host, place.port), within_s)
        try:
            return context.wrap_socket(raw, server_hostname=server_name)
        except BaseException:
            raw.close()
            raise
    except ssl.SSLCertVerificationError as error:
        raise PeerUnreachable(f"{name} at {address} has another key than in the group") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise PeerUnreachable(f"{name} does not answer at {address}: {reason}") from error


def introduce(group: OwnGroup) -> Self:
    """How this machine names itself in a group."""
    return Self(group.group_id, group.devices[0].area.instance_id, group.identity.key)
