"""Files come out in one piece: counted by filefrag, through a mount, at several agings."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import aged
import pytest
from aged import Variant
from loops import mounted_image
from oracles import dumpe2fs, fsck, run

pytestmark = pytest.mark.root

BLOCKREP = Path(sys.executable).with_name("blockrep")
AGED_IMAGE = Path(__file__).resolve().parents[2] / "scripts" / "aged-image"
MIB = 1 << 20
FREE_AFTER = 0.30
CONTIGUOUS = 0.99
PER_CALL = 1000


def in_pieces(image: Path) -> tuple[int, int]:
    """Regular files in more than one run, and all that have blocks."""
    with mounted_image(image, read_only=True) as root:
        names = (p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
        counts = []
        while some := list(islice(names, PER_CALL)):
            counts += re.findall(r": (\d+) extents? found$", run("filefrag", *some), re.M)
    return sum(int(c) > 1 for c in counts), sum(int(c) > 0 for c in counts)


def first_bytes(image: Path) -> int:
    """Where the first area has to end to be 30 % free."""
    fields = dumpe2fs(image)
    used = int(fields["Block count"]) - int(fields["Free blocks"])
    size = int(used / (1 - FREE_AFTER)) * int(fields["Block size"])
    return size // MIB * MIB


def divide(image: Path, *options: str) -> None:
    command = [BLOCKREP, "divide", image, "--first", first_bytes(image), "--peers", 0, "--yes"]
    subprocess.run([*map(str, command), *options], capture_output=True, check=True)


def check(image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    copy = image.with_suffix(".copy")
    run("cp", "--sparse=always", image, copy)
    before, files = in_pieces(image)
    divide(image)
    divide(copy, "--defrag")
    fsck(image)
    fsck(copy)
    after, defragmented = in_pieces(image)[0], in_pieces(copy)[0]
    fields = dumpe2fs(image)
    free = int(fields["Free blocks"]) / int(fields["Block count"])
    with capfd.disabled():
        print(
            f"\n{image.stem}: {files} files, in pieces {before} -> {after}, with --defrag "
            f"{defragmented}; {free:.0%} free after"
        )
    assert before > files / 400, "the image is not aged"
    assert after <= (1 - CONTIGUOUS) * files
    assert defragmented < after or defragmented <= files / 200


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))]
)
def test_files_written_into_holes(
    seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / f"holes-{seed}.img"
    run(AGED_IMAGE, "--bare", "--size", "1G", "--data", "300M", "--seed", seed, image)
    check(image, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 8, 9])
@pytest.mark.parametrize("used", [0.6, 0.65])
def test_small_files_deleted_for_large_ones(
    used: float, seed: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    variant = Variant(f"used-{used}-{seed}", "-t ext4 -b 4096", 100_000, used=used)
    check(aged.make_image(tmp_path, variant, seed), capfd)
