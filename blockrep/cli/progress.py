"""How far the work is, on standard error: phase, percent, rate, remaining time.

On a terminal one line is rewritten, elsewhere a line appears every ten seconds; nothing is shown in
the first two. A thread of its own shows it, so that a terminal that is slow, held or gone never
delays or fails the work.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from blockrep.cli.stopper import Stopper
from blockrep.cli.terminal import Terminal
from blockrep.units import format_bytes, format_duration

QUIET_S = 2.0
TICK_S = 0.1
LINE_EVERY_S = 10.0
STOPPING = (
    "Stopping at the next safe point. If the change itself has begun, it is finished first; "
    "that takes a moment."
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a phase is; `total_bytes` is 0 when its size is not known."""

    phase: str
    done_bytes: int
    total_bytes: int
    elapsed_s: float


def describe(position: Position) -> str:
    """`copying files: 43 %, 310 MiB/s, about 2 min 10 s left`."""
    done, total, elapsed = position.done_bytes, position.total_bytes, position.elapsed_s
    rate = done / elapsed if elapsed > 0 else 0.0
    parts: list[str] = []
    if total > 0:
        parts.append(f"{min(100, done * 100 // total)} %")
    if done > 0 and elapsed >= 1:
        parts.append(f"{format_bytes(int(rate))}/s")
    if total > done > 0 and elapsed >= 1:
        parts.append(f"about {format_duration((total - done) / rate)} left")
    elif total <= 0 and elapsed >= 1:
        parts.append(format_duration(elapsed))
    return f"{position.phase}: {', '.join(parts)}" if parts else position.phase


class TerminalProgress:
    """Implements `blockrep.progress.Progress`; shows nothing outside its `with` block."""

    def __init__(
        self,
        stream: TextIO,
        terminal: Terminal,
        stopper: Stopper,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._terminal = terminal
        self._stopper = stopper
        self._clock = clock
        self._rewrite = terminal.colour or _is_terminal(stream)
        self._lock = threading.Lock()
        self._phase, self._done, self._total = "", 0, 0
        self._began = self._phase_began = clock()
        self._shown_at = self._began
        self._line_open = self._told_stopping = self._broken = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> TerminalProgress:
        self._began = self._phase_began = self._shown_at = self._clock()
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._erase()

    def phase(self, name: str, total_bytes: int = 0) -> None:
        with self._lock:
            self._phase, self._done, self._total = name, 0, total_bytes
            self._phase_began = self._clock()

    def advance(self, done_bytes: int) -> None:
        with self._lock:
            self._done += done_bytes

    def check(self) -> None:
        self._stopper.raise_if_asked()

    def _run(self) -> None:
        while not self._over.wait(TICK_S):
            self.tick()

    def tick(self) -> None:
        """Show what is due now. Called by the thread, and by tests."""
        if self._stopper.asked and not self._told_stopping:
            self._told_stopping = True
            self._erase()
            self._write(f"blockrep: {STOPPING}\n")
        with self._lock:
            now = self._clock()
            position = Position(self._phase, self._done, self._total, now - self._phase_began)
        if not position.phase or now - self._began < QUIET_S:
            return
        if self._rewrite:
            self._rewrite_line(describe(position))
        elif now - self._shown_at >= LINE_EVERY_S:
            self._shown_at = now
            self._write(f"blockrep: {describe(position)}\n")

    def _rewrite_line(self, text: str) -> None:
        text = text[: self._terminal.width - 1]
        self._line_open = True
        self._write(f"\r{text}\x1b[K")

    def _erase(self) -> None:
        if self._line_open:
            self._line_open = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the work is not
            self._broken = True


def _is_terminal(stream: TextIO) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return stream.isatty()
    return False
