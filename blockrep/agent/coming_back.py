"""A member that has lost its state folder asks for the group document again.

Its keys are on its disks, but not where the others are: a code of one of them says that, and whose
key has to answer there. It is used as a place to ask, not as an invitation.
"""

from __future__ import annotations

from blockrep.agent.dialling import CONNECT_S, connect, group_by_id, introduce
from blockrep.agent.exchange import call
from blockrep.agent.own_group import OwnGroup
from blockrep.group.calls import build_document_call, read_document_reply
from blockrep.group.document import Document
from blockrep.group.invite import Invitation
from blockrep.group.tls import client_context, expect_peer
from blockrep.transfer.channel import Channel
from blockrep.transfer.greeting import greet
from blockrep.transfer.wire import Purpose

WHO_INVITES = "who made the code"


def come_back(group: OwnGroup, invitation: Invitation) -> None:
    """Have the document again; `PeerRefused`, `NotAMember` when the other does not know us."""
    group.bring_back(_ask(group, invitation))


def _ask(group: OwnGroup, invitation: Invitation) -> Document:
    context = client_context(group.identity)
    sock = connect(invitation.address, WHO_INVITES, context, group_by_id(group.group_id), CONNECT_S)
    with Channel(sock, serving=False, name=WHO_INVITES) as channel:
        expect_peer(sock, invitation.inviter_key)
        greet(channel, introduce(group), Purpose.GROUP, invitation.inviter_key)
        reply = call(channel, build_document_call())
        channel.end()
    return read_document_reply(reply, group.group_id)
