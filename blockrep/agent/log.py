"""The agent's log: lines on a stream, each with the priority that the journal reads (sd-daemon(3)).

Names and messages may come from a peer: what is no printable text is written as an escape, so that
nobody can forge a line.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TextIO

_ERROR, _WARNING, _NOTICE, _INFO = 3, 4, 5, 6


class Log:
    """Safe from every thread; a stream that is gone is no reason to stop."""

    def __init__(self, stream: TextIO, *, prefixed: bool) -> None:
        self._stream = stream
        self._prefixed = prefixed
        self._lock = threading.Lock()

    def error(self, text: str) -> None:
        """Something failed that somebody should look at."""
        self._write(_ERROR, text)

    def warning(self, text: str) -> None:
        """Refused or cut short, and the agent goes on: who asked is in the text."""
        self._write(_WARNING, text)

    def notice(self, text: str) -> None:
        """A change of what is kept or trusted."""
        self._write(_NOTICE, text)

    def info(self, text: str) -> None:
        self._write(_INFO, text)

    def _write(self, priority: int, text: str) -> None:
        prefix = f"<{priority}>" if self._prefixed else ""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{prefix}{printable(text)}\n")
            self._stream.flush()


def printable(text: str) -> str:
    """`text` on one line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
