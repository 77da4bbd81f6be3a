"""What a crash test drives: something that changes a disk and something that recovers it."""

from __future__ import annotations

from typing import Protocol

from blockrep.disk.device import Device

NOTHING = "nothing"


class Engine(Protocol):
    """A transaction on a disk. Both are called with a fresh, writable device.

    What `recover` does depends on nothing but what it reads from that device.
    """

    def run(self, device: Device) -> None:
        """The undisturbed run."""

    def recover(self, device: Device, *, back: bool) -> str:
        """Finish or back out; `NOTHING` when there was nothing to do."""
