"""What a recovery did, to be looked up by all that it read.

A recovery knows nothing of a disk but what it reads: on another disk on which it would read the
same, it does the same. The reads make a tree, as what is read next depends on what was read before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fault.sectors import Disk, Writes


@dataclass(frozen=True, eq=False)
class Recovery:
    """What was done: `action` in words of the engine, and the writes between flushes."""

    action: str
    writes: Writes

    @property
    def idle(self) -> bool:
        return not any(self.writes)

    def same_as(self, other: Recovery) -> bool:
        return (self.action, self.writes) == (other.action, other.writes)


@dataclass
class _Fork:
    """A read of the sectors `[first, end)`; what came next, by what they held."""

    first: int
    end: int
    next: dict[bytes, _Fork | Recovery] = field(default_factory=dict)

    def held(self, disk: Disk) -> bytes:
        return disk.numbers[self.first : self.end].tobytes()


class Remembered:
    """The recoveries of one engine in one direction."""

    def __init__(self) -> None:
        self._root: _Fork | None = None

    def recall(self, disk: Disk) -> Recovery | None:
        """What recovery does on `disk`; None when that is not known yet."""
        at: _Fork | Recovery | None = self._root
        while isinstance(at, _Fork):
            at = at.next.get(at.held(disk))
        return at

    def learn(self, disk: Disk, reads: Sequence[tuple[int, int]], done: Recovery) -> None:
        """`done` was the answer to `disk`, of which `reads` were read in this order.

        `AssertionError` when the reads do not follow from what was read: such an engine depends on
        something else, and must not be remembered.
        """
        forks = [_Fork(first, end) for first, end in reads]
        if self._root is None:
            self._root = forks[0]
        fork = self._root
        for position, wanted in enumerate(forks):
            if (fork.first, fork.end) != (wanted.first, wanted.end):
                raise AssertionError(f"read {position} is of other sectors on the same bytes")
            held = fork.held(disk)
            if position + 1 == len(forks):
                if isinstance(fork.next.get(held), _Fork):
                    raise AssertionError("a recovery read less, on the same bytes, than one before")
                fork.next[held] = done
                return
            following = fork.next.setdefault(held, forks[position + 1])
            if isinstance(following, Recovery):
                raise AssertionError("a recovery read more, on the same bytes, than one before")
            fork = following
