"""What a member changes about itself: each change is its next section."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from blockrep.errors import NotAMember, UsageError
from blockrep.group.document import Document, make_document, new_founding
from blockrep.group.identity import Identity
from blockrep.group.section import MAX_LISTED, Member, Section, sign_section

Change = Callable[[Member], Member]


def found_group(identity: Identity, group_name: str, member_name: str, now_s: int) -> Document:
    """A new group with its founder as the only member, whose section has the counter 1."""
    _check_name(group_name)
    founding = new_founding(group_name, identity.key)
    section = first_section(identity, founding.group_id, member_name, now_s)
    return make_document(founding, [section])


def first_section(
    identity: Identity,
    group_id: bytes,
    member_name: str,
    now_s: int,
    approved: Iterable[bytes] = (),
) -> Section:
    """The first word of a member, with the counter 1; a joiner approves its inviter in it."""
    _check_name(member_name)
    member = Member(
        group_id=group_id,
        key=identity.key,
        name=member_name,
        certificate=identity.certificate,
        time_s=now_s,
        approved=tuple(approved),
    )
    return sign_section(member, identity)


def amend(
    document: Document, identity: Identity, counter: int, now_s: int, change: Change
) -> Document:
    """The document with this machine's next section.

    `counter` is one that was reserved (`blockrep.group.key_record`): it is used once, for this.
    """
    held = _own(document, identity)
    if counter <= held.counter:
        raise ValueError(f"the counter {counter} does not follow {held.counter}")
    changed = change(held.member)
    member = replace(changed, counter=counter, previous=held.hash, time_s=now_s)
    section = sign_section(member, identity)
    others = (s for s in document.sections if s.key != identity.key)
    return make_document(document.founding, [*others, section])


def approving(*keys: bytes) -> Change:
    """Add these to those whom it has approved, and take them from the removed."""

    def change(member: Member) -> Member:
        approved = tuple(dict.fromkeys((*member.approved, *keys)))
        if len(approved) > MAX_LISTED:
            raise UsageError(f"a member can approve {MAX_LISTED} others at most")
        removed = tuple(k for k in member.removed if k not in keys)
        return replace(member, approved=approved, removed=removed)

    return change


def removing(key: bytes, adopted: Iterable[bytes] = ()) -> Change:
    """Remove a member, and approve those who were members by its word alone."""

    def change(member: Member) -> Member:
        if key == member.key:
            raise UsageError("a machine cannot remove itself: it leaves")
        removed = tuple(dict.fromkeys((*member.removed, key)))[-MAX_LISTED:]
        return replace(approving(*adopted)(member), removed=removed)

    return change


def leaving(member: Member) -> Member:
    """Say goodbye: the last section of this key. Its approvals go on to count."""
    return replace(member, left=True)


def _own(document: Document, identity: Identity) -> Section:
    section = document.section(identity.key)
    if section is None:
        raise NotAMember("this machine has no section in the group document")
    if section.member.left:
        raise NotAMember("this machine has left the group")
    return section


def _check_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name.encode()) > 64:
        raise UsageError("a name has 1 to 64 bytes, and no control characters")
