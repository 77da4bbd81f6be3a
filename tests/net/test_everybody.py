"""The case that the whole is for: everybody backs everybody up, and all but one are lost.

With --all it is that of nine machines with disks of 9 GiB, 1 GiB each for themselves and eight
segments for the others: 72 segments. Without it the same in small.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from disks import GIB, MIB, sparse_file
from oracles import fsck, run

from net.machines import Machines, digest_of_files, machines

pytestmark = pytest.mark.root

# While it sends to all others and holds for all of them; the recovery key alone takes 64 MiB.
MOST_BYTES = 250 * MIB


def all_lost_but_one(folder: Path, count: int, disk_bytes: int, first: str, content: int) -> None:
    with machines(
        folder, count, disk_bytes=disk_bytes, peers=count - 1, first=first, content_bytes=content
    ) as made:
        made.make_group()
        expected = [digest_of_files(machine.images[0]) for machine in made.all]
        _back_up_at_once(made)
        peaks = [machine.peak_bytes for machine in made.all]
        print(f"an agent had at most {max(peaks) // MIB} MiB")
        assert max(peaks) < MOST_BYTES
        *lost, survivor = made.all
        for machine in made.all:
            held = machine.run("status")["status"]["held"]
            assert sorted(s["owner"] for s in held) == sorted(
                other.name for other in made.all if other is not machine
            )
            assert all(segment["epoch"] == 1 for segment in held)
        for machine in lost:
            machine.kill()
            sparse_file(machine.images[0], disk_bytes)
        for machine, digest in zip(lost, expected, strict=False):
            image = sparse_file(survivor.folder / f"{machine.name}.img", disk_bytes)
            words = "--to", image, "--yes", "--recovery-key-file", machine.key_file
            survivor.run("restore", machine.name, "--from", survivor.name, *words)
            assert "No problems found" in run("sgdisk", "-v", image)
            fsck(f"{image}?offset={MIB}")
            assert digest_of_files(image) == digest
            image.unlink()


def _back_up_at_once(made: Machines) -> None:
    began = time.monotonic()
    running = [machine.spawn("backup", "--mode", "full") for machine in made.all]
    for process in running:
        shown, said = process.communicate(timeout=1800)
        assert process.returncode == 0, shown + said
    count = len(made.all)
    took = time.monotonic() - began
    print(f"{count} machines, {count * (count - 1)} replicas at once: {took:.0f} s")


def test_four_machines(tmp_path: Path) -> None:
    all_lost_but_one(tmp_path, 4, 448 * MIB, "64M", 4 * MIB)


@pytest.mark.slow
def test_nine_machines_of_nine_gib(tmp_path: Path) -> None:
    all_lost_but_one(tmp_path, 9, 9 * GIB, "1G", 48 * MIB)
