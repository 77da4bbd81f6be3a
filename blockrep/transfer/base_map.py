"""The chunk map that a holder has: what an owner compares its disk with."""

from __future__ import annotations

from collections import deque

from blockrep.chunks import (
    ENTRIES_PER_PAGE,
    PAGE_BYTES,
    Entry,
    map_pages,
    page_is_sound,
    seal_page,
    set_entry,
)
from blockrep.errors import ProtocolError
from blockrep.transfer.bulk import NO_DIGEST, MapPages
from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Kind
from blockrep.transfer.map_file import MapFile
from blockrep.transfer.messages import MAX_MAP_PAGES, MapGet

ANSWER_S = 600.0
UNDER_WAY = 4
# Something is there, and it is none of ours: every chunk of a damaged page is sent or emptied.
_UNKNOWN = Entry(0xFFFF, 0, NO_DIGEST)


def fetch_map(
    channel: Channel, epoch_id: bytes | None, pages: int, into: MapFile, *, mend: bool
) -> None:
    """The first `pages` of the map of an epoch, or of now (None), into a file of empty pages.

    A page that is not sound is refused with `ProtocolError`, or with `mend` made one in which no
    entry agrees with anything, so that the holder is sent all of its chunks.
    """
    asked: deque[tuple[int, int]] = deque()
    todo = deque(
        (first, min(MAX_MAP_PAGES, pages - first)) for first in range(0, pages, MAX_MAP_PAGES)
    )
    while todo or asked:
        while todo and len(asked) < UNDER_WAY:
            asked.append(todo.popleft())
            channel.post(Kind.MAP_GET, MapGet(epoch_id, *asked[-1]).build())
        frame = channel.receive(ANSWER_S)
        first, count = asked.popleft()
        _take(MapPages.parse(frame.body), first, count, into, mend)
        into.forget(first, first + count)
        channel.give_back(frame)


def _take(found: MapPages, first: int, count: int, into: MapFile, mend: bool) -> None:
    if (found.first_page, len(found.pages)) != (first, count * PAGE_BYTES):
        raise ProtocolError(f"pages from {found.first_page} on, asked were {count} from {first}")
    place = into.view[first * PAGE_BYTES :][: len(found.pages)]
    place[:] = found.pages
    for number in range(first, first + count):
        page = place[(number - first) * PAGE_BYTES :][:PAGE_BYTES]
        if page_is_sound(page, number):
            continue
        if not mend:
            raise ProtocolError(f"page {number} of the map is damaged")
        for chunk in range(number * ENTRIES_PER_PAGE, (number + 1) * ENTRIES_PER_PAGE):
            set_entry(page, number, chunk, _UNKNOWN)
        seal_page(page)


def pages_within(capacity_bytes: int, file: MapFile) -> int:
    """How many pages of a map can be asked of a segment."""
    return min(file.pages, map_pages(capacity_bytes))
