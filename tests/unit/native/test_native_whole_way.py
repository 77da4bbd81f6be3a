"""Consolidate, shrink, put right, prove and apply, on aged filesystems of every variety."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from blockrep.extents import Extent, normalise, subtract
from blockrep.native import FileKind, Filesystem, consolidate

from .conftest import VARIETIES, run
from .test_native_metadata import make_shadow
from .test_native_proof import apply, listing, prove, stat_all


def age(image: Path, scratch: Path, chance: random.Random) -> None:
    """Delete most files and write larger ones into the holes."""
    with Filesystem.open(image) as filesystem:
        plain = [f for f in filesystem.files() if f.kind is FileKind.FILE and len(f.paths) == 1]
    large = scratch / "large"
    large.write_bytes(chance.randbytes(1_500_000))
    doomed = chance.sample([file.paths[0] for file in plain], len(plain) * 7 // 10)
    script = "".join(f"rm {path}\n" for path in doomed)
    script += "".join(f"write {large} aged{number}\n" for number in range(4))
    run("debugfs", "-w", "-f", "/dev/stdin", str(image), stdin=script)
    run("e2fsck", "-fy", str(image), ok=(0, 1))


# With so few and so large blocks, tables of dropped groups are much of what is in the way.
CASES = [(name, 1.4 if name == "ext4-64k" else 1.02) for name in VARIETIES]
LOOSE = [pytest.param(name, 1.6, marks=pytest.mark.slow) for name in VARIETIES]


@pytest.mark.parametrize(("name", "share"), CASES + LOOSE)
def test_the_whole_way(
    name: str, share: float, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    group = {"ext4-64k": 256, "bigalloc": 1024, "bigalloc-1k": 1024}.get(
        name, 8192 if "-b 1024" in VARIETIES[name] else 4096
    )
    image, shadow = make_image(name, extra=f"-N 700 -g {group}"), tmp_path / "shadow.img"
    age(image, tmp_path, random.Random(3))
    with Filesystem.open(image) as filesystem:
        end = filesystem.effective_size(int(filesystem.minimum_blocks() * share))
        free = filesystem.free()
        assert end < filesystem.geometry.blocks
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old = listing(image, tmp_path / "old")
    facts = stat_all(image, sorted(old))
    make_shadow(image, shadow)
    consolidate(shadow, end, [], True)
    run("resize2fs", "-f", str(shadow), str(end))
    renumbered, copies = prove(image, shadow)
    assert renumbered > 0
    assert subtract(normalise(Extent(copy.dst, copy.length) for copy in copies), free) == []
    run("e2fsck", "-fn", str(shadow))
    apply(image, shadow, copies)
    run("e2fsck", "-fn", str(image))
    assert listing(image, tmp_path / "new") == old
    assert stat_all(image, sorted(old)) == facts
