"""Approvals, removing, leaving: who is a member in whose eyes."""

from __future__ import annotations

from dataclasses import replace

from group_builders import after, chain, document, identity, section, signed

from blockrep.group.membership import View, left_hanging, trusted_certificates, view_group
from blockrep.group.own_section import approving, leaving, removing
from blockrep.group.section import Recovery


def key(number: int) -> bytes:
    return identity(number).key


def numbers(view: View) -> set[int]:
    return {n for n in range(20) if key(n) in view.members}


def test_approvals_lead_from_the_founder() -> None:
    view = view_group(chain(4), key(0))
    assert numbers(view) == {0, 1, 2, 3}
    cut = document(section(0, 1, (1,)), section(1), section(2, 1, (3,)), section(3))
    assert numbers(view_group(cut, key(0))) == {0, 1}
    # From itself as well: whoever sits behind the gap still sees those it approved.
    assert numbers(view_group(cut, key(2))) == {0, 1, 2, 3}


def test_who_removes_a_member_stops_seeing_it() -> None:
    removed = after(chain(3), 0, removing(key(1)))
    assert numbers(view_group(removed, key(0))) == {0}
    # Member 0 had approved it, so its approval no longer stands for anybody.
    assert numbers(view_group(removed, key(2))) == {0, 2}


def test_those_who_would_hang_in_the_air_are_adopted() -> None:
    before = chain(5)
    view = view_group(before, key(0))
    hanging = left_hanging(view, key(1))
    assert set(hanging) == {key(2), key(3), key(4)}
    removed = after(before, 0, removing(key(1), hanging))
    assert numbers(view_group(removed, key(0))) == {0, 2, 3, 4}
    assert numbers(view_group(removed, key(4))) == {0, 2, 3, 4}


def test_removing_by_others_is_a_proposal() -> None:
    before = document(section(0, 1, (1, 2)), section(1), section(2))
    proposed = after(before, 2, removing(key(1)))
    view = view_group(proposed, key(0))
    assert numbers(view) == {0, 1, 2}
    assert [(p.by, p.key) for p in view.proposals] == [(key(2), key(1))]
    granted = view_group(proposed, key(0), [key(2)])
    assert numbers(granted) == {0, 2}
    assert granted.proposals == ()
    # The one who is meant does not stop seeing itself.
    assert 1 in numbers(view_group(proposed, key(1), [key(2)]))


def test_a_removed_member_can_grant_nothing() -> None:
    before = document(section(0, 1, (1, 2)), section(1), section(2))
    hostile = after(after(before, 0, removing(key(1))), 1, removing(key(2)))
    hostile = after(hostile, 1, approving(key(3)))
    view = view_group(hostile, key(0), [key(1)])
    assert numbers(view) == {0, 2}
    assert view.proposals == ()


def test_a_removed_founder_leaves_the_group_standing() -> None:
    before = document(section(0, 1, (1,)), section(1, 1, (0, 2)), section(2, 1, (1,)))
    hanging = left_hanging(view_group(before, key(1)), key(0))
    assert hanging == ()
    removed = after(before, 1, removing(key(0)))
    assert numbers(view_group(removed, key(1))) == {1, 2}
    assert numbers(view_group(removed, key(2), [key(1)])) == {1, 2}


def test_the_approvals_of_one_who_left_still_count() -> None:
    view = view_group(after(chain(3), 1, leaving), key(0))
    assert numbers(view) == {0, 2}
    assert set(view.left) == {key(1)}


def test_readmission() -> None:
    removed = after(chain(2), 0, removing(key(1)))
    back = after(removed, 0, approving(key(1)))
    assert numbers(view_group(back, key(0))) == {0, 1}


def test_who_is_trusted_by_a_server() -> None:
    recovery = Recovery(key(9), identity(9).certificate, b"")
    base = document(section(0, 1, (1, 2)), signed(1, recovery=recovery), section(2))
    view = view_group(base, key(0))
    assert set(trusted_certificates(view)) == {identity(n).certificate for n in (0, 1, 2, 9)}
    assert view.recovering == {key(9): frozenset({key(1)})}
    stolen = after(base, 0, removing(key(1)))
    # The thief has the member's key and is out, everywhere, as the one that approved it says so;
    # the owner's recovery key still opens the door.
    for viewer in (0, 2):
        view = view_group(stolen, key(viewer))
        assert set(trusted_certificates(view)) == {identity(n).certificate for n in (0, 2, 9)}
        assert view.recovering == {key(9): frozenset({key(1)})}


def test_whom_a_removed_member_approved_is_not_trusted() -> None:
    recovery = Recovery(key(9), identity(9).certificate, b"")
    base = document(section(0, 1, (1,)), section(1, 1, (3,)), signed(3, recovery=recovery))
    view = view_group(after(base, 0, removing(key(1))), key(0))
    assert trusted_certificates(view) == [identity(0).certificate]


def test_a_member_is_found_by_name_or_key() -> None:
    named = document(section(0, 1, (1, 2)), section(1), signed(2, name="m1"))
    view = view_group(named, key(0))
    assert view.find("m0") == section(0, 1, (1, 2)).member
    assert view.find("m1") is None, "two have this name"
    assert view.find(key(1).hex()[:12].upper()) == section(1).member
    assert view.find(key(1).hex()[:4]) is None
    assert view.find("nobody") is None
    assert "m0" in view.name(key(0))
    assert "stranger" in view.name(bytes(32))


def test_a_view_is_of_one_document() -> None:
    base = chain(2)
    assert view_group(base, key(0)).document is base
    assert numbers(view_group(replace(base, sections=()), key(0))) == set()
