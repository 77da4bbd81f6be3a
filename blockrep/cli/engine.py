"""What the commands ask of the engine.

The real one is imported when a function is called, so that `--help` needs neither the C core nor
udev, and tests put a small one in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TextIO

from blockrep.cli.document import Document
from blockrep.cli.stopper import Stopper
from blockrep.disk.device import Device
from blockrep.divide.summary import (
    DividedDisk,
    DivideRequest,
    DivideSummary,
    Inspection,
    Outcome,
    UndivideRequest,
)
from blockrep.progress import Progress


class Plan(Protocol):
    """A change that is fully computed and has not touched the disk."""

    @property
    def summary(self) -> DivideSummary: ...


class Engine(Protocol):
    """All that the command line needs from below."""

    def open_device(self, path: Path, *, writable: bool) -> Device: ...

    def list_devices(self) -> Sequence[Any]: ...

    def inspect_disk(self, device: Device, progress: Progress, *, files: bool) -> Inspection: ...

    def plan_divide(self, device: Device, request: DivideRequest, progress: Progress) -> Plan: ...

    def plan_undivide(
        self, device: Device, request: UndivideRequest, progress: Progress
    ) -> Plan: ...

    def commit_plan(self, device: Device, plan: Any, progress: Progress) -> Outcome: ...

    def can_recover(self, device: Device) -> bool: ...

    def recover_disk(
        self, device: Device, progress: Progress, *, back: bool, journal: Path | None
    ) -> Outcome: ...

    def show_disk(self, device: Device) -> DividedDisk: ...

    def ask_agent(
        self, place: Path, verb: str, arguments: Document, progress: Progress
    ) -> Document: ...

    def new_recovery_key(self) -> str: ...

    def run_agent(self, flags: Document, *, log: TextIO, stop: Stopper) -> None: ...

    def open_replica(
        self, place: Path, wanted: Document, progress: Progress
    ) -> AbstractContextManager[Any]: ...

    def describe_replica(self, replica: Any) -> Document: ...

    def restoring(
        self, replica: Any, target: Path, options: Document
    ) -> AbstractContextManager[Any]: ...

    def mount_replica(self, request: Document, progress: Progress) -> Document: ...

    def unmount(self, directory: Path) -> None: ...

    def extract_files(
        self,
        replica: Any,
        paths: Sequence[str],
        into: Path,
        partition: int | None,
        progress: Progress,
    ) -> Sequence[Path]: ...
