"""A disk is destroyed and comes back from another machine's segment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from oracles import fsck, run

from net.machines import (
    BLOCKREP,
    Machine,
    Machines,
    digest_of_files,
    files_of,
    machines,
    write_files,
)

pytestmark = pytest.mark.root

DISK_BYTES = 320 * MIB


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path, 3) as made:
        made.make_group()
        yield made


def restored(machine: Machine, owner: str, *words: object, size_bytes: int = DISK_BYTES) -> Path:
    """A fresh image with the first area of `owner`, restored by a command of `machine`."""
    image = sparse_file(machine.folder / f"restored-{owner}.img", size_bytes)
    machine.run("restore", owner, "--to", image, "--yes", *words)
    return image


def prove(image: Path, expected: str) -> None:
    """The table and the filesystem are sound, and every file is what it was."""
    assert "No problems found" in run("sgdisk", "-v", image)
    fsck(f"{image}?offset={MIB}")
    assert digest_of_files(image) == expected


def test_with_nothing_but_the_recovery_key_and_an_address(three: Machines) -> None:
    first, second, third = three.all
    expected = digest_of_files(first.images[0])
    first.run("backup", "--mode", "full")
    first.kill()
    sparse_file(first.images[0], DISK_BYTES)
    at = f"{second.address}:7317"
    image = restored(first, "m1", "--from", at, "--recovery-key-file", first.key_file)
    prove(image, expected)
    bigger = restored(third, "m1", "--recovery-key-file", first.key_file, size_bytes=2 * DISK_BYTES)
    prove(bigger, expected)


def test_an_older_epoch(three: Machines) -> None:
    first = three[0]
    expected = digest_of_files(first.images[0])
    first.run("backup")
    with files_of(first.images[0]) as root:
        write_files(root, MIB, seed=7)
    newer = digest_of_files(first.images[0])
    assert newer != expected
    first.run("backup")
    prove(restored(first, "m1", "--epoch", 1), expected)
    prove(restored(first, "m1", "--epoch", 2), newer)
    assert first.run("restore", "m1", "--epoch", 3, "--to", "/dev/null", "--yes", ok=(98,))


def test_the_owners_own_data_need_no_recovery_key_and_others_do(three: Machines) -> None:
    first, second, _ = three.all
    first.run("backup")
    prove(restored(first, "m1"), digest_of_files(first.images[0]))
    image = sparse_file(second.folder / "stolen.img", DISK_BYTES)
    second.run("restore", "m1", "--to", image, "--yes", ok=(123,))
    assert run("blkid", "-p", image, ok=(2,)) == ""


def test_a_file_is_taken_out(three: Machines, tmp_path: Path) -> None:
    first, _, third = three.all
    with files_of(first.images[0]) as root:
        (root / "letter").write_text("as it was")
    first.run("backup")
    with files_of(first.images[0]) as root:
        (root / "letter").write_text("changed")
    first.run("backup")
    into = tmp_path / "out"
    into.mkdir()
    words = "--epoch", 1, "--recovery-key-file", first.key_file
    third.run("extract", "m1", "/letter", "--into", into, *words)
    assert (into / "letter").read_text() == "as it was"


def test_an_epoch_is_shown_until_it_is_unmounted(three: Machines, tmp_path: Path) -> None:
    first, _, third = three.all
    with files_of(first.images[0]) as root:
        (root / "letter").write_text("as it was")
    first.run("backup")
    first.kill()
    folders = set(Path("/tmp").glob("blockrep-map-*"))
    place = tmp_path / "shown"
    place.mkdir()
    key = "--recovery-key-file", first.key_file
    done = third.run("mount", "m1", place, *key)
    assert done["mount"]["replica"]["epoch"] == 1
    assert (place / "letter").read_text() == "as it was"
    third.run("mount", "m1", place, *key, ok=(2,))
    run(BLOCKREP, "unmount", place)
    run(BLOCKREP, "unmount", place, ok=(124,))
    assert list(place.iterdir()) == []
    limit = time.monotonic() + 20
    while mounters():
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert set(Path("/tmp").glob("blockrep-map-*")) <= folders


def mounters() -> list[str]:
    commands = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            commands.append((process / "cmdline").read_bytes().decode(errors="replace"))
    return [command for command in commands if "blockrep.cli.mounter" in command]
