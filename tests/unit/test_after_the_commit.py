"""What goes wrong once the disk is divided must not be told as if it were not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blockrep.disk.device import Device
from blockrep.divide import commit, prove
from blockrep.divide.commit import defragment
from blockrep.divide.prove import prove_host
from blockrep.divide.summary import DivideRequest, Join
from blockrep.errors import DeviceIO, DiskState, ProgramFailed, Stopped
from blockrep.progress import Silent

REQUEST = DivideRequest(
    first_bytes=1 << 20,
    peers=0,
    history_share=None,
    fsck=False,
    join=Join.DEFRAG,
    shadow_dir=None,
    journal=None,
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    subprocess.run(["mke2fs", "-q", "-F", path, "8M"], check=True)
    return path


def failing(error: Exception):  # type: ignore[no-untyped-def]
    def fail(*arguments: object, **named: object) -> None:
        raise error

    return fail


def test_a_stop_ends_the_passes_and_not_in_failure(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_join_once", failing(Stopped("stopped by Ctrl-C")))
    details: list[str] = []
    with Device(image) as device:
        assert defragment(device, 0, REQUEST, Silent(), details) == 0
    assert details == ["defragmenting ended early: stopped by Ctrl-C"]


def test_a_pass_that_is_locked_fails(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = DeviceIO("gone", state=DiskState.RESUMABLE)
    monkeypatch.setattr(commit, "_join_once", failing(error))
    with Device(image) as device, pytest.raises(DeviceIO):
        defragment(device, 0, REQUEST, Silent(), [])


def test_passes_use_the_folder_of_the_shadow(
    image: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders = []

    def plan_host(*arguments: object) -> None:
        folders.append(arguments[3])
        raise Stopped("enough")

    monkeypatch.setattr(commit, "plan_host", plan_host)
    request = DivideRequest(1 << 20, 0, None, False, Join.DEFRAG, tmp_path, None)
    with Device(image) as device:
        defragment(device, 0, request, Silent(), [])
    assert folders == [tmp_path]


def test_no_proof_leaves_no_claim(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove, "check_filesystem", failing(ProgramFailed("e2fsck is gone")))
    with Device(image) as device, pytest.raises(ProgramFailed) as caught:
        prove_host(device, 0, Silent())
    assert caught.value.state is DiskState.UNKNOWN


@pytest.mark.parametrize("error", [ProgramFailed("no mount"), OSError(30, "Read-only file system")])
def test_a_mount_that_cannot_be_tried_is_told(
    image: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(prove, "_mount", failing(error))
    with Device(image) as device:
        clean, mounted = prove_host(device, 0, Silent())
    assert clean == "e2fsck finds the filesystem clean"
    assert str(error) in mounted
