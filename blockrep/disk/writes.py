"""Writes as values: computed by planners, shown, logged, and executed by somebody else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Write:
    """Put `data` at `offset_bytes` of the device; both are multiples of its sector size."""

    offset_bytes: int
    data: bytes

    @property
    def end_bytes(self) -> int:
        return self.offset_bytes + len(self.data)


@dataclass(frozen=True, slots=True)
class Stage:
    """Writes whose order among each other does not matter; the device is flushed after them all."""

    name: str
    writes: tuple[Write, ...]
