"""Damaged, dirty, unsupported filesystems: one sentence, a documented code, nothing changed."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault.outside import Geometry, Wrong, check_filesystem, read_geometry, read_table
from fault.scratch import scratch_folder
from fault.truth import find_host
from images.build import Disk, build_disk
from images.kinds import BY_NAME, KINDS, Kind
from loops import loop_device, mounted
from manifest import Manifest, filesystem_manifest

from blockrep.cli.exit_codes import exit_codes

PROGRAM = Path(sys.executable).with_name("blockrep")
SECONDS = 60
BASE = BY_NAME["ext4_4k"]
DOCUMENTED = {code for code, _ in exit_codes()}
REFUSED = {30, 31, 32}

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Patient:
    """A copy of a disk, to be damaged."""

    disk: Disk
    image: Path

    @property
    def superblock_at(self) -> int:
        return self.disk.host_start_bytes + 1024

    def poke(self, offset: int, data: bytes) -> None:
        """Write at an offset of the disk."""
        with self.image.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def peek(self, offset: int, length: int) -> bytes:
        with self.image.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def superblock_field(self, field: str, value: str) -> None:
        """Through debugfs, which keeps the checksum right."""
        self.debugfs(f"ssv {field} {value}")

    def debugfs(self, command: str) -> None:
        target = f"{self.image}?offset={self.disk.host_start_bytes}"
        subprocess.run(
            ["debugfs", "-w", "-R", command, target], check=True, capture_output=True, timeout=30
        )

    def on_loop(self, *command: str) -> None:
        disk = self.disk
        with loop_device(self.image, disk.host_start_bytes, disk.host_length_bytes) as device:
            subprocess.run([*command, str(device)], check=False, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def base() -> Disk:
    return build_disk(BASE)


@pytest.fixture(scope="module")
def wanted(base: Disk) -> Manifest:
    return filesystem_manifest(base.path, base.host_start_bytes, base.host_length_bytes)


@pytest.fixture(scope="module")
def geometry(base: Disk) -> Geometry:
    return read_geometry(base.path, base.host_start_bytes, base.host_length_bytes)


def copy_of(disk: Disk, folder: Path) -> Patient:
    image = shutil.copyfile(disk.path, folder / "disk.img")
    return Patient(disk, Path(image))


def divide(patient: Patient, *more: str) -> subprocess.CompletedProcess[str]:
    """`blockrep divide`, which must come back in time, in whatever way."""
    first = str(patient.disk.first_bytes)
    return subprocess.run(
        [
            str(PROGRAM),
            "divide",
            str(patient.image),
            "--first",
            first,
            "--peers",
            "1",
            "--yes",
            *more,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def digest(image: Path) -> str:
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_refused(patient: Patient, codes: set[int] | None = None) -> str:
    """Refused with a documented code and one sentence, the image untouched; what it said."""
    before = digest(patient.image)
    done = divide(patient)
    assert done.returncode in (codes or DOCUMENTED - {0, 1}), done.stderr
    check_words(done)
    assert digest(patient.image) == before, f"it changed the image: {done.stderr}"
    return done.stderr


def check_words(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode >= 0, f"killed by signal {-done.returncode}"
    assert "Traceback" not in done.stderr + done.stdout
    complaints = [line for line in done.stderr.splitlines() if line.startswith("blockrep: ")]
    assert len(complaints) == 1, done.stderr


def check_refused_or_right(patient: Patient, wanted: Manifest) -> str:
    """Refused as above, or divided with every file in place (the damage hit nothing in use)."""
    before = digest(patient.image)
    done = divide(patient)
    assert done.returncode in DOCUMENTED, done.stderr
    if done.returncode:
        check_words(done)
        assert done.returncode != 1, done.stderr
        assert digest(patient.image) == before, f"it changed the image: {done.stderr}"
        return "refused"
    start = patient.disk.host_start_bytes
    host = find_host(read_table(patient.image), start, patient.image.stat().st_size)
    check_filesystem(patient.image, start, host.length_bytes, wanted, mountable=True)
    return "divided"


# Seeded damage, by the structure it hits.

Damage = Callable[[Patient, Geometry, random.Random], None]


def _hurt(patient: Patient, start: int, length: int, rng: random.Random) -> None:
    """Flip bits, write nonsense, or write zeros somewhere in a range of the disk."""
    sort = rng.choice(("bits", "noise", "zeros", "ones"))
    if sort == "bits":
        for _ in range(rng.randint(1, 8)):
            at = start + rng.randrange(length)
            patient.poke(at, bytes([patient.peek(at, 1)[0] ^ 1 << rng.randrange(8)]))
        return
    size = min(length, rng.choice((4, 64, 512, 4096)))
    at = start + rng.randrange(length - size + 1)
    fill = {"noise": rng.randbytes(size), "zeros": bytes(size), "ones": b"\xff" * size}[sort]
    patient.poke(at, fill)


def hurt_superblock(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    _hurt(patient, patient.superblock_at, 1024, rng)


def hurt_superblock_checked(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    """A wrong value under a right checksum, so that the parser itself has to notice."""
    field = rng.choice(
        ("inodes_count", "blocks_count", "free_blocks_count", "first_data_block", "log_block_size",
         "blocks_per_group", "inodes_per_group", "inode_size", "desc_size", "first_ino",
         "reserved_gdt_blocks", "journal_inum", "log_groups_per_flex", "r_blocks_count",
         "log_cluster_size", "clusters_per_group", "free_inodes_count", "first_meta_bg")
    )  # fmt: skip
    value = rng.choice((0, 1, 3, 7, 31, 255, 4097, 65535, 2**31, 2**32 - 1))
    target = f"{patient.image}?offset={patient.disk.host_start_bytes}"
    subprocess.run(  # debugfs refuses some itself
        ["debugfs", "-w", "-R", f"ssv {field} {value}", target], check=False,
        capture_output=True, timeout=30,
    )  # fmt: skip


def hurt_descriptors(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    at = patient.disk.host_start_bytes + geometry.block_bytes
    _hurt(patient, at, 64 * (geometry.blocks // 2048), rng)


def _group_field(patient: Patient, group: int, offset: int) -> int:
    at = patient.disk.host_start_bytes + 4096 + group * 64 + offset
    return int(struct.unpack("<I", patient.peek(at, 4))[0])


def hurt_bitmaps(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    block = _group_field(patient, rng.randrange(geometry.blocks // 2048), rng.choice((0, 4)))
    _hurt(patient, patient.disk.host_start_bytes + block * 4096, 256, rng)


def hurt_inodes(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    block = _group_field(patient, rng.choice((0, 0, 4, 6)), 8)
    _hurt(patient, patient.disk.host_start_bytes + block * 4096, 100 * 256, rng)


DATA_RUN = r"\((?:\d+-)?\d+\):(\d+)"
TREE_NODE = r"\(ETB\d+\):(\d+)"


def _blocks_of(patient: Patient, path: str, pattern: str = DATA_RUN) -> list[int]:
    """The first blocks of a file's runs, or the nodes of its extent tree, as debugfs lists them."""
    target = f"{patient.image}?offset={patient.disk.host_start_bytes}"
    done = subprocess.run(
        ["debugfs", "-R", f"stat {path}", target], check=True, capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    return [int(block) for block in re.findall(pattern, done.stdout)]


def hurt_extent_tree(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    block = rng.choice(_blocks_of(patient, "/interleaved/a", TREE_NODE))
    _hurt(patient, patient.disk.host_start_bytes + block * 4096, 4096, rng)


def hurt_directory(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    block = _blocks_of(patient, rng.choice(("/", "/wide", "/d03", "/deep")))[0]
    _hurt(patient, patient.disk.host_start_bytes + block * 4096, 4096, rng)


def hurt_journal(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    block = _blocks_of(patient, "<8>")[0]
    _hurt(patient, patient.disk.host_start_bytes + block * 4096, 256, rng)


def hurt_xattrs(patient: Patient, geometry: Geometry, rng: random.Random) -> None:
    target = f"{patient.image}?offset={patient.disk.host_start_bytes}"
    done = subprocess.run(
        ["debugfs", "-R", "stat /xattrs/block", target], check=True, capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip
    found = re.search(r"File ACL: (\d+)", done.stdout)
    assert found
    _hurt(patient, patient.disk.host_start_bytes + int(found[1]) * 4096, 1024, rng)


DAMAGES: tuple[Damage, ...] = (
    hurt_superblock, hurt_superblock_checked, hurt_descriptors, hurt_bitmaps, hurt_inodes,
    hurt_extent_tree, hurt_directory, hurt_journal, hurt_xattrs,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_seeded_damage(
    damage: Damage,
    base: Disk,
    wanted: Manifest,
    geometry: Geometry,
    seed: int,
    request: pytest.FixtureRequest,
) -> None:
    rounds = 60 if request.config.getoption("--all") else 4
    for number in range(rounds):
        rng = random.Random(f"{seed}/{damage.__name__}/{number}")
        with scratch_folder() as folder:
            patient = copy_of(base, folder)
            damage(patient, geometry, rng)
            try:
                check_refused_or_right(patient, wanted)
            except (AssertionError, Wrong, subprocess.TimeoutExpired) as error:
                pytest.fail(f"seed {seed}, round {number}: {error}")


# States and features that are refused by name.


def truncate(patient: Patient) -> None:
    with patient.image.open("r+b") as file:
        file.truncate(30 << 20)


def pull_the_plug(patient: Patient) -> None:
    """A copy of a mounted filesystem: its journal has to be replayed."""
    disk = patient.disk
    snapshot = patient.image.with_suffix(".snapshot")
    with (
        loop_device(patient.image, disk.host_start_bytes, disk.host_length_bytes) as device,
        mounted(device, read_only=False) as root,
    ):
        (root / "new").write_bytes(b"in the journal only")
        subprocess.run(["sync", "-f", str(root)], check=True)
        shutil.copyfile(patient.image, snapshot)
    snapshot.replace(patient.image)


def leave_an_orphan(patient: Patient) -> None:
    patient.superblock_field("last_orphan", "1500")


def flag_errors(patient: Patient) -> None:
    patient.superblock_field("state", "2")


def flag_unclean(patient: Patient) -> None:
    patient.superblock_field("state", "0")


def need_recovery(patient: Patient) -> None:
    patient.debugfs("feature needs_recovery")


def add_mmp(patient: Patient) -> None:
    patient.on_loop("tune2fs", "-f", "-E", "mmp_update_interval=1", "-O", "mmp")


def share_blocks(patient: Patient) -> None:
    patient.debugfs("feature shared_blocks")


def stable_inodes(patient: Patient) -> None:
    patient.debugfs("feature stable_inodes")


def external_journal(patient: Patient) -> None:
    patient.superblock_field("journal_inum", "0")
    patient.superblock_field("journal_dev", "2049")


def unknown_incompat(patient: Patient) -> None:
    patient.debugfs("feature FEATURE_I25")


def unknown_ro_compat(patient: Patient) -> None:
    patient.debugfs("feature FEATURE_R25")


def unknown_compat(patient: Patient) -> None:
    patient.debugfs("feature FEATURE_C25")


def bad_blocks(patient: Patient) -> None:
    listed = patient.image.with_suffix(".bad")
    listed.write_text("9000\n9001\n")
    patient.on_loop("e2fsck", "-fy", "-l", str(listed))


def fill_up(patient: Patient) -> None:
    disk = patient.disk
    with (
        loop_device(patient.image, disk.host_start_bytes, disk.host_length_bytes) as device,
        mounted(device, read_only=False) as root,
        (root / "full").open("wb") as file,
    ):
        try:
            while True:
                file.write(b"x" * 65536)
        except OSError:
            pass


def no_filesystem(patient: Patient) -> None:
    patient.poke(patient.superblock_at, bytes(1024))


STATES: tuple[tuple[Callable[[Patient], None], set[int]], ...] = (
    (truncate, {20, 21, 32}),
    (pull_the_plug, {31}),
    (leave_an_orphan, {31, 32}),
    (flag_errors, {31, 32}),
    (flag_unclean, {31, 32}),
    (need_recovery, {31, 32}),
    (add_mmp, {30}),
    (share_blocks, {30}),
    (stable_inodes, {30}),
    (external_journal, {30, 32}),
    (unknown_incompat, {30}),
    (unknown_ro_compat, {30}),
    (unknown_compat, {30}),
    (bad_blocks, {30, 32}),
    (fill_up, {40}),
    (no_filesystem, {30, 32, 40}),
)


@pytest.mark.parametrize(("change", "codes"), STATES, ids=[c.__name__ for c, _ in STATES])
def test_refused_by_name(change: Callable[[Patient], None], codes: set[int], base: Disk) -> None:
    with scratch_folder() as folder:
        patient = copy_of(base, folder)
        before = digest(patient.image)
        change(patient)
        assert digest(patient.image) != before, "the test did not change the image"
        check_refused(patient, codes)


@pytest.mark.parametrize(
    "change", [pull_the_plug, flag_unclean], ids=["pull_the_plug", "flag_unclean"]
)
def test_fsck_makes_it_possible(change: Callable[[Patient], None], base: Disk) -> None:
    with scratch_folder() as folder:
        patient = copy_of(base, folder)
        change(patient)
        done = divide(patient, "--fsck")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"x" * 10_000], ids=["empty", "zeros", "text"])
def test_not_a_disk(data: bytes, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(data)
    kind = next(kind for kind in KINDS if kind.table == "none")
    check_refused(Patient(_fake_disk(kind, image), image))


def _fake_disk(kind: Kind, image: Path) -> Disk:
    return Disk(kind, image, 0, image.stat().st_size)
