"""One undisturbed, recorded run of an engine on a test disk: what crash tests start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from images.build import Disk, build_disk
from images.kinds import Kind

from fault.engine import Engine
from fault.real import DivideEngine, UndivideEngine
from fault.recorder import RecordingDevice, WriteLog
from fault.truth import Truth, learn_truth


@dataclass(frozen=True)
class Run:
    """What was on the disk, what is, how it came there, and the two images."""

    disk: Disk
    truth: Truth
    log: WriteLog
    engine: Engine
    initial: Path
    final: Path


def divide_run(kind: Kind, folder: Path) -> Run:
    """Divide a fresh copy of a kind's disk."""
    disk = build_disk(kind)
    engine = DivideEngine(disk.first_bytes, kind.peers, kind.defrag, journal=kind.journal)
    return _record(disk, disk.path, folder / "divided.img", engine)


def undivide_run(kind: Kind, folder: Path) -> Run:
    """Divide it, then undivide that: the old state is the divided one."""
    divided = divide_run(kind, folder)
    return _record(
        divided.disk, divided.final, folder / "undivided.img", UndivideEngine(journal=kind.journal)
    )


def _record(disk: Disk, initial: Path, final: Path, engine: Engine) -> Run:
    final.write_bytes(initial.read_bytes())
    with RecordingDevice(final) as device:
        engine.run(device)
        log = device.log
    truth = learn_truth(
        initial,
        final,
        disk.host_start_bytes,
        table=disk.kind.table != "none",
        mountable=disk.kind.mountable,
        sector_bytes=disk.kind.sector_bytes,
    )
    return Run(disk, truth, log, engine, initial, final)
