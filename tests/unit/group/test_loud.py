"""What is said loudly of a group: bounded, whoever makes up members."""

from __future__ import annotations

import io
from typing import Any, cast

from group_builders import chain, identity, section

from blockrep.agent.log import Log
from blockrep.agent.own_group import OwnGroup
from blockrep.group.document import Document
from blockrep.group.merge import Event, EventKind


class Group:
    """As much of a membership as taking in a document needs."""

    _note = OwnGroup._note
    name = "home"

    def __init__(self) -> None:
        self.loud: dict[bytes, str] = {}
        self._document = chain(3)
        self._log = Log(io.StringIO(), prefixed=False)

    def _replace(self, document: Document) -> None:
        self._document = document

    def take(self, document: Document, *events: Event) -> None:
        group: Any = self
        OwnGroup._take(cast(OwnGroup, group), document, events)


def test_made_up_members_for_whom_there_is_no_room_take_none_here() -> None:
    group, full = Group(), chain(64)
    fork = Event(EventKind.FORK, identity(1).key, "two machines sign")
    group.take(full, fork)
    for number in range(1000):
        key = number.to_bytes(32, "little")
        group.take(full, Event(EventKind.NO_ROOM, key, f"no room for {number}"))
    assert list(group.loud.values()) == ["two machines sign", "no room for 999"]
    group.take(chain(5), Event(EventKind.UPDATED, section(2).key, "news"))
    assert list(group.loud.values()) == ["two machines sign"]
