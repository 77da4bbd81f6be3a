"""Epochs mounted in user space, and files taken out of them, with nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import MIB, ext_disk, sparse_file
from epochs_in_memory import KEY, MemoryEpoch, make_epoch
from loops import loop_device, mounted
from manifest import Manifest, differences, read_manifest
from oracles import dumpe2fs, run

from blockrep.browse.extract import extract_files
from blockrep.browse.mount import Mount, is_dead, unmount_epoch, user_of
from blockrep.browse.view import View
from blockrep.errors import (
    DeviceBusy,
    FilesystemUnsupported,
    NotMounted,
    ReplicaDamaged,
    Stopped,
    UsageError,
)
from blockrep.programs import User
from blockrep.progress import Silent
from blockrep.transfer.plain import PlainEpoch

pytestmark = pytest.mark.root

SIZE = 40 * MIB
SOMEBODY = User(65534, 65534)


def fill(root: Path) -> None:
    """One of each kind of file."""
    (root / "dir").mkdir(mode=0o2750)
    (root / "dir" / "file").write_bytes(os.urandom(300_000))
    (root / "dir" / "holes").write_bytes(b"x")
    os.truncate(root / "dir" / "holes", 5 * MIB)
    os.link(root / "dir" / "file", root / "dir" / "hard link")
    (root / "dir" / "link").symlink_to("/etc/hostname")
    (root / "etc").symlink_to("/etc")
    os.mkfifo(root / "dir" / "fifo", 0o640)
    os.mknod(root / "dir" / "null", 0o20666, os.makedev(1, 3))
    os.setxattr(root / "dir" / "file", "user.colour", b"blue")
    secret = root / "dir" / "secret"
    secret.write_text("secret")
    secret.chmod(0o4600)
    for path in (secret, root / "dir" / "file"):
        os.chown(path, 1000, 1001)
    for path in (root / "dir").iterdir():
        os.utime(path, ns=(10**18 + 123456789, 10**18 + 987654321), follow_symlinks=False)
    (root / "other").mkdir()
    os.link(root / "dir" / "file", root / "other" / "same as dir file")


@pytest.fixture
def owner(tmp_path: Path) -> tuple[MemoryEpoch, Manifest]:
    image = tmp_path / "owner.img"
    ext_disk(image, SIZE)
    with loop_device(image, MIB, SIZE - 2 * MIB) as node, mounted(node, read_only=False) as root:
        fill(root)
    with loop_device(image, MIB, SIZE - 2 * MIB) as node, mounted(node) as root:
        manifest = read_manifest(root)
    return make_epoch(image, SIZE - MIB), manifest


@pytest.fixture
def view(owner: tuple[MemoryEpoch, Manifest]) -> View:
    return View(PlainEpoch([owner[0]], KEY))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "mnt"
    path.mkdir()
    return path


def fuse_mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if " fuse" in line]


def programs() -> list[str]:
    names = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if "blockrep-" in command and ("nbdfuse" in command or "fuse2fs" in command):
                names.append(command.replace("\0", " "))
    return names


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before, there = fuse_mounts(), folders()
    yield
    wait_until(lambda: fuse_mounts() == before and not programs())
    assert folders() == there


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("blockrep-*"))


def wait_until(is_so: object, seconds: float = 20) -> None:
    assert callable(is_so)
    limit = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < limit, (fuse_mounts(), programs())
        time.sleep(0.05)


def test_every_file_is_there_and_cannot_be_changed(
    view: View, owner: tuple[MemoryEpoch, Manifest], folder: Path
) -> None:
    with Mount(view, folder) as mount:
        assert mount.is_alive
        root = folder / "dir"
        assert (root / "file").read_bytes() == (root / "hard link").read_bytes()
        assert (root / "file").stat().st_ino == (root / "hard link").stat().st_ino
        assert (root / "link").readlink() == Path("/etc/hostname")
        assert os.getxattr(root / "file", "user.colour") == b"blue"
        assert (root / "file").stat().st_mtime == 10**9
        for change in (
            lambda: (root / "new").write_text("x"),
            lambda: (root / "file").unlink(),
            lambda: (root / "file").chmod(0o777),
        ):
            with pytest.raises(OSError, match="Read-only"):
                change()
        options = next(
            line for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if f" {folder} " in line
        )  # fmt: skip
        assert "nosuid,nodev,noexec" in options
    assert not mount.is_alive
    assert list(folder.iterdir()) == []


def test_another_user_mounts_and_reads_it_all(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    # The folder of the tests is root's alone.
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    device = Path("/dev/fuse")
    mode = device.stat().st_mode
    device.chmod(0o666)  # as udev makes it where there is one
    place = Path(tempfile.mkdtemp(prefix="other-user-"))
    try:
        os.chown(place, SOMEBODY.uid, SOMEBODY.gid)
        with Mount(view, place):
            command = ["cat", str(place / "dir" / "secret")]
            said = subprocess.run(
                command, user=65534, group=65534, capture_output=True, check=True
            )  # fmt: skip
            assert said.stdout == b"secret"
            for process in Path("/proc").iterdir():
                with contextlib.suppress(OSError):
                    if b"fuse2fs" in (process / "cmdline").read_bytes():
                        assert process.stat().st_uid == SOMEBODY.uid
    finally:
        device.chmod(mode)
        place.rmdir()


def test_unmounting_by_directory(view: View, folder: Path) -> None:
    with pytest.raises(NotMounted):
        unmount_epoch(folder)
    with Mount(view, folder) as mount:
        with pytest.raises(UsageError, match="mounted at"):
            Mount(view, folder)
        with (folder / "dir" / "file").open("rb"), pytest.raises(DeviceBusy, match="busy"):
            unmount_epoch(folder)
        unmount_epoch(folder)
        wait_until(lambda: not mount.is_alive)
    with pytest.raises(NotMounted):
        unmount_epoch(folder)


def test_the_programs_run_as_the_owner_of_the_directory(folder: Path) -> None:
    assert user_of(folder) is None
    os.chown(folder, SOMEBODY.uid, SOMEBODY.gid)
    assert user_of(folder) == SOMEBODY


def test_a_file_that_is_open_does_not_keep_it(view: View, folder: Path) -> None:
    mount = Mount(view, folder)
    with contextlib.suppress(OSError), (folder / "dir" / "file").open("rb"):  # lost when it closes
        mount.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("victim", ["keeper", "nbdfuse", "fuse2fs"])
def test_nothing_is_left_when_a_part_of_it_is_killed(view: View, folder: Path, victim: str) -> None:
    mount = Mount(view, folder)
    os.kill(pid_of(mount, victim), signal.SIGKILL)
    wait_until(lambda: not mount.is_alive)
    mount.close()
    assert not is_dead(folder)


def pid_of(mount: Mount, name: str) -> int:
    keeper = mount._keeper.pid
    if name == "keeper":
        return keeper
    children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return next(int(c) for c in children if name in Path(f"/proc/{c}/comm").read_text())


SERVE = """
import os, pickle, sys
from pathlib import Path
from blockrep.browse.mount import Mount
from blockrep.browse.view import View
from blockrep.transfer.plain import PlainEpoch
with open(sys.argv[1], "rb") as file:
    source, key = pickle.load(file)
mount = Mount(View(PlainEpoch([source], key)), Path(sys.argv[2]))
print("mounted", flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_when_the_agent_is_killed(
    owner: tuple[MemoryEpoch, Manifest], folder: Path, tmp_path: Path
) -> None:
    import pickle

    (tmp_path / "epoch").write_bytes(pickle.dumps((owner[0], KEY)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path / "epoch"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd="/",  # the source tree would be found first
    ) as agent:
        assert agent.stdout is not None and agent.stdout.readline() == b"mounted\n"
        assert (folder / "dir" / "file").exists()
        agent.kill()
    wait_until(lambda: not fuse_mounts() and not programs())
    assert list(folder.iterdir()) == []


def test_damage_is_an_error_of_the_file(
    owner: tuple[MemoryEpoch, Manifest], folder: Path, tmp_path: Path
) -> None:
    source = owner[0]
    view = View(PlainEpoch([source], KEY))
    source.rotten = {source_of_file(view, tmp_path) // 65536 + 1}
    view = View(PlainEpoch([source], KEY))
    said: list[str] = []
    with Mount(view, folder, report=said.append) as mount:
        assert (folder / "dir" / "secret").read_text() == "secret"
        with (
            pytest.raises(OSError, match=r"abort|not connected"),
            (folder / "dir" / "file").open("rb") as file,
        ):
            while file.read(4096):
                pass
        wait_until(lambda: not mount.is_alive)
    assert any("is damaged at byte" in text for text in said)
    into = tmp_path / "into"
    into.mkdir()
    view = View(PlainEpoch([source], KEY))
    with pytest.raises(ReplicaDamaged, match="not everything could be copied: epoch 1 is damaged"):
        extract_files(view, ["dir"], into, Silent())
    extract_files(view, ["dir/secret"], into, Silent())
    assert (into / "secret").read_text() == "secret"


def source_of_file(view: View, tmp_path: Path) -> int:
    """Where the blocks of dir/file begin on the disk."""
    image = tmp_path / "copy.img"
    image.write_bytes(view.read(0, view.size_bytes))
    filesystem = f"{image}?offset={MIB}"
    first = run("debugfs", "-R", "blocks /dir/file", filesystem).split()[0]
    return MIB + int(first) * int(dumpe2fs(filesystem)["Block size"])


def test_files_are_taken_out_as_they_were(
    view: View, owner: tuple[MemoryEpoch, Manifest], tmp_path: Path
) -> None:
    into = tmp_path / "into"
    into.mkdir()
    goals = extract_files(view, ["dir", "/other", "etc"], into, Silent())
    assert goals == (into / "dir", into / "other", into / "etc")
    wanted = kept_of(owner[1])
    assert not differences(wanted, kept_of(read_manifest(into)))
    assert len(wanted) == 11
    assert (into / "dir" / "holes").stat().st_blocks * 512 < MIB
    assert (into / "dir" / "file").stat().st_nlink == 3


def kept_of(manifest: Manifest) -> Manifest:
    """What a copy keeps: not when it was made, and of the times whole seconds."""
    kept: Manifest = {}
    for path, entry in manifest.items():
        if path.split("/")[0] in ("dir", "other", "etc"):
            times = {"mtime": int(str(entry["mtime"])) // 10**9}
            gone = {"atime", "ctime", "birth", "flags"}
            kept[path] = {k: v for k, v in entry.items() if k not in gone} | times
    return kept


def test_everything_is_taken_out(view: View, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    extract_files(view, ["/"], into, Silent())
    assert {p.name for p in into.iterdir()} == {"dir", "other", "etc", "lost+found"}


def test_paths_that_cannot_be(view: View, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    (into / "dir").mkdir()
    for path, why in (
        ("nothing", "the epoch has no /nothing"),
        ("other/nothing/more", "the epoch has no /other/nothing"),
        ("etc/hostname", "/etc is a symbolic link to /etc"),
        ("../etc", "not a path from the root"),
        ("dir", "is there already"),
    ):
        with pytest.raises(UsageError, match=why):
            extract_files(view, [path], into, Silent())
    with pytest.raises(UsageError, match="same name"):
        extract_files(view, ["other/x", "x"], into, Silent())
    with pytest.raises(UsageError, match="not a directory"):
        extract_files(view, ["other"], tmp_path / "no", Silent())
    assert [p.name for p in into.rglob("*")] == ["dir"]


class Stopper(Silent):
    def check(self) -> None:
        raise Stopped("stopped")


def test_a_copy_that_is_stopped(
    view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blockrep.browse import extract

    monkeypatch.setattr(extract, "POLL_S", 0.0)
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(Stopped):
        extract_files(view, ["dir"], into, Stopper())


def test_what_cannot_be_looked_into(tmp_path: Path, folder: Path) -> None:
    image = sparse_file(tmp_path / "two.img", 40 * MIB)
    script = "label: gpt\nstart=1MiB, size=8MiB\nsize=8MiB\nsize=8MiB, type=S\nsize=4MiB\n"
    run("sfdisk", "-q", image, stdin=script)
    for at in (MIB, 9 * MIB):
        run("mke2fs", "-q", "-F", "-E", f"offset={at}", image, "8M")
    with loop_device(image, 17 * MIB, 8 * MIB) as node:
        run("mkswap", "-q", node)
    view = View(PlainEpoch([make_epoch(image, 29 * MIB, key=None)], None))
    with pytest.raises(UsageError, match="in partitions 1, 2"):
        Mount(view, folder)
    with pytest.raises(FilesystemUnsupported, match="there is swap in 3"):
        Mount(view, folder, partition=3)
    with pytest.raises(FilesystemUnsupported, match="nothing known in 4"):
        Mount(view, folder, partition=4)
    with pytest.raises(UsageError, match="no partition 9"):
        Mount(view, folder, partition=9)
    with Mount(view, folder, partition=2):
        assert [p.name for p in folder.iterdir()] == ["lost+found"]
    (folder / "x").touch()
    with pytest.raises(UsageError, match="is not empty"):
        Mount(view, folder, partition=2)
    with pytest.raises(UsageError, match="is not a directory"):
        Mount(view, folder / "x", partition=2)
    (folder / "x").unlink()
