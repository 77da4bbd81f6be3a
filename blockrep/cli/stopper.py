"""Signals become a wish to stop, which the work asks about where stopping is safe.

Nothing is raised in the middle of the work. The first SIGINT, SIGTERM or SIGHUP is remembered,
later ones change nothing; `raise_if_asked` turns it into `Stopped`. Work that is past its safe
points goes on to its end.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from blockrep.errors import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "a request to terminate", "SIGHUP": "the terminal's end"}


class Stopper:
    """The wish to stop. Handlers are in place only within `listening`."""

    def __init__(self) -> None:
        self._asked: signal.Signals | None = None
        self._immediate = False

    @property
    def asked(self) -> bool:
        return self._asked is not None

    def raise_if_asked(self) -> None:
        """`Stopped` after a signal."""
        if self._asked is not None:
            raise Stopped(f"stopped by {_NAMES[self._asked.name]}")

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals; what the parent had ignored (nohup) stays ignored."""
        taken = [s for s in _SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
        before = {s: signal.signal(s, self._handle) for s in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Around a wait in which nothing is at stake: a signal raises `Stopped` at once."""
        self._immediate = True
        try:
            self.raise_if_asked()
            yield
        finally:
            self._immediate = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked is None:
            self._asked = signal.Signals(number)
        if self._immediate:
            self._immediate = False
            self.raise_if_asked()
