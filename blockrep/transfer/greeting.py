"""HELLO in both directions: who is there, with which version, and what for."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from blockrep.errors import NotAMember, ProtocolError, VersionUnknown
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.messages import Hello
from blockrep.transfer.wire import Purpose

LOWEST_VERSION = 1
HIGHEST_VERSION = 1
GREETING_S = 10.0
NONCE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Self:
    """How we introduce ourselves: ids of 16 bytes, our public key of 32."""

    group_id: bytes
    instance_id: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Greeting:
    """What both sides have said; `nonce` is the server's, `own_nonce` the one that we said."""

    version: int
    purpose: Purpose
    peer: Hello
    nonce: bytes
    own_nonce: bytes


def greet(channel: Channel, me: Self, purpose: Purpose, peer_key: bytes) -> Greeting:
    """The client's side. `peer_key` is the key that TLS has proven.

    `VersionUnknown`, `NotAMember` when the server says another key or group than it should.
    """
    own_nonce = secrets.token_bytes(NONCE_BYTES)
    channel.post(Kind.HELLO, _hello(me, purpose, own_nonce))
    peer = Hello.parse(channel.receive(GREETING_S).body)
    version = _common_version(peer)
    _check_key(peer, peer_key)
    if peer.group_id != me.group_id:
        raise NotAMember(f"{channel.name} is in another group")
    channel.talk.greeted(purpose)
    return Greeting(version, purpose, peer, peer.nonce, own_nonce)


def answer_greeting(channel: Channel, me: Self, peer_key: bytes | None) -> Greeting:
    """The server's side. `peer_key` is None for a client without a certificate, who may only join.

    `VersionUnknown`, `ProtocolError`, `NotAMember`: to be told to the client with `Channel.end`.
    """
    peer = Hello.parse(channel.receive(GREETING_S).body)
    version = _common_version(peer)
    purpose = _purpose_of(peer)
    if peer_key is not None:
        _check_key(peer, peer_key)
    if purpose is not Purpose.JOIN:
        if peer_key is None:
            raise NotAMember("without a certificate only a join is possible")
        if peer.group_id != me.group_id:
            raise NotAMember("this machine is not in that group")
    nonce = secrets.token_bytes(NONCE_BYTES)
    channel.post(Kind.HELLO, _hello(me, purpose, nonce))
    channel.talk.greeted(purpose)
    return Greeting(version, purpose, peer, nonce, nonce)


def hello_of(me: Self, purpose: Purpose) -> bytes:
    """A HELLO for who wants to hear the other side's, and goes."""
    return _hello(me, purpose, secrets.token_bytes(NONCE_BYTES))


def _hello(me: Self, purpose: Purpose, nonce: bytes) -> bytes:
    return Hello(
        lowest_version=LOWEST_VERSION,
        highest_version=HIGHEST_VERSION,
        purpose=purpose.value,
        group_id=me.group_id,
        instance_id=me.instance_id,
        nonce=nonce,
        key=me.key,
    ).build()


def _common_version(peer: Hello) -> int:
    version = min(HIGHEST_VERSION, peer.highest_version)
    if version < max(LOWEST_VERSION, peer.lowest_version):
        raise VersionUnknown(
            f"here the versions {LOWEST_VERSION} to {HIGHEST_VERSION} of the protocol are known, "
            f"there {peer.lowest_version} to {peer.highest_version}"
        )
    return version


def _purpose_of(peer: Hello) -> Purpose:
    try:
        return Purpose(peer.purpose)
    except ValueError:
        raise ProtocolError(f"a connection for the unknown purpose {peer.purpose}") from None


def _check_key(peer: Hello, proven: bytes) -> None:
    if peer.key != proven:
        raise NotAMember("the key in HELLO is not that of the certificate")
