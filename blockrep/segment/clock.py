"""The two clocks of a holder, as a value that is passed in, so that tests can make them jump."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A wall clock, which anybody may set, and one that only runs while the machine does."""

    def wall_s(self) -> int:
        """Seconds since 1970 UTC."""

    def uptime_s(self) -> int:
        """Seconds since some moment of this run of the machine; it never goes back."""


class SystemClock:
    """The clocks of the machine."""

    def wall_s(self) -> int:
        return int(time.time())

    def uptime_s(self) -> int:
        return int(time.monotonic())
