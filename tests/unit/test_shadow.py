"""The shadow: sparse, nameless, and what it holds is what the disk held."""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from oracles import run

from blockrep.disk.device import Device
from blockrep.divide import shadow as shadow_module
from blockrep.divide.shadow import GRAIN_BYTES, Shadow, check_room, fill_shadow
from blockrep.errors import DeviceIO, NoRoomForShadow, Stopped
from blockrep.extents import Extent
from blockrep.progress import Silent

MIB = 1 << 20


@pytest.fixture(params=["memory", "folder"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "folder" else None


def test_zeros_take_no_room(folder: Path | None) -> None:
    with Shadow(1 << 40, folder) as shadow:
        shadow.write(5 << 30, memoryview(b"x" * 4096 + bytes(16 * MIB) + b"y" * 4096))
        assert shadow.read((5 << 30) - 1, 4098) == b"\0" + b"x" * 4096 + b"\0"
        assert shadow.read((5 << 30) + 4096 + 16 * MIB, 4096) == b"y" * 4096
        assert shadow.path.stat().st_size == 1 << 40
        assert shadow.path.stat().st_blocks * 512 <= 4 * GRAIN_BYTES


def test_other_programs_can_open_it_by_its_path(folder: Path | None) -> None:
    with Shadow(16 * MIB, folder) as shadow:
        run("mke2fs", "-q", "-F", shadow.path)
        run("e2fsck", "-fn", shadow.path)
        assert shadow.read(1024 + 0x38, 2) == b"\x53\xef"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_has_no_name_and_leaves_nothing(tmp_path: Path) -> None:
    shadow = Shadow(MIB, tmp_path)
    assert list(tmp_path.iterdir()) == []
    before = open_files()
    shadow.close()
    shadow.close()
    assert open_files() == before - 1


def test_it_can_grow(folder: Path | None) -> None:
    with Shadow(MIB, folder) as shadow:
        shadow.write(0, memoryview(b"z" * 4096))
        with pytest.raises(DeviceIO, match="ends before byte"):
            shadow.read(MIB - 1, 2)
        shadow.resize(2 * MIB)
        assert shadow.size_bytes == 2 * MIB
        assert shadow.read(MIB - 1, 2) == bytes(2)
        assert shadow.read(0, 4096) == b"z" * 4096


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """Writing past it fails, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_no_room(folder: Path | None) -> None:
    with Shadow(8 * MIB, folder) as shadow, files_limited_to(4 * MIB):
        shadow.write(0, memoryview(b"x" * 4096))
        shadow.write(5 * MIB, memoryview(bytes(4096)))
        with pytest.raises(NoRoomForShadow, match="no room for the shadow"):
            shadow.write(5 * MIB, memoryview(b"x" * 4096))


def test_room_is_told_in_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_room(MIB, tmp_path)
    with pytest.raises(NoRoomForShadow, match=rf"needs 1073741824 MiB and {tmp_path} has \d+ MiB"):
        check_room(1 << 50, tmp_path)
    monkeypatch.setattr(shadow_module, "_available_memory", lambda: 64 * MIB)
    check_room(32 * MIB, None)
    with pytest.raises(NoRoomForShadow, match="half of the free memory has 32 MiB"):
        check_room(33 * MIB, None)


class StopsAfter(Silent):
    def __init__(self, checks: int) -> None:
        self.left = checks
        self.done_bytes = 0

    def advance(self, done_bytes: int) -> None:
        self.done_bytes += done_bytes

    def check(self) -> None:
        if not self.left:
            raise Stopped("stop")
        self.left -= 1


def test_it_holds_the_metadata_and_nothing_else(tmp_path: Path) -> None:
    rng = random.Random(1)
    disk = tmp_path / "disk.img"
    content = rng.randbytes(24 * MIB)
    disk.write_bytes(content)
    host, block = 3 * MIB, 1024
    metadata = [Extent(0, 3), Extent(100, 9000), Extent(20 * 1024 - 1, 1)]
    wanted = bytearray(20 * MIB)
    for start, length in metadata:
        at, size = start * block, length * block
        wanted[at : at + size] = content[host + at :][:size]
    progress = StopsAfter(100)
    with Shadow(20 * MIB, None) as shadow, Device(disk) as device:
        fill_shadow(shadow, device, host, block, metadata, progress)
        assert shadow.read(0, 20 * MIB) == wanted
        assert progress.done_bytes == 9004 * block
        with pytest.raises(Stopped):
            fill_shadow(shadow, device, host, block, metadata, StopsAfter(2))
