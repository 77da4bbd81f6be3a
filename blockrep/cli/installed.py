"""The engine of this installation, each part imported when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blockrep.disk.device import Device
from blockrep.divide.summary import DividedDisk, DivideRequest, Inspection, Outcome
from blockrep.progress import Progress


class InstalledEngine:
    """Implements `blockrep.cli.engine.Engine`."""

    def open_device(self, path: Path, *, writable: bool) -> Device:
        return Device(path, writable=writable)

    def list_devices(self) -> Sequence[Any]:
        from blockrep.disk.listing import list_devices  # type: ignore[import-not-found]

        devices: Sequence[Any] = list_devices()
        return devices

    def inspect_disk(self, device: Device, progress: Progress, *, files: bool) -> Inspection:
        from blockrep.divide import inspect_disk  # type: ignore[attr-defined]

        found: Inspection = inspect_disk(device, progress, files=files)
        return found

    def plan_divide(self, device: Device, request: DivideRequest, progress: Progress) -> Any:
        from blockrep.divide import plan_divide  # type: ignore[attr-defined]

        return plan_divide(device, request, progress)

    def plan_undivide(self, device: Device, progress: Progress) -> Any:
        from blockrep.divide import plan_undivide  # type: ignore[attr-defined]

        return plan_undivide(device, progress)

    def commit_plan(self, device: Device, plan: Any, progress: Progress) -> Outcome:
        from blockrep.divide import commit_plan  # type: ignore[attr-defined]

        outcome: Outcome = commit_plan(device, plan, progress)
        return outcome

    def recover_disk(self, device: Device, progress: Progress, *, back: bool) -> Outcome:
        from blockrep.divide import recover_disk  # type: ignore[attr-defined]

        outcome: Outcome = recover_disk(device, progress, back=back)
        return outcome

    def show_disk(self, device: Device) -> DividedDisk:
        from blockrep.divide import show_disk  # type: ignore[attr-defined]

        disk: DividedDisk = show_disk(device)
        return disk
