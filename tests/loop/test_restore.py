"""Epochs restored onto loop devices and images, judged by sgdisk, sfdisk, blkid and e2fsck."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from epochs_in_memory import KEY, MemoryEpoch, make_epoch
from loops import loop_device
from oracles import fsck, run

from blockrep.disk.device import Device
from blockrep.errors import (
    BlockrepError,
    DeviceBusy,
    DeviceIO,
    DeviceUnsupported,
    DiskState,
    DoesNotFit,
    FilesystemUnsupported,
    ReplicaDamaged,
    SameIdentity,
    TableDamaged,
    TableUnsupported,
    WouldOverwrite,
    WrongKey,
)
from blockrep.progress import Silent
from blockrep.segment.epoch import PartitionKind
from blockrep.transfer.plain import PlainEpoch
from blockrep.transfer.restore import RestorePlan, plan_restore
from blockrep.transfer.restore_apply import RestoreOutcome, apply_restore
from blockrep.transfer.restore_target import open_target

pytestmark = pytest.mark.root

AREA = "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE40A5A"
SEGMENT = "B10C4EA0-5EC0-4D1A-9A3E-0D1F1DE4005E"
SWAP_UUID = "11111111-2222-3333-4444-555555555555"
ROOT_UUID = "66666666-7777-8888-9999-aaaaaaaaaaaa"
DISK_MIB = 96
ROOT_MIB, SWAP_MIB = 40, 8  # from 2 MiB on, and behind it
CONTENT = (2 + ROOT_MIB + SWAP_MIB) * MIB

SCRIPTS = {
    "gpt": (
        "label: gpt\nlabel-id: 01234567-89AB-CDEF-0123-456789ABCDEF\n"
        "start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios\n"
        f"start=2MiB, size={ROOT_MIB}MiB, type=L, name=root, attrs=LegacyBIOSBootable\n"
        f"size={SWAP_MIB}MiB, type=S\n"
        f'start=52MiB, size=4MiB, type={AREA}, attrs="GUID:62,63"\n'
        f"size=32MiB, type={SEGMENT}\n"
    ),
    "dos": (
        "label: dos\nlabel-id: 0xcafe1234\n"
        f"start=1MiB, size=1MiB, type=da\nstart=2MiB, size={ROOT_MIB}MiB, bootable\n"
        f"start={2 + ROOT_MIB}MiB, type=5\n"
        f"start={3 + ROOT_MIB}MiB, size={SWAP_MIB - 1}MiB, type=82\n"
        "start=52MiB, size=4MiB, type=da\n"
        "start=57MiB, size=30MiB, type=da\n"
    ),
}
SWAP_START = {"gpt": (2 + ROOT_MIB) * MIB, "dos": (3 + ROOT_MIB) * MIB, "bare": 0}


@dataclass
class Owner:
    kind: str
    image: Path
    source: MemoryEpoch

    @property
    def root_start(self) -> int:
        return 0 if self.kind == "bare" else 2 * MIB


def fill(folder: Path) -> Path:
    tree = folder / "tree"
    (tree / "etc").mkdir(parents=True)
    for number in range(40):
        (tree / "etc" / f"file{number}").write_bytes(os.urandom(number * 9000))
    (tree / "link").symlink_to("/etc/passwd")
    return tree


def make_owner(
    folder: Path,
    kind: str,
    *,
    key: bytes | None = KEY,
    sector_bytes: int = 512,
    blocks: int = 4096,
) -> Owner:
    """A divided disk of an owner, old rubbish in its free blocks, and the epoch of it."""
    image = folder / "owner.img"
    image.write_bytes(os.urandom(MIB) * DISK_MIB)
    with image.open("r+b") as disk:
        # A boot loader lies behind a DOS table, or in a partition of its own.
        disk.write(bytes(MIB // 2) + b"core image" + bytes(MIB // 2 - 10))
        disk.write(b"the gap" + bytes(MIB - 7))
    tree = fill(folder)
    if kind == "bare":
        run("mke2fs", "-q", "-F", "-b", blocks, "-d", tree, "-U", ROOT_UUID, image, "40M")
        content = 40 * MIB
    else:
        table(image, kind, sector_bytes)
        with image.open("r+b") as disk:
            disk.write(b"\xeb\x63boot code here")
        offset = f"offset={2 * MIB}"
        size = f"{ROOT_MIB * MIB // blocks}"
        run("mke2fs", "-q", "-F", "-b", blocks, "-E", offset, "-d", tree, "-U", ROOT_UUID, image,
            size)  # fmt: skip
        with loop_device(image, SWAP_START[kind], (SWAP_MIB - 1) * MIB) as node:
            run("mkswap", "-q", "-L", "my swap", "-U", SWAP_UUID, node)
        content = CONTENT
    source = make_epoch(
        image,
        content,
        key=key,
        sector_bytes=sector_bytes,
        partitions=listed(kind),
        skip=free_blocks(image, kind, blocks),
    )
    return Owner(kind, image, source)


def table(image: Path, kind: str, sector_bytes: int) -> None:
    with loop_device(image, sector_bytes=sector_bytes) as node:
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", node, stdin=SCRIPTS[kind])


def listed(kind: str) -> list[tuple[int, PartitionKind, int, int]]:
    if kind == "bare":
        return [(0, PartitionKind.EXT, 0, 40 * MIB)]
    root = (2, PartitionKind.EXT, 2 * MIB, ROOT_MIB * MIB)
    if kind == "gpt":
        return [root, (3, PartitionKind.SWAP, SWAP_START[kind], SWAP_MIB * MIB)]
    return [root, (5, PartitionKind.SWAP, SWAP_START[kind], (SWAP_MIB - 1) * MIB)]


def free_blocks(image: Path, kind: str, unit: int):  # type: ignore[no-untyped-def]
    """Whether a block of 4 KiB is free in the ext, or behind the header of the swap."""
    start = 0 if kind == "bare" else 2 * MIB
    text = run("dumpe2fs", image if kind == "bare" else f"{image}?offset={start}")
    free: set[int] = set()
    for line in text.splitlines():
        if line.startswith("  Free blocks: "):
            for item in filter(None, line.split(":")[1].strip().split(", ")):
                first, _, last = item.partition("-")
                free.update(range(int(first), int(last or first) + 1))
    per = 4096 // unit
    swap = SWAP_START[kind] // 4096

    def is_free(block: int) -> bool:
        if swap and swap < block < swap + SWAP_MIB * 256:
            return True
        own = (block - start // 4096) * per
        return block * 4096 >= start and all(own + n in free for n in range(per))

    return is_free


def restore(
    owner: Owner, target: Path, *, verify: bool = True, sources: list[MemoryEpoch] | None = None,
    key: bytes | None = KEY, accept_damage: bool = False, overwrite: Path | None = None,
) -> tuple[RestorePlan, RestoreOutcome]:  # fmt: skip
    plain = PlainEpoch(sources or [owner.source], key)
    with open_target(target, overwrite=overwrite) as device:
        plan = plan_restore(plain, device)
        done = apply_restore(
            device, plan, plain, Silent(), verify=verify, accept_damage=accept_damage
        )
    return plan, done


def digest(path: Path, start: int, length: int) -> str:
    total = hashlib.sha256()
    with path.open("rb") as disk:
        disk.seek(start)
        for at in range(0, length, MIB):
            total.update(disk.read(min(MIB, length - at)))
    return total.hexdigest()


def expected_content(owner: Owner) -> Path:
    """What the content should be: the owner's, zeros where nothing is stored."""
    path = owner.image.with_name("expected.img")
    with owner.image.open("rb") as disk, sparse_file(path, DISK_MIB * MIB).open("r+b") as out:
        for chunk, (mask, _) in owner.source.stored.items():
            for index in range(16):
                if mask >> index & 1:
                    at = chunk * 65536 + index * 4096
                    out.seek(at)
                    out.write(os.pread(disk.fileno(), 4096, at))
    return path


def sfdisk(path: Path) -> dict[str, object]:
    return json.loads(run("sfdisk", "-J", path))["partitiontable"]  # type: ignore[no-any-return]


def check_equal(owner: Owner, target: Path) -> None:
    """Everything behind the table and its gap; the first sector's code."""
    length = owner.source.epoch.content_bytes
    expected = expected_content(owner)
    if owner.kind == "bare":
        assert digest(target, 0, length) == digest(expected, 0, length)
    else:
        assert digest(target, MIB, ROOT_MIB * MIB + MIB) == digest(
            expected, MIB, ROOT_MIB * MIB + MIB
        )
        with target.open("rb") as disk:
            assert disk.read(16) == b"\xeb\x63boot code here"
            disk.seek(MIB // 2)
            assert disk.read(10) == b"core image"
    with loop_device(target, owner.root_start, 40 * MIB, read_only=True) as node:
        fsck(node)


@pytest.mark.parametrize("kind", ["gpt", "dos", "bare"])
@pytest.mark.parametrize("size_mib", [52, 96, 130])
def test_restored_onto_disks_of_other_sizes(tmp_path: Path, kind: str, size_mib: int) -> None:
    owner = make_owner(tmp_path, kind)
    before = {} if kind == "bare" else sfdisk(owner.image)
    target = sparse_file(tmp_path / "target.img", size_mib * MIB)
    target.write_bytes(os.urandom(MIB) * size_mib)
    with loop_device(target) as node:
        plan, done = restore(owner, node)
        check_equal(owner, node)
        check_table(kind, before, node)
        check_swap(kind, node)
    assert done.damaged == ()
    assert plan.stored_bytes == owner.source.epoch.stored_bytes
    assert any("The disk has" in note for note in plan.notes) == (size_mib != DISK_MIB)


def check_table(kind: str, before: dict[str, object], node: Path) -> None:
    if kind == "bare":
        assert run("sfdisk", "-d", node, ok=(1,)) == ""
        return
    if kind == "gpt":
        assert "No problems found" in run("sgdisk", "-v", node)
    after = sfdisk(node)
    assert after["id"] == before["id"] and after["label"] == before["label"]
    count = 3 if kind == "gpt" else 4
    kept = [strip(part) for part in before["partitions"][:count]]  # type: ignore[index]
    found = [strip(part) for part in after["partitions"]]  # type: ignore[attr-defined]
    if kind == "dos":  # the container ends with what is left in it
        kept[2]["size"] = (SWAP_MIB * MIB) // 512
    assert found == kept
    names = sorted(p.name for p in Path("/sys/block", node.name).glob(f"{node.name}p*"))
    assert names == [f"{node.name}p{n}" for n in ((1, 2, 3) if kind == "gpt" else (1, 2, 3, 5))]


def strip(part: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in part.items() if key != "node"}


def check_swap(kind: str, node: Path) -> None:
    if kind == "bare":
        return
    said = run("blkid", "--probe", "--offset", SWAP_START[kind], "--output", "export", node)
    assert f"UUID={SWAP_UUID}" in said and "LABEL=my\\ swap" in said


def test_restored_onto_larger_sectors(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "gpt")
    before = sfdisk(owner.image)
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    with loop_device(target, sector_bytes=4096) as node:
        plan, _ = restore(owner, node)
        check_equal(owner, node)
        assert "No problems found" in run("sgdisk", "-v", node)
        after = sfdisk(node)
        check_swap("gpt", node)
    assert after["sectorsize"] == 4096 and after["id"] == before["id"]
    for old, new in zip(before["partitions"], after["partitions"], strict=False):  # type: ignore[call-overload]
        assert (old["uuid"], old["type"], old.get("name")) == (
            new["uuid"], new["type"], new.get("name")
        )  # fmt: skip
        assert old["start"] * 512 == new["start"] * 4096 and old["size"] == new["size"] * 8
    assert any("sectors of 4096 bytes" in note for note in plan.notes)


def test_restored_onto_smaller_sectors(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "gpt", sector_bytes=4096)
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    with loop_device(target) as node:
        restore(owner, node)
        check_equal(owner, node)
        assert "No problems found" in run("sgdisk", "-v", node)
        assert [p["start"] for p in sfdisk(node)["partitions"]] == [2048, 4096, 86016]  # type: ignore[attr-defined]


def test_an_mbr_onto_larger_sectors(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "dos")
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    with loop_device(target, sector_bytes=4096) as node:
        restore(owner, node)
        check_equal(owner, node)
        found = sfdisk(node)
        assert found["id"] == "0xcafe1234"
        starts = [p["start"] * 4096 for p in found["partitions"]]  # type: ignore[attr-defined]
    assert starts == [MIB, 2 * MIB, 42 * MIB, 43 * MIB]


def test_small_blocks_are_refused_on_large_sectors(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "gpt", blocks=1024)
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    with (
        loop_device(target, sector_bytes=4096) as node,
        pytest.raises(FilesystemUnsupported, match=r"ext\d in partition 2 has blocks of 1024"),
    ):
        restore(owner, node)


def test_an_image_gets_the_sectors_of_the_owner(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "gpt", sector_bytes=4096)
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    restore(owner, target)
    with loop_device(target, sector_bytes=4096, read_only=True) as node:
        assert "No problems found" in run("sgdisk", "-v", node)
    check_equal(owner, target)
    assert target.stat().st_blocks * 512 < 30 * MIB  # what is not stored takes no room


def test_an_epoch_that_is_not_encrypted(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "gpt", key=None)
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    restore(owner, target, key=None)
    check_equal(owner, target)


def test_the_wrong_key_is_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "bare")
    for key in (None, bytes(64)):
        with pytest.raises(WrongKey):
            PlainEpoch([owner.source], key)


def test_too_small_a_disk_is_refused_with_the_numbers(tmp_path: Path) -> None:
    for kind, size in (("gpt", CONTENT), ("gpt", CONTENT - MIB), ("dos", CONTENT - MIB)):
        folder = tmp_path / f"{kind}{size}"
        folder.mkdir()
        owner = make_owner(folder, kind)
        target = sparse_file(folder / "target.img", size)
        with pytest.raises(DoesNotFit, match=str(size)):
            restore(owner, target)
        assert target.stat().st_blocks == 0


def test_a_table_that_lost_a_partition_is_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "dos")
    container = (2 + ROOT_MIB) * MIB // 65536
    with pytest.raises(TableDamaged, match="lacks partition 5"):
        lacking = make_epoch(
            owner.image,
            CONTENT,
            partitions=listed("dos"),
            skip=lambda block: block // 16 == container,
        )
        restore(owner, sparse_file(tmp_path / "t", 60 * MIB), sources=[lacking])


def test_a_held_disk_is_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "bare")
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    with loop_device(target), pytest.raises(DeviceBusy, match="attached"):
        restore(owner, target)
    with (
        loop_device(target) as node,
        Device(node, writable=True),
        pytest.raises(DeviceBusy),
    ):
        restore(owner, node)


def test_a_loop_device_over_an_image_that_is_in_use_is_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "bare")
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    with loop_device(target) as node:
        holding = "import sys; file = open(sys.argv[1], 'r+b'); print(flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", holding, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(DeviceBusy, match="open for writing in"):
                restore(owner, node)
            other.communicate()
        with loop_device(target, MIB), pytest.raises(DeviceBusy, match="attached to"):
            restore(owner, node)
        restore(owner, node)
    with loop_device(target, 0, 59 * MIB) as node, loop_device(target, 59 * MIB):
        restore(owner, node)


def test_a_partition_is_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "bare")
    with loop_device(owner.image) as node:
        sparse_file(tmp_path / "t", 60 * MIB)
        restore(make_owner_in(tmp_path / "other", "gpt"), node)
        with pytest.raises(DeviceUnsupported, match="is a partition"):
            restore(owner, Path(f"{node}p2"))


def make_owner_in(folder: Path, kind: str) -> Owner:
    folder.mkdir()
    return make_owner(folder, kind)


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    path = sparse_file(tmp_path / "divided.img", 128 * MIB)
    run("mke2fs", "-q", "-F", "-b", "4096", path)
    program = Path(sys.executable).with_name("blockrep")
    run(program, "divide", path, "--first", "48M", "--peers", "2", "--yes")
    return path


def test_a_disk_with_segments_must_be_named_twice(tmp_path: Path, divided: Path) -> None:
    owner = make_owner(tmp_path, "gpt")
    before = digest(divided, 0, 128 * MIB)
    with pytest.raises(WouldOverwrite, match="2 segments"):
        restore(owner, divided)
    with pytest.raises(WouldOverwrite, match="the one to overwrite"):
        restore(owner, divided, overwrite=tmp_path / "another")
    assert digest(divided, 0, 128 * MIB) == before
    restore(owner, divided, overwrite=divided)
    check_equal(owner, divided)
    restore(owner, divided)  # nothing speaks of segments any more


def test_a_disk_that_an_agent_serves_is_refused_for_its_segments_first(divided: Path) -> None:
    with Device(divided, writable=True):
        with pytest.raises(WouldOverwrite, match="2 segments"):
            open_target(divided)
        with pytest.raises(DeviceBusy):
            open_target(divided, overwrite=divided)


def test_the_agents_own_disk_must_be_named_twice(tmp_path: Path) -> None:
    path = sparse_file(tmp_path / "disk", 60 * MIB)
    with pytest.raises(WouldOverwrite, match="agent serves it"):
        open_target(path, own_devices=[path])
    open_target(path, own_devices=[path], overwrite=path).close()


def test_the_same_ids_in_the_machine_are_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "gpt")
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    with loop_device(owner.image, read_only=True) as twin:
        with (
            loop_device(target) as node,
            pytest.raises(SameIdentity, match=f"{twin} is in this machine with the same disk ID"),
        ):
            restore(owner, node)
        plan, _ = restore(owner, target)  # an image is nobody's twin yet
        assert any(str(twin) in note for note in plan.notes)
    assert target.stat().st_blocks


def test_the_same_filesystem_in_the_machine_is_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "dos")
    other = sparse_file(tmp_path / "other.img", 30 * MIB)
    run("mke2fs", "-q", "-F", "-U", ROOT_UUID, other)
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    with (
        loop_device(other, read_only=True),
        loop_device(target) as node,
        pytest.raises(SameIdentity, match="filesystem UUID"),
    ):
        restore(owner, node)


def test_damage_is_named_and_leaves_no_table(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "gpt")
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    victim = max(owner.source.stored)
    first = min(chunk for chunk in owner.source.stored if chunk >= 32)
    owner.source.rotten = {first, victim}
    with pytest.raises(ReplicaDamaged, match=f"{first * 65536}, byte {victim * 65536}") as error:
        restore(owner, target)
    assert error.value.state is DiskState.RESUMABLE
    assert run("sfdisk", "-d", target, ok=(1,)) == ""
    _, done = restore(owner, target, accept_damage=True)
    assert [extent.start for extent in done.damaged] == [first * 65536, victim * 65536]
    assert digest(target, first * 65536, 65536) == hashlib.sha256(bytes(65536)).hexdigest()


def test_another_holder_gives_what_one_has_lost(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "gpt")
    chunks = sorted(owner.source.stored)
    one = MemoryEpoch(owner.source.epoch, owner.source.pages, owner.source.stored)
    two = MemoryEpoch(owner.source.epoch, owner.source.pages, owner.source.stored)
    one.rotten, two.rotten = set(chunks[::2]), set(chunks[1::2])
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    _, done = restore(owner, target, sources=[one, two])
    assert done.damaged == ()
    check_equal(owner, target)


def test_a_map_that_was_not_signed_is_refused(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "bare")
    pages = bytearray(owner.source.pages)
    pages[16 + 8] ^= 1
    owner.source.pages = bytes(pages)
    with pytest.raises(ReplicaDamaged, match="not the one that was signed"):
        PlainEpoch([owner.source], KEY)


def test_another_holder_has_the_map(tmp_path: Path) -> None:
    owner = make_owner(tmp_path, "bare")
    good = owner.source
    bad = MemoryEpoch(good.epoch, bytes(len(good.pages)), good.stored)
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    restore(owner, target, sources=[bad, good])
    check_equal(owner, target)


class CutDevice(Device):
    """Fails at its `left`-th write, zero or flush, as if the power had gone."""

    left = 1 << 30

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise DeviceIO("cut")

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        self._count()
        super().write(offset_bytes, data)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        self._count()
        super().zero(offset_bytes, length_bytes)

    def flush(self) -> None:
        self._count()
        super().flush()


@pytest.mark.parametrize("kind", ["gpt", "dos", "bare"])
def test_a_cut_restore_is_no_disk_and_a_second_run_completes_it(tmp_path: Path, kind: str) -> None:
    owner = make_owner(tmp_path, kind)
    target = sparse_file(tmp_path / "target.img", 60 * MIB)
    run("mke2fs", "-q", "-F", target)
    plain = PlainEpoch([owner.source], KEY)
    for left in cuts(plain, target):
        with CutDevice(target, writable=True) as device:
            plan = plan_restore(plain, device)
            device.left = left
            with pytest.raises(BlockrepError, match="cut"):
                apply_restore(device, plan, plain, Silent())
        if left:
            assert run("blkid", "--probe", target, ok=(2,)) == ""
            assert run("sfdisk", "-d", target, ok=(1,)) == ""
    restore(owner, target)
    check_equal(owner, target)


def cuts(plain: PlainEpoch, target: Path) -> Iterator[int]:
    """Every place but the last two, the write of the first sectors and its flush."""
    with CutDevice(target, writable=True) as device:
        plan = plan_restore(plain, device)
        apply_restore(device, plan, plain, Silent())
        total = (1 << 30) - device.left
    run("mke2fs", "-q", "-F", target)
    yield from (*range(8), *range(8, total - 8, max(1, total // 12)), *range(total - 8, total - 2))


def test_unaligned_partitions_are_refused_on_large_sectors(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "owner.img", 40 * MIB)
    run("sfdisk", "-q", image, stdin="label: dos\nstart=63, size=32767\n")
    source = make_epoch(image, (63 + 32767) * 512)
    target = sparse_file(tmp_path / "target.img", 40 * MIB)
    owner = Owner("dos", image, source)
    with (
        loop_device(target, sector_bytes=4096) as node,
        pytest.raises(TableUnsupported, match="partition 1 does not consist of whole sectors"),
    ):
        restore(owner, node)


def test_a_first_area_that_ends_within_a_block(tmp_path: Path) -> None:
    image = tmp_path / "owner.img"
    image.write_bytes(os.urandom(MIB) * 8)
    run("sfdisk", "-q", image, stdin="label: dos\nstart=63, size=8191\n")
    content = (63 + 8191) * 512
    owner = Owner("dos", image, make_epoch(image, content))
    target = tmp_path / "target.img"
    target.write_bytes(os.urandom(MIB) * 8)
    restore(owner, target)
    assert digest(target, 63 * 512, 8191 * 512) == digest(image, 63 * 512, 8191 * 512)
