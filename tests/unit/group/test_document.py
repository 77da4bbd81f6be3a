"""Sections and documents: what is signed, what is refused, how they are merged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from group_builders import FOUNDING, GROUP, NOW, after, chain, document, identity, section, signed

from blockrep.errors import NotAMember, RecordDamaged, RecordUnsupported, UsageError
from blockrep.group.document import (
    MAX_DOCUMENT_BYTES,
    Founding,
    build_document,
    make_document,
    parse_document,
)
from blockrep.group.merge import EventKind, OwnKey, merge, newer_than, summary_of
from blockrep.group.own_section import amend, approving, first_section, found_group, leaving
from blockrep.group.section import (
    MAX_SECTION_BYTES,
    MemberDevice,
    Recovery,
    Section,
    parse_section,
    sign_section,
)
from blockrep.group.strict_json import build_json

DEVICE = MemberDevice(bytes(16), bytes([1] * 16), "/dev/sda", 1 << 30, 9 << 30)
FULL = signed(
    0,
    addresses=("10.0.0.1:7717", "[fe80::1]:7717"),
    devices=(DEVICE,),
    recovery=Recovery(identity(9).key, identity(9).certificate, b"\xff" * 2044),
    approved=(identity(1).key,),
    removed=(identity(2).key,),
)


def kinds(merged: object) -> list[EventKind]:
    return [event.kind for event in merged.events]  # type: ignore[attr-defined]


def test_round_trip() -> None:
    whole = document(FULL, section(1))
    assert parse_document(build_document(whole), GROUP) == whole
    assert parse_section(FULL.body, FULL.signature, GROUP).member == FULL.member


def test_the_group_id_is_a_digest_of_the_founding() -> None:
    for other in (
        replace(FOUNDING, name="other"),
        replace(FOUNDING, founder=identity(1).key),
        replace(FOUNDING, nonce=bytes([1] * 16)),
    ):
        assert other.group_id != GROUP
        with pytest.raises(RecordDamaged, match="another group"):
            parse_document(build_document(make_document(other, [])), GROUP)


def test_a_section_of_another_group() -> None:
    stranger = first_section(identity(1), bytes(16), "m1", NOW)
    with pytest.raises(RecordDamaged, match="another group"):
        parse_section(stranger.body, stranger.signature, GROUP)


def test_every_byte_of_a_section_is_signed() -> None:
    for at in range(0, len(FULL.body), 97):
        changed = bytearray(FULL.body)
        changed[at] ^= 1
        with pytest.raises(RecordDamaged):
            parse_section(bytes(changed), FULL.signature, GROUP)
    with pytest.raises(RecordDamaged, match="not signed"):
        parse_section(FULL.body, section(0).signature, GROUP)


def resigned(**changes: object) -> tuple[bytes, bytes]:
    """A section with these JSON fields, signed by the key that it names."""
    plain = {**json.loads(section(0).body), **changes}
    body = build_json(plain)
    return body, identity(0).sign(b"blockrep section 1\0" + body)


@pytest.mark.parametrize(
    "changes",
    [
        {"counter": 0},
        {"counter": -1},
        {"counter": 1 << 53},
        {"counter": True},
        {"counter": "1"},
        {"name": ""},
        {"name": " "},
        {"name": "x" * 65},
        {"name": "a\nb"},
        {"name": "\ud800"},
        {"addresses": ["x" * 129]},
        {"addresses": ["x"] * 9},
        {"addresses": "x"},
        {"devices": [{}]},
        {"approved": ["00" * 31]},
        {"approved": ["AA" * 32]},
        {"approved": ["00" * 32] * 2},
        {"approved": [f"{n:064x}" for n in range(64)]},
        {"left": 1},
        {"left": None},
        {"certificate": ""},
        {"certificate": "====", "name": "x"},
        {"previous": None},
        {"recovery": {}},
        {"recovery": []},
        {"time": 1.5},
    ],
)
def test_what_a_section_cannot_say(changes: dict[str, object]) -> None:
    if changes.get("name") == "\ud800":
        body = section(0).body.replace(b'"name":"m0"', b'"name":"\\ud800"')
        signature = identity(0).sign(b"blockrep section 1\0" + body)
    else:
        body, signature = resigned(**changes)
    with pytest.raises(RecordDamaged):
        parse_section(body, signature, GROUP)


def test_a_certificate_or_recovery_of_another_key() -> None:
    other = json.loads(section(1).body)["certificate"]
    with pytest.raises(RecordDamaged, match="certificate"):
        parse_section(*resigned(certificate=other), GROUP)
    recovery = {"key": identity(3).key.hex(), "certificate": other, "escrow": ""}
    with pytest.raises(RecordDamaged, match="certificate"):
        parse_section(*resigned(recovery=recovery), GROUP)


def test_what_is_not_known_is_passed_over_and_handed_on() -> None:
    body, signature = resigned(later={"a": [1]})
    read = parse_section(body, signature, GROUP)
    assert read.member == section(0).member
    assert parse_document(build_document(document(read))).sections[0].body == body


def test_a_newer_version_is_named() -> None:
    with pytest.raises(RecordUnsupported):
        parse_section(*resigned(version=2), GROUP)
    with pytest.raises(RecordUnsupported):
        parse_document(build_document(document()).replace(b'"version":1', b'"version":2'))


def test_what_does_not_fit_is_refused_before_it_is_signed() -> None:
    listed = tuple(bytes([n] * 32) for n in range(63))
    devices = tuple(replace(DEVICE, device_id=bytes([n] * 16)) for n in range(16))
    recovery = FULL.member.recovery
    with pytest.raises(ValueError, match="at most"):
        signed(0, approved=listed, removed=listed, recovery=recovery, devices=devices)
    assert signed(0, approved=listed, recovery=recovery, devices=devices[:4])


def test_the_largest_document_fits_into_a_call() -> None:
    body = bytes(MAX_SECTION_BYTES)
    sections = [replace(section(0), body=body)] * 64
    assert len(build_document(document(*sections))) < MAX_DOCUMENT_BYTES - 20_000


# --- merging


def test_higher_counters_stay() -> None:
    old = chain(3)
    new = after(old, 1, approving(identity(3).key))
    forward, back = merge(old, new), merge(new, old)
    assert forward.document == back.document == new
    assert kinds(forward) == [EventKind.UPDATED]
    assert kinds(back) == [EventKind.OLD]
    assert merge(new, new).events == ()


def test_an_old_document_that_is_replayed_changes_nothing() -> None:
    documents = [chain(4)]
    for number in (1, 2, 1, 0):
        documents.append(after(documents[-1], number, lambda m: replace(m, addresses=("a:1",))))
    for old in documents[:-1]:
        merged = merge(documents[-1], old)
        assert merged.document == documents[-1]
        assert set(kinds(merged)) == {EventKind.OLD}


def test_a_fork_is_told_and_the_first_seen_stays() -> None:
    base = chain(3)
    here = after(base, 1, lambda m: replace(m, addresses=("here:1",)))
    there = after(base, 1, lambda m: replace(m, addresses=("there:1",)))
    for held, offered in ((here, there), (there, here)):
        merged = merge(held, offered)
        assert merged.document == held
        assert kinds(merged) == [EventKind.FORK]
        assert "m1" in merged.events[0].text
    # The next section of either is taken, and the break in the chain is told again.
    further = after(there, 1, lambda m: m)
    merged = merge(here, further)
    assert merged.document.section(identity(1).key) == further.section(identity(1).key)
    assert kinds(merged) == [EventKind.FORK]


def test_a_clone_of_this_machine_is_told() -> None:
    base = chain(2)
    theirs = after(after(base, 1, lambda m: m), 1, lambda m: m)
    merged = merge(base, theirs, OwnKey(identity(1).key, 1))
    assert kinds(merged) == [EventKind.OWN_KEY_ELSEWHERE]
    assert merged.document == theirs
    # A machine that lost its document knows from its counter that these are its own words.
    lost = merge(document(), theirs, OwnKey(identity(1).key, 3))
    assert lost.document == theirs
    assert kinds(lost) == [EventKind.NEW, EventKind.NEW]


def test_goodbye_is_the_last_word() -> None:
    base = chain(3)
    gone = after(base, 1, leaving)
    merged = merge(base, gone)
    assert kinds(merged) == [EventKind.LEFT]
    later = signed(1, counter=50, approved=(identity(2).key,))
    undead = merge(gone, document(later))
    assert undead.document == gone
    assert kinds(undead) == [EventKind.OLD]
    with pytest.raises(NotAMember, match="left"):
        amend(gone, identity(1), 9, NOW, lambda m: m)


def test_sections_that_nobody_approved_are_not_kept() -> None:
    merged = merge(chain(2), document(section(5)))
    assert merged.document == chain(2)
    assert merged.events == ()


def test_a_flood_of_members_displaces_nobody() -> None:
    held = chain(60)
    flood = tuple(range(100, 163))
    hostile = signed(1, counter=2, approved=tuple(identity(n).key for n in (2, *flood[:60])))
    merged = merge(held, document(hostile, *(section(n) for n in flood)))
    assert len(merged.document.sections) == 64
    assert {s.key for s in held.sections} <= {s.key for s in merged.document.sections}
    assert EventKind.NO_ROOM in kinds(merged)


def test_documents_of_two_groups_are_not_merged() -> None:
    other = make_document(Founding("x", identity(0).key, bytes(16)), [])
    with pytest.raises(RecordDamaged, match="another group"):
        merge(chain(2), other)


def test_only_what_is_newer_is_sent() -> None:
    old = chain(3)
    new = after(old, 2, lambda m: m)
    assert newer_than(new, summary_of(old)).sections == (new.section(identity(2).key),)
    assert newer_than(old, summary_of(new)).sections == ()
    assert newer_than(new, {}) == new


# --- a member's own changes


def test_each_change_is_the_next_section() -> None:
    founded = found_group(identity(0), "home", "first", NOW)
    assert founded.sections[0].member.name == "first"
    changed = amend(founded, identity(0), 7, NOW + 5, lambda m: replace(m, addresses=("a:1",)))
    section_ = changed.sections[0]
    assert (section_.counter, section_.member.time_s) == (7, NOW + 5)
    assert section_.member.previous == founded.sections[0].hash
    for counter in (7, 6, 0):
        with pytest.raises(ValueError, match="follow"):
            amend(changed, identity(0), counter, NOW, lambda m: m)
    with pytest.raises(NotAMember):
        amend(founded, identity(1), 2, NOW, lambda m: m)


@pytest.mark.parametrize("name", ["", " ", "x\0", "x" * 65, "ö" * 33])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError):
        found_group(identity(0), name, "x", NOW)
    with pytest.raises(UsageError):
        found_group(identity(0), "x", name, NOW)


def test_sections_are_made_of_what_can_be_read_again() -> None:
    assert isinstance(FULL, Section)
    with pytest.raises(ValueError, match="name"):
        sign_section(replace(FULL.member, name="x" * 65), identity(0))
