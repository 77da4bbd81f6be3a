"""Extents as the kernel sees them, on a mounted filesystem that was written in pieces."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blockrep.native import FileKind, Filesystem

from .conftest import run

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


@contextmanager
def mounted(image: Path, where: Path) -> Iterator[Path]:
    where.mkdir()
    run("mount", "-o", "loop", str(image), str(where))
    try:
        yield where
    finally:
        run("umount", str(where))


def write_in_turns(folder: Path) -> None:
    """Files that grow side by side lie in pieces; others have holes or unwritten extents."""
    files = [(folder / f"grown{number}").open("wb") for number in range(6)]
    for _ in range(20):
        for file in files:
            file.write(b"g" * 40000)
            file.flush()
            os.fsync(file.fileno())
    for file in files:
        file.close()
    (folder / "plain").write_bytes(b"p" * 2_000_000)
    with (folder / "holes").open("wb") as file:
        for at in range(0, 4_000_000, 400_000):
            file.seek(at)
            file.write(b"h" * 20000)
            os.fsync(file.fileno())
    run("fallocate", "-l", "3M", str(folder / "unwritten"))
    os.sync()


def filefrag(path: Path) -> tuple[list[tuple[int, int, int, bool]], int]:
    """Extents `(lblk, pblk, length, unwritten)` and the count of physical runs."""
    output = run("filefrag", "-v", "-b4096", str(path))
    row = r"^ *\d+: +(\d+)\.\. *\d+: +(\d+)\.\. *\d+: +(\d+):(.*)$"
    extents = [
        (int(m[1]), int(m[2]), int(m[3]), "unwritten" in m[4])
        for m in re.finditer(row, output, re.MULTILINE)
    ]
    found = re.search(r"(\d+) extents? found", output)
    assert found
    return extents, int(found[1])


@pytest.mark.parametrize("kind", ["ext4", "ext3"])
def test_extents_agree_with_filefrag(kind: str, tmp_path: Path) -> None:
    image = tmp_path / "fs.img"
    run("mke2fs", "-q", "-F", "-t", kind, "-b", "4096", str(image), "96M")
    with mounted(image, tmp_path / "mnt") as folder:
        if kind == "ext4":
            write_in_turns(folder)
        else:
            (folder / "plain").write_bytes(b"p" * 9**7)
        os.sync()
        told = {f"/{path.name}": filefrag(path) for path in folder.iterdir() if path.is_file()}
    with Filesystem.open(image) as filesystem:
        files = {path: file for file in filesystem.files() for path in file.paths}
    for path, (extents, runs) in told.items():
        file = files[path]
        assert file.kind is FileKind.FILE
        if kind == "ext4":
            assert [tuple(extent) for extent in file.extents] == extents
            assert file.runs == runs
        else:
            assert sum(extent.length for extent in file.extents) == sum(e[2] for e in extents)
            assert file.runs <= runs
