"""TAKEOVER at the holder: who may, at the moment when it is said."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from group_builders import document, identity, section, signed

from blockrep.agent.gate import _check_takeover
from blockrep.agent.guarded import GuardedChannel
from blockrep.errors import PeerRefused
from blockrep.group.grants import Act, Grants
from blockrep.group.membership import view_group
from blockrep.group.section import Recovery
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Frame, Kind
from blockrep.transfer.greeting import Self, hello_of
from blockrep.transfer.takeover import make_takeover
from blockrep.transfer.wire import Purpose

HOLDER, OWNER, OTHER, RECOVERY = (identity(n).key for n in (0, 1, 2, 9))
DOCUMENT = document(
    section(0, 1, (1, 2)),
    signed(1, recovery=Recovery(RECOVERY, identity(9).certificate, b"")),
    section(2),
)
DEVICE, WRITER = b"d" * 16, b"w" * 16
DENIED = Grants(denied=frozenset({(OWNER, Act.TAKEOVER)}))


def group(grants: Grants) -> Any:
    return SimpleNamespace(view=view_group(DOCUMENT, HOLDER), grants=grants)


def frame(kind: Kind = Kind.TAKEOVER) -> Frame:
    said = make_takeover(OWNER, DEVICE, WRITER, 0, bytes(32), identity(1).sign)
    return Frame(kind, memoryview(said.build()))


def test_by_the_owner_and_by_its_recovery_key() -> None:
    for key in (OWNER, RECOVERY):
        _check_takeover(group(Grants()), key, frame())


@pytest.mark.parametrize("key", [OWNER, RECOVERY])
def test_not_where_it_is_denied(key: bytes) -> None:
    with pytest.raises(PeerRefused, match="denied at this machine"):
        _check_takeover(group(DENIED), key, frame())
    _check_takeover(group(DENIED), key, frame(Kind.SELECT))
    others = frozenset((OWNER, act) for act in Act if act is not Act.TAKEOVER)
    _check_takeover(group(Grants(denied=others)), key, frame())


def test_not_by_another_member_whatever_it_may_read() -> None:
    grants = Grants(restore=frozenset({(OTHER, OWNER)}))
    with pytest.raises(PeerRefused, match="owner's key or recovery key"):
        _check_takeover(group(grants), OTHER, frame())


def test_a_guarded_channel_lets_nothing_past_its_guard() -> None:
    def refuse(kind: Kind) -> Callable[[Frame], None]:
        def guard(frame: Frame) -> None:
            if frame.kind is kind:
                raise PeerRefused("not here")

        return guard

    here, there = socket.socketpair()
    me = Self(bytes(16), bytes(16), OWNER)
    with GuardedChannel(here, serving=True) as guarded, Channel(there, serving=False) as peer:
        guarded.guard = refuse(Kind.HELLO)
        peer.post(Kind.HELLO, hello_of(me, Purpose.READ))
        peer.flush(5)
        with pytest.raises(PeerRefused, match="not here"):
            guarded.receive(5)
