"""The smallest first area that is accepted is near the least that the files need.

What they need is computed from dumpe2fs's words alone, not by the code that is tested.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import aged
import pytest
from aged import Variant
from loops import mounted_image
from oracles import dumpe2fs, fsck, run

pytestmark = pytest.mark.root

BLOCKREP = Path(sys.executable).with_name("blockrep")
MIB = 1 << 20
MOST = 1.05

SLOW = [
    Variant("4k", "-t ext4 -b 4096", 80_000),
    Variant("4k-roomy", "-t ext4 -b 4096 -G 4", 100_000, used=0.25),
    Variant("ext3", "-t ext3 -b 4096", 80_000),
    Variant("ext2-1k", "-t ext2 -b 1024", 100_000, 1024),
    Variant("noflex", "-t ext4 -b 1024 -O ^flex_bg", 160_000, 1024),
    Variant("noflex-4k", "-t ext4 -b 4096 -O ^flex_bg", 100_000, 4096, 0.3),
]
VARIANTS = [
    Variant("1k", "-t ext4 -b 1024", 200_000, 1024),
    Variant("bigalloc", "-t ext4 -b 4096 -O bigalloc -C 16384", 80_000, 4096, 0.5),
    *(pytest.param(variant, marks=pytest.mark.slow) for variant in SLOW),
]


class Need:
    """How many blocks a filesystem of some size spends on itself, and how many its files take."""

    def __init__(self, image: Path) -> None:
        text = run("dumpe2fs", image)
        self.fields = dumpe2fs(image)
        self.block_bytes = self._number("Block size")
        self.per_group = self._number("Blocks per group")
        self.first = self._number("First block")
        self.reserved = int(self.fields.get("Reserved GDT blocks", "0"))
        self.descriptor_bytes = int(self.fields.get("Group descriptor size", "32"))
        self.old_groups = len(re.findall(r"^Group \d+:", text, re.M))
        used = self._number("Block count") - self._number("Free blocks")
        ratio = int(self.fields.get("Cluster size", self.block_bytes)) // self.block_bytes
        own = self._own_blocks(text)
        clusters = {block // ratio for block in own}
        self.files = used - len(clusters) * ratio

    def _number(self, name: str) -> int:
        return int(self.fields[name])

    def _own_blocks(self, text: str) -> set[int]:
        """The blocks of superblocks, descriptors, bitmaps and inode tables."""
        own: set[int] = set()
        places = (
            r"(?:Primary|Backup) superblock at ()(\d+)",
            r"Group descriptors at ()([\d-]+)",
            r"Reserved GDT blocks at ()([\d-]+)",
            r"(Block|Inode) bitmap at (\d+)",
            r"Inode (table) at ([\d-]+)",
        )
        for pattern in places:
            for _, span in re.findall(pattern, text):
                start, _, end = span.partition("-")
                own.update(range(int(start), int(end or start) + 1))
        return own

    def _overhead(self, groups: int) -> int:
        descriptors = -(-groups * self.descriptor_bytes // self.block_bytes)
        backups = sum(_has_backup(group) for group in range(groups))
        each = 2 + self._number("Inode blocks per group")
        return groups * each + backups * (1 + descriptors + self.reserved)

    @property
    def blocks(self) -> int:
        inodes = self._number("Inode count") - self._number("Free inodes")
        groups = -(-inodes // self._number("Inodes per group"))
        while self._overhead(groups) + self.files > groups * self.per_group:
            groups += 1
        least = self.first + (groups - 1) * self.per_group
        return max(least, self.first + self._overhead(groups) + self.files)

    @property
    def size_bytes(self) -> int:
        return self.blocks * self.block_bytes


def _has_backup(group: int) -> bool:
    if group < 2:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def divide(image: Path, first_bytes: int, *options: str) -> subprocess.CompletedProcess[str]:
    command = [BLOCKREP, "divide", image, "--first", first_bytes, "--peers", 0, *options]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def smallest_accepted(image: Path) -> int:
    """By bisection, in bytes; the divider lies on a MiB."""
    low, high = 1, image.stat().st_size // MIB - 8
    while low < high:
        middle = (low + high) // 2
        if divide(image, middle * MIB, "--dry-run").returncode:
            low = middle + 1
        else:
            high = middle
    return low * MIB


def resize2fs_minimum(image: Path, block_bytes: int) -> int:
    return int(run("resize2fs", "-P", image).split()[-1]) * block_bytes


def inspected_minimum(image: Path) -> int:
    done = subprocess.run([BLOCKREP, "inspect", "--json", image], capture_output=True, check=True)
    return int(json.loads(done.stdout)["inspection"]["filesystem"]["minimum_first_bytes"])


def files_of(image: Path) -> dict[str, tuple[object, ...]]:
    """Everything but the inode numbers, which may change."""
    with mounted_image(image, read_only=True) as root:
        return {path: told[1:] for path, told in aged.contents(root).items()}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_smallest_first_area(
    variant: Variant, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = aged.make_image(tmp_path, variant)
    before = files_of(image)
    need = Need(image)
    told, theirs = inspected_minimum(image), resize2fs_minimum(image, need.block_bytes)
    smallest = smallest_accepted(image)
    with capfd.disabled():
        print(
            f"\n{variant.name}: need {need.size_bytes / MIB:.1f} MiB, accepted {smallest // MIB} "
            f"({smallest / need.size_bytes:.3f}), inspect {told / MIB:.1f}, resize2fs -P "
            f"{theirs / MIB:.1f} ({theirs / need.size_bytes:.3f})"
        )
    done = divide(image, smallest, "--yes")
    assert done.returncode == 0, done.stderr
    fsck(image)
    assert files_of(image) == before
    assert smallest <= MOST * need.size_bytes + MIB
    assert abs(smallest - told) <= 0.02 * smallest + MIB
