"""A sparse 1 TiB filesystem with 500,000 files is planned in bounded time and memory."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest
from bench.ways import BLOCKREP, run
from loops import loop_device, mounted

FILES = 500_000
PER_DIRECTORY = 250
SIZE_BYTES = 1 << 40
TIME_LIMIT_S = 30
MEMORY_LIMIT_BYTES = 512 << 20
# Change it when `_fill` or the options of mke2fs change, so that a kept image is made again.
IMAGE_VERSION = 1

pytestmark = [pytest.mark.root, pytest.mark.slow]


def _fill(folder: Path) -> None:
    """Reserve blocks for the files without writing them: the layout is all that a plan sees."""
    chance = random.Random(1)
    for number in range(FILES // PER_DIRECTORY):
        directory = folder / f"d{number}"
        directory.mkdir()
        for name in range(PER_DIRECTORY):
            descriptor = os.open(directory / f"file{name}", os.O_CREAT | os.O_WRONLY, 0o644)
            os.posix_fallocate(descriptor, 0, int(2 ** chance.uniform(10, 19)))
            os.close(descriptor)


def _build(image: Path) -> None:
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    run("mke2fs", "-q", "-t", "ext4", "-E", lazy, image)
    with loop_device(image) as node, mounted(node, "noinit_itable", read_only=False) as root:
        _fill(root)


@pytest.fixture
def large_image(pytestconfig: pytest.Config) -> Path:
    """Made once and kept in pytest's cache; sparse, some hundred MiB."""
    cache = pytestconfig.cache
    assert cache is not None
    image = cache.mkdir("large-image") / f"1T-{IMAGE_VERSION}.img"
    if not image.exists():
        unfinished = image.with_suffix(".part")
        _build(unfinished)
        unfinished.rename(image)
    return image


def _memory_of_tree(root: int) -> int:
    """Bytes of memory of a process and its descendants, without shared memory: not the shadow."""
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = path.read_text().splitlines()
        except OSError:  # ended while we looked
            continue
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        pid = int(path.parent.name)
        parents[pid] = int(fields["PPid"])
        sizes[pid] = sum(
            int(fields.get(name, "0 kB").split()[0]) << 10 for name in ("RssAnon", "RssFile")
        )
    return sum(size for pid, size in sizes.items() if _descends(pid, root, parents))


def _cpu_of_children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid and pid != root:
        pid = parents.get(pid, 0)
    return pid == root


def test_a_large_filesystem_is_planned(
    large_image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [BLOCKREP, "divide", large_image, "--first", "40%", "--peers", "1", "--dry-run"]
    began, cpu_before_s = time.monotonic(), _cpu_of_children_s()
    most_bytes = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as child:
        while child.poll() is None:
            most_bytes = max(most_bytes, _memory_of_tree(child.pid))
            time.sleep(0.05)
            if time.monotonic() - began > 10 * TIME_LIMIT_S:
                child.kill()
    seconds, cpu_s = time.monotonic() - began, _cpu_of_children_s() - cpu_before_s
    with capfd.disabled():
        print(
            f"\n\n1 TiB, {FILES} files: planned in {seconds:.1f} s, {cpu_s:.1f} s of CPU, "
            f"{most_bytes >> 20} MiB"
        )
    assert child.returncode == 0
    assert seconds <= TIME_LIMIT_S
    assert most_bytes <= MEMORY_LIMIT_BYTES
