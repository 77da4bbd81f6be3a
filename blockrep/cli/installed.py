"""The engine of this installation, each part imported when it is first needed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

from blockrep.cli.document import Document
from blockrep.cli.stopper import Stopper
from blockrep.disk.device import Device
from blockrep.divide.summary import DividedDisk, DivideRequest, Inspection, Outcome, UndivideRequest
from blockrep.errors import DeviceBusy
from blockrep.progress import Progress


class InstalledEngine:
    """Implements `blockrep.cli.engine.Engine`."""

    def open_device(self, path: Path, *, writable: bool) -> Device:
        from blockrep.disk.holds import refuse_if_held

        try:
            return Device(path, writable=writable)
        except DeviceBusy:
            # The kernel says only that it is held; this says by what, and how to let go.
            refuse_if_held(path)
            raise

    def list_devices(self) -> Sequence[Any]:
        from blockrep.disk.listing import list_devices

        devices: Sequence[Any] = list_devices()
        return devices

    def inspect_disk(self, device: Device, progress: Progress, *, files: bool) -> Inspection:
        from blockrep.divide.inspect import inspect_disk

        found: Inspection = inspect_disk(device, progress, files=files)
        return found

    def plan_divide(self, device: Device, request: DivideRequest, progress: Progress) -> Any:
        from blockrep.divide.plan import plan_divide

        return plan_divide(device, request, progress)

    def plan_undivide(self, device: Device, request: UndivideRequest, progress: Progress) -> Any:
        from blockrep.divide.undivide import plan_undivide

        return plan_undivide(device, request, progress)

    def commit_plan(self, device: Device, plan: Any, progress: Progress) -> Outcome:
        from blockrep.divide.commit import commit_plan

        outcome: Outcome = commit_plan(device, plan, progress)
        return outcome

    def can_recover(self, device: Device) -> bool:
        from blockrep.divide.interrupted import can_recover

        return can_recover(device)

    def recover_disk(
        self, device: Device, progress: Progress, *, back: bool, journal: Path | None
    ) -> Outcome:
        from blockrep.divide.recover import recover_disk

        outcome: Outcome = recover_disk(device, progress, back=back, journal=journal)
        return outcome

    def show_disk(self, device: Device) -> DividedDisk:
        from blockrep.divide.show import show_disk

        disk: DividedDisk = show_disk(device)
        return disk

    def ask_agent(
        self, place: Path, verb: str, arguments: Document, progress: Progress
    ) -> Document:
        from blockrep.agent.local_client import LocalClient

        with LocalClient(place) as client:
            return client.ask(verb, arguments, progress)

    def new_recovery_key(self) -> str:
        from blockrep.group.recovery_key import new_recovery_text

        return new_recovery_text()

    def run_agent(self, flags: Document, *, log: TextIO, stop: Stopper) -> None:
        from blockrep.agent.start import run_agent

        run_agent(flags, log=log, stop=stop)

    def open_replica(
        self, place: Path, wanted: Document, progress: Progress
    ) -> AbstractContextManager[Any]:
        from blockrep.cli.replicas import open_replica

        return open_replica(place, wanted, progress)

    def describe_replica(self, replica: Any) -> Document:
        from blockrep.cli.replicas import describe_replica

        return describe_replica(replica)

    def restoring(
        self, replica: Any, target: Path, options: Document
    ) -> AbstractContextManager[Any]:
        from blockrep.cli.replicas import restoring

        return restoring(replica, target, options)

    def mount_replica(self, request: Document, progress: Progress) -> Document:
        from blockrep.cli.replicas import mount_replica

        return mount_replica(request, progress)

    def unmount(self, directory: Path) -> None:
        from blockrep.browse.mount import unmount_epoch

        unmount_epoch(directory)

    def extract_files(
        self,
        replica: Any,
        paths: Sequence[str],
        into: Path,
        partition: int | None,
        progress: Progress,
    ) -> Sequence[Path]:
        from blockrep.cli.replicas import extract_from

        return extract_from(replica, paths, into, partition, progress)
