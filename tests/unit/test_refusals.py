"""What cannot be divided is refused in one sentence, with its exit code and without a change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from disks import MIB, ext_disk, sparse_file
from loops import loop_device, mounted
from oracles import run

from blockrep import errors
from blockrep.cli.main import main

Divide = Callable[..., tuple[int, str]]
SIZE = 64 * MIB
FIRST = ("--first", "40M", "--peers", "1")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def divide(capfd: pytest.CaptureFixture[str]) -> Divide:
    def run_once(disk: Path, *words: str) -> tuple[int, str]:
        code = main(["divide", str(disk), *(words or FIRST), "--yes"])
        return code, capfd.readouterr().err

    return run_once


@pytest.fixture
def refused(divide: Divide) -> Callable[..., None]:
    """Divide, and expect an error of this kind that says these words."""

    def check(disk: Path, kind: type[errors.BlockrepError], says: str, *words: str) -> None:
        before = digest(disk)
        code, shown = divide(disk, *words)
        assert (code, says in shown) == (kind.exit_code, True), shown
        assert digest(disk) == before
        lines = [line for line in shown.splitlines() if line.startswith("blockrep: ")]
        assert len(lines) == 1
        assert lines[0].endswith(("The disk is unchanged.", "Nothing was changed."))
        assert "Traceback" not in shown

    return check


def test_the_disk_of_these_tests_can_be_divided(tmp_path: Path, divide: Divide) -> None:
    filesystem = ext_disk(tmp_path / "disk", SIZE)
    code, shown = divide(tmp_path / "disk")
    assert code == 0, shown
    run("e2fsck", "-fn", filesystem)


@pytest.mark.parametrize(
    ("mkfs", "says"),
    [
        ("-t ext4 -O mmp", "protected against multiple mounts (mmp)"),
        ("-t ext4 -O stable_inodes", "inode numbers may not change (stable_inodes)"),
        ("-t ext2 -r 0", "has the old revision 0"),
    ],
)
def test_filesystems_of_a_kind(
    tmp_path: Path, refused: Callable[..., None], mkfs: str, says: str
) -> None:
    disk = tmp_path / "disk"
    ext_disk(disk, SIZE, mkfs)
    refused(disk, errors.FilesystemUnsupported, says)


@pytest.mark.parametrize(
    ("command", "kind", "says"),
    [
        ("feature shared_blocks", errors.FilesystemUnsupported, "its files share blocks"),
        ("feature read-only", errors.FilesystemUnsupported, "marked read-only for good"),
        ("feature FEATURE_C31", errors.FilesystemUnsupported, "compat:0x80000000"),
        ("feature FEATURE_I30", errors.FilesystemUnsupported, "incompat:0x40000000"),
        ("feature FEATURE_R31", errors.FilesystemUnsupported, "ro_compat:0x80000000"),
        ("ssv journal_inum 0", errors.FilesystemUnsupported, "is on another device"),
        ("feature needs_recovery", errors.FilesystemNotClean, "has a journal to replay"),
        ("feature orphan_present", errors.FilesystemNotClean, "deleted files to clean up"),
        ("ssv last_orphan 12", errors.FilesystemNotClean, "deleted files to clean up"),
        ("ssv state 0", errors.FilesystemNotClean, "was not unmounted cleanly"),
        ("ssv state 3", errors.FilesystemDamaged, "kernel has flagged errors"),
        ("ssv blocks_count 4000000", errors.FilesystemDamaged, "was cut short"),
        ("clri <2>", errors.FilesystemDamaged, "e2fsck finds the filesystem damaged"),
        ("freeb 600 200", errors.FilesystemDamaged, "e2fsck finds the filesystem damaged"),
        ("sif <8> block[0] 7", errors.FilesystemDamaged, "Inode 8: an extent tree"),
    ],
)
def test_a_superblock_or_a_structure_that_forbids_it(
    tmp_path: Path,
    refused: Callable[..., None],
    command: str,
    kind: type[errors.BlockrepError],
    says: str,
) -> None:
    disk = tmp_path / "disk"
    run("debugfs", "-w", "-R", command, ext_disk(disk, SIZE))
    refused(disk, kind, says)


def test_bad_blocks(tmp_path: Path, refused: Callable[..., None]) -> None:
    disk, listed = tmp_path / "disk", tmp_path / "bad"
    listed.write_text("15000\n")
    ext_disk(disk, SIZE, f"-t ext4 -b 1024 -l {listed}")
    refused(disk, errors.FilesystemUnsupported, "list of bad blocks")


@pytest.mark.root
def test_a_journal_on_another_device(tmp_path: Path, refused: Callable[..., None]) -> None:
    journal = sparse_file(tmp_path / "journal", 32 * MIB)
    with loop_device(journal) as node:
        run("mke2fs", "-q", "-F", "-O", "journal_dev", "-b", "4096", node)
        disk = tmp_path / "disk"
        ext_disk(disk, SIZE, f"-t ext4 -b 4096 -J device={node}")
    refused(disk, errors.FilesystemUnsupported, "is on another device")


@pytest.mark.root
def test_blocks_smaller_than_sectors(tmp_path: Path, refused: Callable[..., None]) -> None:
    disk = tmp_path / "disk"
    run("mke2fs", "-q", "-t", "ext4", "-b", "1024", disk, "64M")
    with loop_device(disk, sector_bytes=4096) as node:
        refused(node, errors.FilesystemUnsupported, "blocks smaller than the device's sectors")


@pytest.mark.parametrize(
    ("path", "says"), [("boot/map", "LILO"), ("syslinux/ldlinux.sys", "SYSLINUX")]
)
def test_what_a_boot_loader_finds_by_block(
    tmp_path: Path, refused: Callable[..., None], path: str, says: str
) -> None:
    tree, file = tmp_path / "tree", tmp_path / "file"
    tree.mkdir()
    (tree / "large").write_bytes(bytes([1]) * 30 * MIB)
    file.write_bytes(os.urandom(100_000))
    disk = tmp_path / "disk"
    filesystem = ext_disk(disk, SIZE, "-t ext2 -b 4096", tree=tree)
    folder = path.split("/")[0]
    commands = (f"mkdir /{folder}", f"write {file} /{path}", "rm /large")
    run("debugfs", "-w", "-f", "-", filesystem, stdin="\n".join(commands) + "\n")
    run("e2fsck", "-fn", filesystem)
    first_blk = int(run("debugfs", "-R", f"blocks /{path}", filesystem).split()[0])
    assert first_blk > 25 * MIB // 4096
    refused(disk, errors.FilesystemUnsupported, says, "--first", "20M", "--peers", "1")


@pytest.mark.parametrize(
    ("offset", "mark", "name"),
    [
        (0, b"LUKS\xba\xbe\0\1", "crypto_LUKS"),
        (65536 + 64, b"_BHRfS_M", "btrfs"),
        (0, b"whatever", "empty"),
    ],
)
def test_other_content_in_the_way(
    tmp_path: Path, refused: Callable[..., None], offset: int, mark: bytes, name: str
) -> None:
    disk = sparse_file(tmp_path / "disk", SIZE)
    run("sfdisk", "--quiet", disk, stdin="label: gpt\nstart=1MiB, size=60MiB\n")
    with disk.open("r+b") as file:
        file.seek(MIB + offset)
        file.write(mark)
    refused(disk, errors.DoesNotFit, f"Partition 1 ({name}, 60 MiB) reaches past the divider")


def test_nothing_at_all(tmp_path: Path, refused: Callable[..., None]) -> None:
    disk = sparse_file(tmp_path / "disk", SIZE)
    refused(disk, errors.TableDamaged, "neither a partition table nor an ext filesystem")


def test_a_disk_that_is_too_full(tmp_path: Path, refused: Callable[..., None]) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(os.urandom(45 * MIB))
    disk = tmp_path / "disk"
    ext_disk(disk, SIZE, tree=tree)
    refused(disk, errors.DoesNotFit, "MiB")


def test_a_filesystem_that_was_cut_short(tmp_path: Path, refused: Callable[..., None]) -> None:
    disk = tmp_path / "disk"
    run("mke2fs", "-q", "-t", "ext4", disk, "64M")
    os.truncate(disk, 60 * MIB)
    refused(disk, errors.FilesystemDamaged, "was cut short")


@pytest.mark.parametrize(
    ("first", "peers", "kind"),
    [
        ("0", "1", errors.UsageError),
        ("64M", "1", errors.UsageError),
        ("900G", "1", errors.UsageError),
        ("62M", "1", errors.DoesNotFit),
        ("40M", "64", errors.DoesNotFit),
        ("2M", "1", errors.DoesNotFit),
    ],
)
def test_sizes_that_cannot_be(
    tmp_path: Path,
    refused: Callable[..., None],
    first: str,
    peers: str,
    kind: type[errors.BlockrepError],
) -> None:
    disk = tmp_path / "disk"
    ext_disk(disk, SIZE)
    refused(disk, kind, "", "--first", first, "--peers", peers)


def test_twice(tmp_path: Path, refused: Callable[..., None], divide: Divide) -> None:
    disk = tmp_path / "disk"
    ext_disk(disk, SIZE)
    assert divide(disk)[0] == 0
    refused(disk, errors.AlreadyDivided, "undivide")


@pytest.mark.root
def test_what_is_in_use(tmp_path: Path, refused: Callable[..., None]) -> None:
    disk = tmp_path / "disk"
    ext_disk(disk, SIZE)
    with loop_device(disk) as node:
        refused(disk, errors.DeviceBusy, f"losetup -d {node}")
        run("partx", "-a", node)
        with mounted(Path(f"{node}p1")) as root:
            refused(node, errors.DeviceBusy, f"umount {root}")


@pytest.mark.root
def test_a_device_that_cannot_be_written(tmp_path: Path, refused: Callable[..., None]) -> None:
    disk = tmp_path / "disk"
    ext_disk(disk, SIZE)
    with loop_device(disk, read_only=True) as node:
        refused(node, errors.DeviceUnsupported, "is read-only")


@pytest.mark.root
def test_repair_is_done_only_when_asked(tmp_path: Path, divide: Divide) -> None:
    """--fsck repairs and goes on; what is divided then is whole."""
    disk = tmp_path / "disk"
    filesystem = ext_disk(disk, SIZE)
    run("debugfs", "-w", "-R", "freeb 600 200", filesystem)
    assert divide(disk)[0] == errors.FilesystemDamaged.exit_code
    code, shown = divide(disk, *FIRST, "--fsck")
    assert code == 0, shown
    run("e2fsck", "-fn", filesystem)
