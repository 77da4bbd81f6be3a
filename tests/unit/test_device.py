"""The device layer on files and on loop devices of both sector sizes."""

import errno
import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from disks import sparse_file
from loops import loop_device

from blockrep.disk import device as device_module
from blockrep.disk.device import Device
from blockrep.errors import (
    DeviceBusy,
    DeviceIO,
    DeviceNotFound,
    DeviceUnsupported,
    PermissionMissing,
)

SIZE_BYTES = 1 << 20
CHUNK_BYTES = 16384

LoopMaker = Callable[..., Path]

pytestmark = pytest.mark.root


@pytest.fixture
def content() -> bytes:
    return b"".join(i.to_bytes(8, "little") for i in range(SIZE_BYTES // 8))


@pytest.fixture
def image(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(content)
    return path


@pytest.fixture
def attach() -> Iterator[LoopMaker]:
    """Binds a file to a loop device for the time of a test."""
    with ExitStack() as stack:
        yield lambda file, **options: stack.enter_context(loop_device(file, **options))


@pytest.fixture(params=["file", "loop512", "loop4096"])
def disk(request: pytest.FixtureRequest, image: Path) -> Path:
    if request.param == "file":
        return image
    attach: LoopMaker = request.getfixturevalue("attach")
    return attach(image, sector_bytes=int(request.param.removeprefix("loop")))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "CHUNK_BYTES", CHUNK_BYTES)


def test_size_and_sector(disk: Path, request: pytest.FixtureRequest) -> None:
    with Device(disk) as device:
        assert device.size_bytes == SIZE_BYTES
        assert device.sector_bytes == (4096 if "4096" in request.node.name else 512)
        assert device.is_block == ("loop" in request.node.name)


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 0),
        (0, 1),
        (0, SIZE_BYTES),
        (1, 1),
        (511, 2),
        (4095, 4098),
        (4096, 4096),
        (CHUNK_BYTES - 1, 2),
        (CHUNK_BYTES - 7, 3 * CHUNK_BYTES + 9),
        (SIZE_BYTES - 1, 1),
        (SIZE_BYTES - 4097, 4097),
        (SIZE_BYTES, 0),
    ],
)
@pytest.mark.usefixtures("small_chunks")
def test_read_any_range(disk: Path, content: bytes, offset: int, length: int) -> None:
    with Device(disk) as device:
        assert device.read(offset, length) == content[offset : offset + length]


@pytest.mark.parametrize(
    ("offset", "length"), [(SIZE_BYTES, 1), (SIZE_BYTES - 1, 2), (-1, 1), (0, -1), (1 << 70, 1)]
)
def test_read_outside(disk: Path, offset: int, length: int) -> None:
    with Device(disk) as device, pytest.raises(DeviceIO, match="lie outside its 1048576"):
        device.read(offset, length)


def test_file_that_ends_within_a_sector(tmp_path: Path) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(bytes(range(250)) * 40)
    with Device(path) as device:
        assert device.read(9990, 10) == bytes(range(240, 250))
        assert device.read(0, 10000) == path.read_bytes()


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
@pytest.mark.usefixtures("small_chunks")
def test_write_whole_sectors(disk: Path, content: bytes, count: int) -> None:
    with Device(disk, writable=True) as device:
        offset = device.sector_bytes * 3
        data = os.urandom(device.sector_bytes * count)
        device.write(offset, data)
        device.flush()
        expected = content[:offset] + data + content[offset + len(data) :]
        assert device.read(0, SIZE_BYTES) == expected
    assert disk.read_bytes() == expected


def test_write_the_last_sector(disk: Path) -> None:
    with Device(disk, writable=True) as device:
        data = b"\xee" * device.sector_bytes
        device.write(SIZE_BYTES - device.sector_bytes, memoryview(data))
        assert device.read(SIZE_BYTES - 2 * len(data), 2 * len(data))[len(data) :] == data


@pytest.mark.parametrize(("offset", "length"), [(1, 4096), (0, 100), (256, 4096), (4096, 4097)])
def test_write_of_a_part_of_a_sector(disk: Path, content: bytes, offset: int, length: int) -> None:
    with Device(disk, writable=True) as device:
        with pytest.raises(ValueError, match="whole sectors"):
            device.write(offset, bytes(length))
        assert device.read(0, SIZE_BYTES) == content


def test_a_write_keeps_to_the_device_s_own_sector(image: Path, attach: LoopMaker) -> None:
    loop = attach(image, sector_bytes=4096)
    with Device(loop, writable=True) as device, pytest.raises(ValueError, match="whole sectors"):
        device.write(512, bytes(512))


def test_write_outside_writes_nothing(disk: Path, content: bytes) -> None:
    with Device(disk, writable=True) as device:
        with pytest.raises(DeviceIO, match="lie outside"):
            device.write(SIZE_BYTES - 4096, bytes(8192))
        assert device.read(0, SIZE_BYTES) == content


def test_an_image_on_a_disk_of_large_sectors(tmp_path: Path, attach: LoopMaker) -> None:
    """O_DIRECT follows the sectors of the disk below the file, not those of the image."""
    outer = sparse_file(tmp_path / "outer.img", 16 << 20)
    loop = attach(outer, sector_bytes=4096)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(loop)], check=True)
    folder = tmp_path / "mounted"
    folder.mkdir()
    subprocess.run(["mount", str(loop), str(folder)], check=True)
    try:
        image = folder / "disk.img"
        image.write_bytes(bytes(SIZE_BYTES))
        with Device(image, writable=True) as device:
            device.write(512, b"\x11" * 512)
            device.write(4096, b"\x22" * 4096)
            device.flush()
            assert device.read(0, 8192) == (
                bytes(512) + b"\x11" * 512 + bytes(3072) + b"\x22" * 4096
            )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_what_is_flushed_is_synchronised(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised: list[Path] = []
    fsync = os.fsync

    def watch(fd: int) -> None:
        synchronised.append(Path(f"/proc/self/fd/{fd}").resolve())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watch)
    with Device(disk, writable=True) as device:
        device.write(0, bytes(4096))
        assert synchronised == []
        device.flush()
    assert synchronised == [disk.resolve()]


# Who else may use it


def test_two_writers(disk: Path) -> None:
    with Device(disk, writable=True):
        with pytest.raises(DeviceBusy, match=rf"^{disk} is in use"):
            Device(disk, writable=True)
        with Device(disk) as reader:
            assert len(reader.read(0, 512)) == 512
    with Device(disk, writable=True):
        pass


def _hold(path: Path, ready: object, leave: object) -> None:
    with Device(path, writable=True):
        ready.set()  # type: ignore[attr-defined]
        leave.wait(60)  # type: ignore[attr-defined]


def test_a_writer_in_another_process_that_is_killed(disk: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(disk, ready, leave))
    child.start()
    try:
        assert ready.wait(30)
        with pytest.raises(DeviceBusy):
            Device(disk, writable=True)
    finally:
        child.kill()
        child.join()
        child.close()
    with Device(disk, writable=True):
        pass


def test_a_mounted_device(tmp_path: Path, image: Path, attach: LoopMaker) -> None:
    loop = attach(image)
    subprocess.run(["mke2fs", "-q", str(loop)], check=True, capture_output=True)
    folder = tmp_path / "mounted"
    folder.mkdir()
    subprocess.run(["mount", str(loop), str(folder)], check=True)
    try:
        with pytest.raises(DeviceBusy, match="is in use"):
            Device(loop, writable=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_failed_open_lets_go(image: Path, attach: LoopMaker) -> None:
    loop = attach(image, read_only=True)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(DeviceUnsupported, match="is read-only"):
        Device(loop, writable=True)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_close_twice(image: Path) -> None:
    device = Device(image)
    device.close()
    device.close()


# What is not a disk


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(DeviceNotFound, match="nothing does not exist"):
        Device(tmp_path / "nothing")


@pytest.mark.parametrize("path", ["/", "/dev/null"])
def test_neither_a_block_device_nor_a_file(path: str) -> None:
    with pytest.raises(DeviceUnsupported, match="neither a block device nor a file"):
        Device(Path(path))


def test_not_permitted(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionMissing, match=f"no permission to open {image}"):
        Device(image)


# A medium that fails


def failing(*_: object) -> int:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_write_that_fails(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwritev", failing)
    with (
        Device(disk, writable=True) as device,
        pytest.raises(DeviceIO, match=rf"^{disk}: cannot write at byte 8192: Input/output error$"),
    ):
        device.write(8192, bytes(4096))


def test_a_flush_that_fails(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing)
    with (
        Device(disk, writable=True) as device,
        pytest.raises(DeviceIO, match="cannot flush"),
    ):
        device.flush()


def test_short_transfers_are_continued(
    image: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv, pwritev = os.preadv, os.pwritev

    def half(view: memoryview) -> memoryview:
        return view[: max(512, len(view) // 1024 * 512)]

    def short_read(fd: int, views: list[memoryview], offset: int) -> int:
        return preadv(fd, [half(views[0])], offset)

    def short_write(fd: int, views: list[memoryview], offset: int) -> int:
        return pwritev(fd, [half(views[0])], offset)

    monkeypatch.setattr(os, "preadv", short_read)
    monkeypatch.setattr(os, "pwritev", short_write)
    with Device(image, writable=True) as device:
        assert device.read(3, 70000) == content[3:70003]
        device.write(512, content[: 5 * 512])
    assert image.read_bytes()[512 : 6 * 512] == content[: 5 * 512]


def test_a_device_that_ends_early(image: Path, attach: LoopMaker) -> None:
    """A loop device over a file that was cut off fails past the cut, as a bad disk does."""
    loop = attach(image)
    os.truncate(image, SIZE_BYTES // 2)
    with Device(loop) as device:
        assert len(device.read(0, SIZE_BYTES // 2)) == SIZE_BYTES // 2
        with pytest.raises(DeviceIO, match="cannot read at byte 786432: Input/output error"):
            device.read(786432, 4096)


def test_a_file_that_ends_early(image: Path) -> None:
    with Device(image) as device:
        os.truncate(image, SIZE_BYTES // 2)
        with pytest.raises(DeviceIO, match="ends at byte 524288, before its stated size"):
            device.read(SIZE_BYTES // 2, 4096)


def test_a_path_that_leads_nowhere_is_not_found(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (loop, tmp_path / ("n" * 300)):
        with pytest.raises(DeviceNotFound):
            Device(path)


def test_a_file_that_cannot_be_read_is_an_io_error() -> None:
    with pytest.raises(DeviceIO, match="cannot read at byte 0"):
        Device(Path("/proc/self/mem"))


def test_threads_do_not_mix_what_they_read_and_write(tmp_path: Path) -> None:
    """The segments of a disk are used by several owners at once."""
    path = sparse_file(tmp_path / "disk", 16 << 20)
    with Device(path, writable=True) as device, ThreadPoolExecutor(4) as pool:

        def work(number: int) -> bool:
            at, content = number * SIZE_BYTES, bytes([number]) * SIZE_BYTES
            for _ in range(20):
                device.write(at, content)
                if device.read(at, SIZE_BYTES) != content:
                    return False
            return True

        assert all(pool.map(work, range(1, 9)))
