"""A connection of a peer, some of whose frames are decided on when they come."""

from __future__ import annotations

from collections.abc import Callable

from blockrep.transfer.channel import Channel
from blockrep.transfer.frames import Frame

Guard = Callable[[Frame], None]


class GuardedChannel(Channel):
    """`guard` raises for a frame that may not come in; what it raises ends the connection."""

    guard: Guard | None = None

    def take(self) -> Frame | None:
        frame = super().take()
        if frame is not None and self.guard is not None:
            self.guard(frame)
        return frame
