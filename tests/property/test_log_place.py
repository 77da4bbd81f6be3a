"""The place of the log, against a model of single sectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockrep.divide.log import MAX_EXTENTS
from blockrep.divide.log_place import place_log
from blockrep.errors import NoRoomForLog
from blockrep.extents import Extent, total

PAGE, SECTOR = 4096, 512
SECTORS = 40 * PAGE // SECTOR

extents = st.lists(
    st.builds(
        lambda at, length: Extent(at * SECTOR, length * SECTOR),
        st.integers(0, SECTORS),
        st.integers(0, 60),
    ),
    max_size=6,
)


def sectors(items: list[Extent]) -> set[int]:
    return {at for e in items for at in range(e.start // SECTOR, e.end // SECTOR)}


def usable_pages(candidate: list[Extent], avoid: list[Extent]) -> set[int]:
    free = sectors(candidate) - sectors(avoid)
    per_page = PAGE // SECTOR
    pages = {at // per_page for at in free}
    return {p for p in pages if all(p * per_page + i in free for i in range(per_page))}


@given(st.integers(1, 30 * PAGE), st.lists(extents, min_size=1, max_size=3), extents)
def test_the_first_place_with_room(
    needed: int, candidates: list[list[Extent]], avoid: list[Extent]
) -> None:
    room = [len(usable_pages(c, avoid)) * PAGE for c in candidates]
    named = [(str(i), c) for i, c in enumerate(candidates)]
    fitting = [i for i, size in enumerate(room) if size >= needed]
    if not fitting:
        with pytest.raises(NoRoomForLog, match=f"{max(room) >> 10} KiB$"):
            place_log(needed, named, avoid)
        return
    name, chosen = place_log(needed, named, avoid)
    assert name == str(fitting[0])
    assert needed <= total(chosen) < needed + PAGE
    pages = [p for e in chosen for p in range(e.start // PAGE, e.end // PAGE)]
    assert all(e.start % PAGE == e.length % PAGE == 0 for e in chosen)
    assert len(pages) == len(set(pages))
    assert set(pages) <= usable_pages(candidates[fitting[0]], avoid)


def test_no_more_extents_than_a_log_can_name() -> None:
    """The largest are taken; a place in too many pieces has no room."""
    pieces = [Extent(2 * n * PAGE, PAGE) for n in range(MAX_EXTENTS + 5)]
    _, chosen = place_log(MAX_EXTENTS * PAGE, [("free", pieces)], [])
    assert len(chosen) == MAX_EXTENTS
    with pytest.raises(NoRoomForLog):
        place_log(MAX_EXTENTS * PAGE + 1, [("free", pieces)], [])
    large = Extent(10 * MAX_EXTENTS * PAGE, 9 * PAGE)
    _, chosen = place_log(MAX_EXTENTS * PAGE + 1, [("free", [*pieces, large])], [])
    assert chosen[0] == large
