"""The metadata map is enough: a sparse file of these blocks alone passes e2fsck."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from oracles import run

from blockrep.errors import BlockrepError, FilesystemDamaged
from blockrep.extents import normalise
from blockrep.native import Filesystem

from .conftest import VARIETIES


def make_shadow(image: Path, shadow: Path) -> None:
    with Filesystem.open(image) as filesystem, image.open("rb") as source:
        unit = filesystem.geometry.block_bytes
        with shadow.open("wb") as sink:
            sink.truncate(filesystem.geometry.blocks * unit)
            for start, length in filesystem.metadata():
                source.seek(start * unit)
                sink.seek(start * unit)
                sink.write(source.read(length * unit))


@pytest.mark.parametrize("name", VARIETIES)
def test_a_shadow_of_the_metadata_is_a_clean_filesystem(
    name: str, make_image: Callable[..., Path], tmp_path: Path
) -> None:
    image = make_image(name)
    shadow = tmp_path / "shadow.img"
    make_shadow(image, shadow)
    run("e2fsck", "-fn", str(shadow))
    assert run("dumpe2fs", str(shadow)) == run("dumpe2fs", str(image))
    with Filesystem.open(image) as filesystem:
        metadata = filesystem.metadata()
        assert metadata == normalise(metadata)
        assert sum(1 for _ in filesystem.groups()) == filesystem.geometry.groups


def test_a_filesystem_behind_an_offset(make_image: Callable[..., Path], tmp_path: Path) -> None:
    image = make_image("ext4")
    behind = tmp_path / "behind.img"
    behind.write_bytes(bytes(1 << 20) + image.read_bytes())
    with Filesystem.open(image) as plain, Filesystem.open(behind, 1 << 20) as shifted:
        assert plain.metadata() == shifted.metadata()
        assert list(plain.groups()) == list(shifted.groups())


@pytest.mark.parametrize("seed", range(40))
def test_damage_never_crashes_or_hangs(seed: int, make_image: Callable[..., Path]) -> None:
    import random

    chance = random.Random(seed)
    image = make_image(chance.choice(["ext4-1k", "ext3", "bigalloc", "inline-data"]), "40M")
    with Filesystem.open(image) as filesystem:
        unit = filesystem.geometry.block_bytes
        targets = filesystem.metadata()
    with image.open("r+b") as file:
        for _ in range(300):
            start, length = chance.choice(targets)
            file.seek(start * unit + chance.randrange(length * unit))
            file.write(chance.randbytes(chance.choice([1, 2, 4, 12])))
    try:
        with Filesystem.open(image) as filesystem:
            filesystem.metadata()
    except BlockrepError as error:
        assert error.message


def test_what_is_no_filesystem(tmp_path: Path) -> None:
    blank = tmp_path / "blank.img"
    blank.write_bytes(bytes(1 << 20))
    with pytest.raises(FilesystemDamaged):
        Filesystem.open(blank)


def test_the_library_s_errors_have_words(tmp_path: Path) -> None:
    image = tmp_path / "nothing"
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(FilesystemDamaged, match="Bad magic number in super-block"):
        Filesystem.open(image)
