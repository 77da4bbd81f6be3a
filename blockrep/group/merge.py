"""Documents of one group brought together: the higher counter stays, and every oddity is told.

The rules are the table "Merging" of docs/group-format.md. Without forks and below the cap, merging
is commutative and idempotent, associative where approvals only grow, and counters never go down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from blockrep.errors import RecordDamaged
from blockrep.group.document import Document, make_document
from blockrep.group.section import MAX_MEMBERS, Section


class EventKind(StrEnum):
    """What became of an offered section."""

    NEW = "new"
    UPDATED = "updated"
    LEFT = "left"
    OLD = "old"
    FORK = "fork"
    OWN_KEY_ELSEWHERE = "own key elsewhere"
    NO_ROOM = "no room"


# What somebody has to be told at once.
LOUD = frozenset({EventKind.FORK, EventKind.OWN_KEY_ELSEWHERE, EventKind.NO_ROOM})


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a merge met; `text` is a sentence about it."""

    kind: EventKind
    key: bytes
    text: str


@dataclass(frozen=True, slots=True)
class OwnKey:
    """Our key in the group, and the highest counter that we may have signed with it."""

    key: bytes
    counter: int


@dataclass(frozen=True, slots=True)
class Known:
    """Which section of a member somebody has."""

    counter: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Merged:
    """The document after a merge, and what happened."""

    document: Document
    events: tuple[Event, ...]


def merge(held: Document, offered: Document, own: OwnKey | None = None) -> Merged:
    """`held` with everything that `offered` has newer; `RecordDamaged` for another group's."""
    if held.founding != offered.founding:
        raise RecordDamaged("the document offered is of another group")
    sections = held.by_key()
    events = []
    for section in offered.sections:
        kind = _judge(sections.get(section.key), section, own)
        if kind is None:
            continue
        events.append(_event(kind, sections.get(section.key), section))
        if kind is not EventKind.OLD and not _signed_twice(sections.get(section.key), section):
            sections[section.key] = section
    kept = _kept(held, sections, own)
    events += [_no_room(sections[key]) for key in _crowded_out(sections, kept)]
    events = [e for e in events if e.key in kept or e.kind is EventKind.NO_ROOM]
    document = make_document(held.founding, (sections[key] for key in kept))
    return Merged(document, tuple(events))


def newer_than(document: Document, known: Mapping[bytes, Known]) -> Document:
    """The sections that somebody who has `known` lacks, or has otherwise: so both see a fork."""
    nothing = Known(0, b"")
    sections = (s for s in document.sections if _is_news(s, known.get(s.key, nothing)))
    return make_document(document.founding, sections)


def summary_of(document: Document) -> dict[bytes, Known]:
    """What `newer_than` asks for."""
    return {s.key: Known(s.counter, s.hash) for s in document.sections}


def _is_news(section: Section, known: Known) -> bool:
    if section.counter != known.counter:
        return section.counter > known.counter
    return section.hash != known.hash


def _judge(held: Section | None, offered: Section, own: OwnKey | None) -> EventKind | None:
    if held is not None and held.body == offered.body:
        return None
    if held is not None and _signed_twice(held, offered):
        return EventKind.FORK
    if held is not None and _rank(offered) < _rank(held):
        return EventKind.OLD
    if own is not None and offered.key == own.key and offered.counter > own.counter:
        return EventKind.OWN_KEY_ELSEWHERE
    if held is None:
        return EventKind.NEW
    if offered.counter == held.counter + 1 and offered.member.previous != held.hash:
        return EventKind.FORK
    return EventKind.LEFT if offered.member.left else EventKind.UPDATED


def _rank(section: Section) -> tuple[bool, int]:
    """A section that says goodbye is the last one, whatever comes."""
    return section.member.left, section.counter


def _signed_twice(held: Section | None, offered: Section) -> bool:
    return held is not None and _rank(held) == _rank(offered)


def _event(kind: EventKind, held: Section | None, offered: Section) -> Event:
    name = f"{offered.member.name} ({offered.key.hex()[:16]}…)"
    before = 0 if held is None else held.counter
    text = {
        EventKind.NEW: f"{name} is new",
        EventKind.UPDATED: f"{name} has news",
        EventKind.LEFT: f"{name} has left the group",
        EventKind.OLD: f"an old section of {name}: counter {offered.counter}, known is {before}"
        + (", its last" if held is not None and held.member.left else ""),
        EventKind.FORK: f"two machines sign with the key of {name}, at counter {offered.counter}: "
        "one of them is a copy of the other, or was brought back from an old state",
        EventKind.OWN_KEY_ELSEWHERE: f"another machine signs with this machine's key ({name}, "
        f"counter {offered.counter}): it is a copy of this one, or has taken over from it",
    }[kind]
    return Event(kind, offered.key, text)


def _no_room(section: Section) -> Event:
    text = f"there is no room for {section.member.name}: a group has at most {MAX_MEMBERS} members"
    return Event(EventKind.NO_ROOM, section.key, text)


def _kept(held: Document, sections: dict[bytes, Section], own: OwnKey | None) -> list[bytes]:
    """Reachable from the founder over approvals, those that were held before first."""
    reached = _reached(held, sections, own)
    before = {s.key for s in held.sections}
    ordered = [k for k in reached if k in before] + [k for k in reached if k not in before]
    return ordered[:MAX_MEMBERS]


def _crowded_out(sections: dict[bytes, Section], kept: list[bytes]) -> list[bytes]:
    """Those that a kept section approved and that are not kept themselves."""
    if len(kept) < MAX_MEMBERS:
        return []
    approved = {k for key in kept for k in sections[key].member.approved if k in sections}
    return sorted(approved - set(kept))


def _reached(held: Document, sections: dict[bytes, Section], own: OwnKey | None) -> list[bytes]:
    """Nearest to the founder first; those at the same distance by key."""
    roots = [held.founding.founder]
    if own is not None:
        roots.append(own.key)
    level = [key for key in dict.fromkeys(roots) if key in sections]
    reached = dict.fromkeys(level)
    while level:
        following = {k for key in level for k in sections[key].member.approved if k in sections}
        level = sorted(following - reached.keys())
        reached.update(dict.fromkeys(level))
    return list(reached)
