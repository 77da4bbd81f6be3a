"""Documents are merged whatever the order, and a member is decided on whatever they say."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, reduce

from group_builders import FOUNDING, GROUP, identity, member
from hypothesis import given, settings
from hypothesis import strategies as st

from blockrep.group.document import Document, build_document, make_document, parse_document
from blockrep.group.membership import left_hanging, trusted_certificates, view_group
from blockrep.group.merge import EventKind, merge, newer_than, summary_of
from blockrep.group.own_section import removing
from blockrep.group.section import Section, sign_section

MEMBERS = 6
COUNTERS = 4


@cache
def spoken(number: int, counter: int, variant: int = 0) -> Section:
    """The section of member `number` with this counter: each approves more than the one before.

    The sections of one variant are a chain; two variants are the words of two machines.
    """
    approved = tuple(identity(n).key for n in range(MEMBERS) if n != number)
    before = member(number)
    return sign_section(
        replace(
            before,
            counter=counter,
            approved=approved[: counter + 1],
            addresses=(f"variant:{variant}",),
            previous=spoken(number, counter - 1, variant).hash if counter > 1 else bytes(32),
        ),
        identity(number),
    )


def closed(numbers: dict[int, int], variant: int = 0) -> Document:
    """A document as a member could hold it: what nobody approved is not in it."""
    sections = (spoken(n, counter, variant) for n, counter in numbers.items())
    return merge(make_document(FOUNDING, []), make_document(FOUNDING, sections)).document


DOCUMENTS = st.dictionaries(
    st.integers(0, MEMBERS - 1), st.integers(1, COUNTERS), max_size=MEMBERS
).map(closed)


def counters_of(document: Document) -> dict[bytes, int]:
    return {section.key: section.counter for section in document.sections}


@given(DOCUMENTS, DOCUMENTS)
def test_commutative(a: Document, b: Document) -> None:
    assert merge(a, b).document == merge(b, a).document


@given(DOCUMENTS)
def test_idempotent(a: Document) -> None:
    assert merge(a, a).document == a
    assert merge(a, a).events == ()


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_associative_where_approvals_only_grow(a: Document, b: Document, c: Document) -> None:
    left = merge(merge(a, b).document, c).document
    assert left == merge(a, merge(b, c).document).document


@given(DOCUMENTS, DOCUMENTS)
def test_monotone(a: Document, b: Document) -> None:
    merged = counters_of(merge(a, b).document)
    for key, counter in {**counters_of(b), **counters_of(a)}.items():
        if key in merged:
            assert merged[key] >= counter
    assert set(counters_of(a)) <= set(merged)


@given(DOCUMENTS, DOCUMENTS)
def test_what_is_exchanged_is_enough(a: Document, b: Document) -> None:
    whole = merge(a, b).document
    assert merge(a, newer_than(b, summary_of(a))).document == whole
    assert merge(b, newer_than(a, summary_of(b))).document == whole
    assert newer_than(whole, summary_of(whole)).sections == ()


@given(st.lists(DOCUMENTS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_whoever_asks_all_has_the_highest(documents: list[Document], random: object) -> None:
    def highest(some: list[Document]) -> Document:
        return reduce(lambda held, offered: merge(held, offered).document, some)

    shuffled = list(documents)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert highest(shuffled) == highest(documents)


@given(
    st.dictionaries(st.integers(0, MEMBERS - 1), st.integers(1, COUNTERS), min_size=1),
    st.dictionaries(st.integers(0, MEMBERS - 1), st.integers(1, COUNTERS), min_size=1),
)
def test_a_fork_is_seen_by_both_sides_or_by_none(a: dict[int, int], b: dict[int, int]) -> None:
    here, there = closed(a, 0), closed(b, 1)
    both = set(counters_of(here)) & set(counters_of(there))
    equal = {k for k in both if counters_of(here)[k] == counters_of(there)[k]}
    for held, offered in ((here, there), (there, here)):
        merged = merge(held, offered)
        twice = {
            e.key
            for e in merged.events
            if e.kind is EventKind.FORK
            and counters_of(merged.document)[e.key] == counters_of(held)[e.key]
        }
        assert twice == equal
        assert all(merged.document.section(k) == held.section(k) for k in equal)


@given(DOCUMENTS)
def test_documents_are_read_as_they_were_written(a: Document) -> None:
    assert parse_document(build_document(a), GROUP) == a


@settings(max_examples=50)
@given(DOCUMENTS, st.integers(0, MEMBERS - 1), st.integers(0, MEMBERS - 1))
def test_removing_with_adoption_loses_one_member(a: Document, me: int, other: int) -> None:
    own, key = identity(me).key, identity(other).key
    view = view_group(a, own)
    held = a.section(own)
    if me == other or held is None or key not in view.members:
        return
    change = removing(key, left_hanging(view, key))
    said = sign_section(
        replace(change(held.member), counter=held.counter + 1, previous=held.hash), identity(me)
    )
    after = view_group(merge(a, make_document(FOUNDING, [said])).document, own)
    assert set(after.members) == set(view.members) - {key}
    assert identity(other).certificate not in trusted_certificates(after)


@given(DOCUMENTS, st.integers(0, MEMBERS - 1))
def test_members_are_those_with_a_section(a: Document, me: int) -> None:
    view = view_group(a, identity(me).key)
    assert set(view.members) <= {s.key for s in a.sections}
    assert not set(view.members) & (set(view.removed) | set(view.left))
