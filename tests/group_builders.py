"""Members and documents for tests: everything from a number, so that the same keys come again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from blockrep.group.document import Document, Founding, make_document
from blockrep.group.identity import Identity, identity_from_seed
from blockrep.group.own_section import Change, amend
from blockrep.group.section import Member, Section, sign_section

NOW = 1_700_000_000


@cache
def identity(number: int) -> Identity:
    return identity_from_seed(bytes([number, 200]) + bytes(30))


FOUNDING = Founding("home", identity(0).key, bytes(16))
GROUP = FOUNDING.group_id


@cache
def section(number: int, counter: int = 1, approved: tuple[int, ...] = ()) -> Section:
    """The section of member `number`, who has approved these."""
    return sign_section(member(number, counter, approved), identity(number))


def member(number: int, counter: int = 1, approved: tuple[int, ...] = ()) -> Member:
    return Member(
        group_id=GROUP,
        key=identity(number).key,
        name=f"m{number}",
        certificate=identity(number).certificate,
        counter=counter,
        time_s=NOW,
        approved=tuple(identity(n).key for n in approved),
    )


def signed(number: int, **changes: object) -> Section:
    """A section of member `number` with these fields."""
    return sign_section(replace(member(number), **changes), identity(number))  # type: ignore[arg-type]


def document(*sections: Section) -> Document:
    return make_document(FOUNDING, sections)


def chain(length: int) -> Document:
    """0 approved 1, who approved 2, and so on."""
    links = [section(n, 1, (n + 1,)) for n in range(length - 1)]
    return document(*links, section(length - 1))


def after(before: Document, number: int, change: Change) -> Document:
    """`before` with the next section of this member."""
    held = before.section(identity(number).key)
    assert held is not None
    return amend(before, identity(number), held.counter + 1, NOW, change)
