"""A small engine for the tests of the command line, with a plan of a plausible disk."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blockrep.disk.device import Device
from blockrep.divide.summary import (
    Cell,
    DividedDisk,
    DivideRequest,
    DivideSummary,
    FilePlace,
    FilesystemSummary,
    Inspection,
    Outcome,
    Region,
    SegmentSummary,
    UndivideRequest,
)
from blockrep.extents import Extent
from blockrep.progress import Progress

MIB, GIB = 1 << 20, 1 << 30
DISK = 9 * GIB
UUID = "0FC63DAF-8483-4772-8E79-3D69D8477DE{}"


def scattered_cells(count: int = 512, seed: int = 1) -> tuple[Cell, ...]:
    chance = random.Random(seed)
    cells = []
    for at in range(count):
        used = int(4096 * chance.choice((0, 0, 0.1, 0.3, 0.8, 1.0)))
        pieces = used if chance.random() < 0.4 else 0
        metadata = 4096 - used if at % 32 == 0 else 0
        cells.append(Cell(metadata, used - pieces, pieces, 4096 - used - metadata))
    return tuple(cells)


def packed_cells(count: int = 64) -> tuple[Cell, ...]:
    return tuple(
        Cell(4096, 0, 0, 0) if at < 2 else Cell(0, 4096, 0, 0) if at < 45 else Cell(0, 0, 0, 4096)
        for at in range(count)
    )


def segments(count: int = 8, disk_bytes: int = DISK) -> tuple[SegmentSummary, ...]:
    start = GIB + 4 * MIB
    length = (disk_bytes - MIB - start) // count // MIB * MIB
    return tuple(
        SegmentSummary(i + 1, start + i * length, length, length * 9 // 10, length // 10,
                       UUID.format(i % 10))
        for i in range(count)
    )  # fmt: skip


def regions_before(disk_bytes: int = DISK) -> tuple[Region, ...]:
    return (
        Region("table", None, "", "", 0, MIB),
        Region("partition", 1, "root", "ext4", MIB, disk_bytes - 2 * MIB),
    )


def regions_after(count: int = 8, disk_bytes: int = DISK) -> tuple[Region, ...]:
    made = segments(count, disk_bytes)
    return (
        Region("table", None, "", "", 0, MIB),
        Region("partition", 1, "root", "ext4", MIB, GIB - 2 * MIB),
        Region("area", 2, "blockrep area", "", GIB, 4 * MIB),
        *(Region("segment", 2 + s.number, f"blockrep segment {s.number}", "", s.start_bytes,
                 s.length_bytes) for s in made),
    )  # fmt: skip


def divide_summary(count: int = 8, disk: str = "/dev/sda") -> DivideSummary:
    return DivideSummary(
        disk=disk,
        disk_bytes=DISK,
        sector_bytes=512,
        table="gpt",
        divider_bytes=GIB,
        before=regions_before(),
        after=regions_after(count),
        host_partition=1,
        host_end_bytes=GIB - MIB,
        host_blocks_before=2358784,
        host_blocks_after=261632,
        files_moved=812,
        files_joined=41,
        fragmented_before=41,
        fragmented_after=0,
        copy_bytes=523 * MIB,
        metadata_bytes=7 * MIB,
        log_place="free blocks past the divider",
        estimated_s=4.2,
        segments=segments(count),
        cells_before=scattered_cells(),
        cells_after=packed_cells(),
        notes=("the filesystem ends 2 MiB below the divider, so that it fits the segments",),
    )


def divided_disk(count: int = 8) -> DividedDisk:
    regions = regions_after(count)
    return DividedDisk(
        disk="/dev/sda",
        disk_bytes=DISK,
        sector_bytes=512,
        table="gpt",
        divider_bytes=GIB,
        first_area_end_bytes=GIB - MIB,
        instance_id="3f6d0e0a-52f1-4f1c-9a57-0f4f5a5b6c7d",
        area=regions[2],
        segments=segments(count),
        regions=regions,
    )


def inspection(*, divided: bool = False, files: bool = False) -> Inspection:
    cells = packed_cells() if divided else scattered_cells()
    filesystem = FilesystemSummary(
        type="ext4",
        block_bytes=4096,
        blocks=2358784,
        used_blocks=233909,
        inodes=589824,
        used_inodes=4711,
        files=4200,
        directories=500,
        fragmented_files=0 if divided else 113,
        minimum_first_bytes=960 * MIB,
        cells=cells,
    )
    listed = (
        FilePlace("/etc/passwd", 12, 1024, (Extent(5 * MIB, 4096),)),
        FilePlace("/tmp/\x1b[31mred\udcff", 13, 8192, (Extent(8 * MIB, 4096), Extent(9 * MIB, 1))),
        FilePlace("/empty", 14, 0, ()),
    )
    return Inspection(
        disk="/dev/sda",
        disk_bytes=DISK,
        sector_bytes=512,
        table="gpt",
        regions=regions_after() if divided else regions_before(),
        host_partition=1,
        filesystem=filesystem,
        divided=divided_disk() if divided else None,
        files=iter(listed) if files else None,
    )


@dataclass(frozen=True, slots=True)
class FakePlan:
    summary: DivideSummary


@dataclass(frozen=True, slots=True)
class FakeContent:
    type: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class FakeVolume:
    number: int
    path: str
    length_bytes: int
    content: FakeContent
    mountpoints: tuple[str, ...] = ()
    used_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class FakeListed:
    path: str
    model: str
    size_bytes: int
    logical_sector_bytes: int = 512
    physical_sector_bytes: int = 4096
    table: str = "gpt"
    volumes: tuple[FakeVolume, ...] = ()
    obstacles: tuple[str, ...] = ()


ROOT_VOLUME = FakeVolume(
    1, "/dev/sda1", 500 * GIB, FakeContent("ext4", "root"), (), 80 * GIB, 420 * GIB
)
STICK_VOLUME = FakeVolume(1, "/dev/sdb1", 8 * GIB, FakeContent("vfat"), ("/mnt",))
LISTED = (
    FakeListed("/dev/sda", "Samsung SSD 870", 1000204886016, volumes=(ROOT_VOLUME,)),
    FakeListed(
        "/dev/sdb",
        "USB stick",
        8 * GIB,
        table="dos",
        volumes=(STICK_VOLUME,),
        obstacles=("/dev/sdb1 is mounted at /mnt: unmount it", "/dev/sdb1 holds vfat"),
    ),
)


@dataclass
class FakeEngine:
    """Does nothing to any disk; `calls` tells what it was asked, in order.

    A function in `during` is called in place of the work of that name, with its progress.
    """

    calls: list[str] = field(default_factory=list)
    requests: list[DivideRequest] = field(default_factory=list)
    during: dict[str, Callable[[Progress], None]] = field(default_factory=dict)
    divided: bool = False
    interrupted: bool = True
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, dict[str, Any] | Exception] = field(default_factory=dict)

    def _work(self, name: str, progress: Progress) -> None:
        self.calls.append(name)
        self.during.get(name, lambda p: None)(progress)

    def open_device(self, path: Path, *, writable: bool) -> Device:
        self.calls.append(f"open {'writable' if writable else 'readable'}")
        return Device(path, writable=writable)

    def list_devices(self) -> Sequence[Any]:
        self.calls.append("list_devices")
        return LISTED

    def inspect_disk(self, device: Device, progress: Progress, *, files: bool) -> Inspection:
        self._work("inspect_disk", progress)
        return inspection(divided=self.divided, files=files)

    def plan_divide(self, device: Device, request: DivideRequest, progress: Progress) -> FakePlan:
        self.requests.append(request)
        self._work("plan_divide", progress)
        return FakePlan(divide_summary(request.peers, str(device.path)))

    def plan_undivide(
        self, device: Device, request: UndivideRequest, progress: Progress
    ) -> FakePlan:
        self._work("plan_undivide", progress)
        plan = divide_summary()
        return FakePlan(
            replace(plan, before=plan.after, after=plan.before, cells_before=plan.cells_after,
                    cells_after=plan.cells_before)
        )  # fmt: skip

    def commit_plan(self, device: Device, plan: Any, progress: Progress) -> Outcome:
        self._work("commit_plan", progress)
        return Outcome("divided", str(device.path), ("8 segments",), 4.0, 523 * MIB)

    def can_recover(self, device: Device) -> bool:
        self.calls.append("can_recover")
        return self.interrupted

    def recover_disk(
        self, device: Device, progress: Progress, *, back: bool, journal: Path | None
    ) -> Outcome:
        self._work("recover_disk", progress)
        return Outcome("backed out" if back else "nothing to do", str(device.path), (), 0.1, 0)

    def show_disk(self, device: Device) -> DividedDisk:
        self.calls.append("show_disk")
        return divided_disk()

    def ask_agent(
        self, place: Path, verb: str, arguments: dict[str, Any], progress: Progress
    ) -> dict[str, Any]:
        self.calls.append(f"ask {place}")
        self.asked.append((verb, arguments))
        self.during.get(verb, lambda p: None)(progress)
        answer = self.answers.get(verb, {})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def new_recovery_key(self) -> str:
        return "BR1-AAAAA-BBBBB"

    def run_agent(self, flags: dict[str, Any], *, log: Any, stop: Any) -> None:
        self.asked.append(("agent", dict(flags)))


def slow_steps(steps: int, *, checked: bool, step_s: float = 0.05) -> Callable[[Progress], None]:
    """Work of many steps, which may be stopped between them only if `checked`."""

    def work(progress: Progress) -> None:
        progress.phase("copying files", steps * MIB)
        for _ in range(steps):
            if checked:
                progress.check()
            time.sleep(step_s)
            progress.advance(MIB)

    return work
