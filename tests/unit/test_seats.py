"""One machine in several groups: what it begins a connection with."""

from __future__ import annotations

import ssl
from typing import Any, cast

from group_builders import GROUP, chain, identity

from blockrep.agent.seat import Seat, Seats
from blockrep.errors import NotAMember
from blockrep.group.document import Document
from blockrep.group.tls import server_context


class Group:
    """As much of a membership as a seat needs."""

    group_id = GROUP

    def __init__(self, document: Document | None) -> None:
        self.document = document

    def server_context(self) -> ssl.SSLContext:
        if self.document is None:
            raise NotAMember("the document has not come back yet")
        return server_context(identity(0), [])


def seats_of(*groups: Group) -> tuple[Seats, list[Seat]]:
    seats, made = Seats(), []
    for group in groups:
        seat: Any = type("Seat", (), {"group": group})()
        made.append(cast(Seat, seat))
        seats.add(seat)
    return seats, made


def test_a_lost_document_does_not_silence_the_other_group() -> None:
    for at in (0, 1):
        groups = [Group(chain(1)), Group(chain(1))]
        groups[at].document = None
        seats, made = seats_of(*groups)
        context = seats.server_context()
        assert context is not None
        assert seats.of_context(context) is made[1 - at]
        chosen: Any = type("Socket", (), {"context": context})()
        seats._choose(chosen, GROUP.hex(), context)
        assert seats.of_context(chosen.context) is made[1 - at]


def test_a_machine_that_knows_nobody_says_nothing() -> None:
    assert seats_of()[0].server_context() is None
    assert seats_of(Group(None))[0].server_context() is None
