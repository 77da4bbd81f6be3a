"""What was found to be damaged in a segment, to be named by whoever is asked about it."""

from __future__ import annotations

MOST_NAMED = 10_000


class Damage:
    """Findings since the segment was opened; a chunk that is written anew is whole again."""

    def __init__(self) -> None:
        self.chunks: set[int] = set()
        self._places: dict[str, str] = {}

    def add_chunk(self, chunk: int) -> None:
        """The content of a chunk does not have its digest."""
        if len(self.chunks) < MOST_NAMED:
            self.chunks.add(chunk)

    def set(self, place: str, finding: str | None) -> None:
        """What is wrong with the map, the ring or the header; None: nothing any more."""
        self._places.pop(place, None)
        if finding is not None:
            self._places[place] = finding

    def text(self) -> str | None:
        """One sentence, or None where nothing was found."""
        found = list(self._places.values())
        if self.chunks:
            named = ", ".join(map(str, sorted(self.chunks)[:5]))
            more = " and more" if len(self.chunks) > 5 else ""
            found.append(f"{len(self.chunks)} chunks do not have their digest ({named}{more})")
        return "; ".join(found) or None
