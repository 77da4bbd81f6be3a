"""The extent algebra against sets of numbers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from blockrep.extents import Extent, intersect, normalise, scale, subtract, total, union

extents = st.lists(
    st.builds(Extent, st.integers(0, 60), st.integers(0, 12)), max_size=20
)  # small, so that they meet


def members(items: list[Extent]) -> set[int]:
    return {at for start, length in items for at in range(start, start + length)}


def is_normal(items: list[Extent]) -> bool:
    apart = all(a.end < b.start for a, b in pairwise(items))
    return apart and all(e.length > 0 for e in items)


@given(extents)
def test_normalise(a: list[Extent]) -> None:
    result = normalise(a)
    assert is_normal(result)
    assert members(result) == members(a)
    assert normalise(result) == result


@given(extents, extents)
def test_union(a: list[Extent], b: list[Extent]) -> None:
    assert is_normal(union(a, b))
    assert members(union(a, b)) == members(a) | members(b)


@given(extents, extents)
def test_intersect(a: list[Extent], b: list[Extent]) -> None:
    assert is_normal(intersect(a, b))
    assert members(intersect(a, b)) == members(a) & members(b)


@given(extents, extents)
def test_subtract(a: list[Extent], b: list[Extent]) -> None:
    assert is_normal(subtract(a, b))
    assert members(subtract(a, b)) == members(a) - members(b)


@given(extents, extents)
def test_laws(a: list[Extent], b: list[Extent]) -> None:
    assert union(a, b) == union(b, a)
    assert intersect(a, b) == intersect(b, a)
    assert union(subtract(a, b), intersect(a, b)) == normalise(a)
    assert intersect(subtract(a, b), b) == []


@given(extents)
def test_total(a: list[Extent]) -> None:
    assert total(normalise(a)) == len(members(a))


@given(extents, st.integers(1, 8), st.integers(0, 50))
def test_scale(a: list[Extent], factor: int, offset: int) -> None:
    result = scale(normalise(a), factor, offset)
    assert is_normal(result)
    assert members(result) == {at * factor + i + offset for at in members(a) for i in range(factor)}


@given(extents, extents)
def test_arguments_are_left_alone(a: list[Extent], b: list[Extent]) -> None:
    copies = list(a), list(b)
    normalise(a), union(a, b), intersect(a, b), subtract(a, b), scale(a, 2)
    assert (a, b) == copies


def test_numbers_of_a_large_disk() -> None:
    disk = [Extent(0, 1 << 64)]
    hole = [Extent(1 << 40, 1 << 20)]
    assert subtract(disk, hole) == [
        Extent(0, 1 << 40),
        Extent((1 << 40) + (1 << 20), (1 << 64) - (1 << 40) - (1 << 20)),
    ]
