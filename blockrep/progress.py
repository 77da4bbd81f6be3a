"""How long work reports where it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from the thread that works. `check` is called between bounded steps."""

    def phase(self, name: str, total_bytes: int = 0) -> None:
        """A new phase begins; `total_bytes` is 0 when its size is not known."""

    def advance(self, done_bytes: int) -> None:
        """So many more bytes of this phase are done."""

    def check(self) -> None:
        """Raise `errors.Stopped` if the user wants to stop; only called where stopping is safe."""


class Silent:
    """Listens to nothing and never stops."""

    def phase(self, name: str, total_bytes: int = 0) -> None:
        pass

    def advance(self, done_bytes: int) -> None:
        pass

    def check(self) -> None:
        pass
