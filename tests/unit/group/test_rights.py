"""Who may do what: every role against every act."""

from __future__ import annotations

from dataclasses import replace

import pytest
from group_builders import after, document, identity, section, signed

from blockrep.group.grants import Act, Grants
from blockrep.group.membership import View, view_group
from blockrep.group.own_section import leaving, removing
from blockrep.group.rights import (
    ALLOWED,
    ANOTHER_WRITER,
    NO_RIGHT,
    NOT_A_MEMBER,
    Question,
    decide,
    may_write,
    readable_owners,
    takeable_owners,
)
from blockrep.group.section import MemberDevice, Recovery


def key(number: int) -> bytes:
    return identity(number).key


DEVICE = MemberDevice(b"d" * 16, b"i" * 16, "sda", 1 << 30, 1 << 32)
OWNER, OTHER, RECOVERY, STRANGER = key(1), key(2), key(9), key(7)
DOCUMENT = document(
    section(0, 1, (1, 2)),
    signed(1, devices=(DEVICE,), recovery=Recovery(RECOVERY, identity(9).certificate, b"")),
    section(2),
)
VIEW = view_group(DOCUMENT, key(0))
NONE = Grants()


def ask(
    who: bytes,
    act: Act,
    *,
    view: View = VIEW,
    grants: Grants = NONE,
    instance: bytes = DEVICE.instance_id,
    device: bytes = DEVICE.device_id,
) -> int:
    decision = decide(view, grants, Question(who, act, OWNER, device, instance))
    assert decision.allowed == (decision.code == ALLOWED)
    assert "asked" in decision.reason
    return decision.code


TABLE = {
    #           owner    another member  recovery  stranger
    Act.WRITE: (ALLOWED, NO_RIGHT, NO_RIGHT, NOT_A_MEMBER),
    Act.ASSIGN: (ALLOWED, NO_RIGHT, NO_RIGHT, NOT_A_MEMBER),
    Act.RESTORE: (ALLOWED, NO_RIGHT, ALLOWED, NOT_A_MEMBER),
    Act.TAKEOVER: (ALLOWED, NO_RIGHT, ALLOWED, NOT_A_MEMBER),
}


@pytest.mark.parametrize("act", Act)
def test_without_any_grant(act: Act) -> None:
    found = tuple(ask(who, act) for who in (OWNER, OTHER, RECOVERY, STRANGER))
    assert found == TABLE[act]


def test_a_clone_or_a_restored_machine_may_not_write() -> None:
    assert ask(OWNER, Act.WRITE, instance=b"j" * 16) == ANOTHER_WRITER
    assert ask(OWNER, Act.RESTORE, instance=b"j" * 16) == ALLOWED
    assert ask(OWNER, Act.WRITE, device=b"e" * 16) == NO_RIGHT


def test_a_removed_owner_is_out_and_its_recovery_key_is_not() -> None:
    stolen = view_group(after(DOCUMENT, 0, removing(OWNER)), key(0))
    assert [ask(OWNER, act, view=stolen) for act in Act] == [NOT_A_MEMBER] * len(Act)
    assert ask(RECOVERY, Act.RESTORE, view=stolen) == ALLOWED
    assert ask(RECOVERY, Act.WRITE, view=stolen) == NO_RIGHT


def test_one_who_left_writes_no_more() -> None:
    left = view_group(after(DOCUMENT, 1, leaving), key(0))
    assert ask(OWNER, Act.WRITE, view=left) == NOT_A_MEMBER
    assert ask(RECOVERY, Act.RESTORE, view=left) == ALLOWED


def test_grants_are_for_one_member_and_one_owner() -> None:
    grants = Grants(restore=frozenset({(OTHER, OWNER)}))
    assert ask(OTHER, Act.RESTORE, grants=grants) == ALLOWED
    assert ask(OTHER, Act.TAKEOVER, grants=grants) == NO_RIGHT
    assert ask(OTHER, Act.WRITE, grants=grants) == NO_RIGHT
    # A grant to somebody who is no member (any more) is worth nothing.
    stranger = Grants(restore=frozenset({(STRANGER, OWNER)}))
    assert ask(STRANGER, Act.RESTORE, grants=stranger) == NOT_A_MEMBER


@pytest.mark.parametrize("act", Act)
def test_every_right_can_be_denied(act: Act) -> None:
    grants = Grants(denied=frozenset({(OWNER, act)}))
    assert ask(OWNER, act, grants=grants) == NO_RIGHT
    others = set(TABLE) - {act}
    assert {ask(OWNER, other, grants=grants) for other in others} == {ALLOWED}


def test_what_a_connection_may_do_is_what_is_decided_for_each_act() -> None:
    """The sets and the single decisions are two views of the same table."""
    stolen = view_group(after(DOCUMENT, 0, removing(OWNER)), key(0))
    grants = [
        NONE,
        Grants(restore=frozenset({(OTHER, OWNER), (STRANGER, OWNER)})),
        Grants(denied=frozenset({(OWNER, Act.RESTORE), (OWNER, Act.WRITE)})),
        Grants(denied=frozenset({(OWNER, Act.TAKEOVER)})),
    ]
    for view in (VIEW, stolen):
        for granted in grants:
            for who in (OWNER, OTHER, RECOVERY, STRANGER):
                read = ask(who, Act.RESTORE, view=view, grants=granted) == ALLOWED
                assert (OWNER in readable_owners(view, granted, who)) is read
                take = ask(who, Act.TAKEOVER, view=view, grants=granted) == ALLOWED
                assert (OWNER in takeable_owners(view, granted, who)) is take
            write = ask(OWNER, Act.WRITE, view=view, grants=granted) == ALLOWED
            assert may_write(view, granted, OWNER) is write


def test_a_hostile_section_gives_its_recovery_no_more_than_its_own() -> None:
    """Naming another member's key as one's recovery identity opens one's own replicas only."""
    hostile = signed(2, recovery=Recovery(OWNER, identity(1).certificate, b""))
    view = view_group(document(*DOCUMENT.sections[:0], section(0, 1, (1, 2)), hostile), key(0))
    decision = decide(view, NONE, Question(OWNER, Act.RESTORE, key(0), DEVICE.device_id))
    assert decision.code == NO_RIGHT


def test_a_device_that_moved_to_a_new_instance() -> None:
    moved = after(
        DOCUMENT, 1, lambda m: replace(m, devices=(replace(DEVICE, instance_id=b"n" * 16),))
    )
    view = view_group(moved, key(0))
    assert ask(OWNER, Act.WRITE, view=view) == ANOTHER_WRITER
    assert ask(OWNER, Act.WRITE, view=view, instance=b"n" * 16) == ALLOWED
