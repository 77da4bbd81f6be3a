"""Becoming a member: founding a group, or joining one by a code (docs/group-format.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from blockrep.agent.dialling import CONNECT_S, connect, group_by_id
from blockrep.agent.exchange import call
from blockrep.agent.held_device import HeldDevice
from blockrep.agent.jobs import Job
from blockrep.errors import BlockrepError, UsageError
from blockrep.group.document import Document
from blockrep.group.handshake import Greeting as JoinGreeting
from blockrep.group.identity import Identity, area_keys, new_device_keys, new_identity
from blockrep.group.invite import Invitation, parse_code
from blockrep.group.join import build_join, build_wait, read_join
from blockrep.group.key_record import put_keys, take_keys
from blockrep.group.own_section import first_section, found_group
from blockrep.group.tls import client_context, expect_peer
from blockrep.transfer.channel import Channel
from blockrep.transfer.greeting import Greeting, Self, greet
from blockrep.transfer.wire import Purpose

ASK_EVERY_S = 1.0
WAIT_AT_MOST_S = 15 * 60.0
INVITER = "the inviter"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What a machine brings into a group."""

    name: str
    devices: Sequence[HeldDevice]
    encrypt: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """A new membership, not yet on the disks."""

    identity: Identity
    document: Document


def found(newcomer: Newcomer, group_name: str) -> Joined:
    """A new group with this machine as its only member. Nothing is written."""
    _check_free(newcomer.devices)
    identity = new_identity()
    return Joined(identity, found_group(identity, group_name, newcomer.name, int(time.time())))


def join(newcomer: Newcomer, code: str, job: Job) -> Joined:
    """Show the code to who made it, and wait for its approval. Nothing is written.

    The job's phase tells the digits that both screens must show.
    """
    _check_free(newcomer.devices)
    invitation = parse_code(code)
    identity = new_identity()
    job.phase(f"asking at {invitation.address}")
    with _line(invitation) as channel:
        me = Self(invitation.group_id, newcomer.devices[0].area.instance_id, identity.key)
        greeting = greet(channel, me, Purpose.JOIN, invitation.inviter_key)
        document = _ask(channel, greeting, invitation, identity, newcomer.name, job)
        channel.end()
    return Joined(identity, document)


def put_on_disks(newcomer: Newcomer, joined: Joined) -> None:
    """Write the membership into the area records: all of them, or none."""
    founding = joined.document.founding
    section = joined.document.section(joined.identity.key)
    done: list[HeldDevice] = []
    try:
        for device in newcomer.devices:
            keys = area_keys(
                joined.identity,
                new_device_keys(),
                group_id=founding.group_id,
                group_name=founding.name,
                member_name=newcomer.name,
                joined_s=int(time.time()),
                counter=section.counter if section else 1,
                encrypted=newcomer.encrypt,
            )
            done.append(device)
            device.change_record(partial(put_keys, keys=keys))
    except BlockrepError:
        for device in done:
            take_off_disk(device)
        raise


def take_off_disk(device: HeldDevice) -> None:
    """Take a disk out of its group; it keeps what it holds for others."""
    device.change_record(take_keys)


def _check_free(devices: Sequence[HeldDevice]) -> None:
    if not devices:
        raise UsageError("every disk of this agent is in a group already")
    for device in devices:
        if device.keys is not None:
            name = device.keys.group_name
            raise UsageError(f"{device.path} is in the group {name} already")


def _line(invitation: Invitation) -> Channel:
    context = client_context(None)
    sock = connect(
        invitation.address, INVITER, context, group_by_id(invitation.group_id), CONNECT_S
    )
    try:
        # Before anything is sent: the code names whom it is for.
        expect_peer(sock, invitation.inviter_key)
    except BaseException:
        sock.close()
        raise
    return Channel(sock, serving=False, name=INVITER)


def _ask(
    channel: Channel,
    greeting: Greeting,
    invitation: Invitation,
    identity: Identity,
    name: str,
    job: Job,
) -> Document:
    now_s = int(time.time())
    approved = (invitation.inviter_key,)
    section = first_section(identity, invitation.group_id, name, now_s, approved)
    said = JoinGreeting(identity.key, greeting.own_nonce, greeting.nonce)
    request = build_join(invitation, identity, section, said)
    document = read_join(call(channel, request.call), invitation, identity.key)
    job.phase(f"approve it there, if that screen shows {request.code} too")
    waiting = build_wait(invitation, identity, said)
    until = time.monotonic() + WAIT_AT_MOST_S
    while document is None:
        if time.monotonic() > until:
            raise UsageError("nobody has approved the join in time", hint="ask for a new code")
        job.check()
        time.sleep(ASK_EVERY_S)
        document = read_join(call(channel, waiting), invitation, identity.key)
    return document
