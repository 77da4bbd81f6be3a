"""Zeros on a device: by the device, by a hole, by writing them."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loops import loop_device

from blockrep.disk import device as module
from blockrep.disk.device import Device
from blockrep.errors import DeviceIO

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * (32 * MIB))
    return path


@pytest.fixture(params=["file", pytest.param("loop", marks=pytest.mark.root)])
def target(request: pytest.FixtureRequest, image: Path) -> Iterator[Path]:
    if request.param == "file":
        yield image
        return
    with loop_device(image) as node:
        yield node


def check(target: Path, image: Path) -> None:
    with Device(target, writable=True) as device:
        device.zero(512, 20 * MIB)
        device.zero(MIB, 0)
        device.flush()
        assert device.read(0, 512) == b"x" * 512
        assert device.read(512, 20 * MIB) == bytes(20 * MIB)
        assert device.read(512 + 20 * MIB, 512) == b"x" * 512
        with pytest.raises(DeviceIO, match="outside"):
            device.zero(31 * MIB, 2 * MIB)
        with pytest.raises(ValueError, match="whole sectors"):
            device.zero(1, 512)
    assert image.stat().st_size == 32 * MIB


def test_zeros(target: Path, image: Path) -> None:
    before = image.stat().st_blocks
    check(target, image)
    if target == image:  # they take no room
        assert image.stat().st_blocks <= before - 19 * MIB // 512


def test_zeros_are_written_where_nothing_else_makes_them(
    target: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    def ioctl(fd: int, request: int, *rest: object) -> object:
        if request == module.BLKZEROOUT:
            refuse()
        return fcntl.ioctl(fd, request, *rest)  # type: ignore[call-overload]

    fake = type("fcntl", (), {**vars(fcntl), "ioctl": staticmethod(ioctl)})
    monkeypatch.setattr(module, "_punch_hole", refuse)
    monkeypatch.setattr(module, "fcntl", fake)
    check(target, image)


def test_a_failure_is_an_error_of_the_device(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(module, "_punch_hole", fail)
    with (
        Device(image, writable=True) as device,
        pytest.raises(DeviceIO, match="cannot write at byte 4096"),
    ):
        device.zero(4096, 4096)
