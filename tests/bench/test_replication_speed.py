"""A first area sent to a holder, against what people use today, and against the least possible.

Every way starts with nothing in a cache and ends with a flush on both sides; ours and those of
QEMU and libnbd have TLS on the loopback device. The ways take turns, so that a machine that is busy
for a while is so for all of them; medians count. The `test_ratios` print the ratios and hold them
against the goals.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest
from bench import peer_tools, ways
from bench.our_sides import Ours
from bench.stale import leave_old_data
from pytest_benchmark.fixture import BenchmarkFixture
from sides import KEY

from blockrep.extents import subtract
from blockrep.native import Filesystem
from blockrep.transfer.send import Mode

MIB = 1 << 20
IMAGE_BYTES = 4 << 30
DATA_BYTES = 1100 * MIB
STALE_BYTES = 2000 * MIB
ENTROPY = 0.6  # of what the files hold; lz4 makes about that of it
ROUNDS = 5
CHANGED_SHARE = 0.01
BLOCK_BYTES = 4096
AGED_IMAGE = Path(__file__).resolve().parents[2] / "scripts" / "aged-image"

pytestmark = pytest.mark.root


class Results:
    """Seconds and bytes on the wire of each way, round by round."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.wire_bytes: dict[str, list[int]] = defaultdict(list)

    def median_s(self, way: str) -> float:
        return median(self.seconds[way])

    def show(self) -> None:
        print(f"  median of {ROUNDS} rounds      wall             spread     MB on the wire")
        for way, seconds in self.seconds.items():
            spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
            wire = median(self.wire_bytes[way]) / 1e6 if self.wire_bytes[way] else 0
            print(f"  {way:<20}{median(seconds):8.2f} s{spread:>20}{wire:16.1f}")


def measure(
    benchmark: BenchmarkFixture, results: Results, way: str, run: Callable[[], int | None]
) -> None:
    """One turn of one way; `run` may say how many bytes went over the wire."""
    before = loopback_bytes()
    said = benchmark.pedantic(run, rounds=1)
    results.seconds[way].append(benchmark.stats.stats.min)
    results.wire_bytes[way].append(said or loopback_bytes() - before)


def loopback_bytes() -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    raise AssertionError("there is no loopback device")


def forget(*paths: Path) -> None:
    """What was written is on the disk, and none of it in the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def verdict(ours: float, theirs: float, goal: float, what: str) -> bool:
    good = ours * goal <= theirs
    print(f"  {what}: {theirs / ours:.2f} x (goal: {goal:g} x){'' if good else '   MISSED'}")
    return good


@pytest.fixture(scope="module")
def trimmed_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aged ext4 whose free blocks are holes."""
    image = tmp_path_factory.mktemp("images") / "trimmed.img"
    size = ("--size", IMAGE_BYTES, "--data", DATA_BYTES, "--entropy", ENTROPY)
    subprocess.run([*map(str, (AGED_IMAGE, "--bare", *size)), str(image)], check=True)
    return image


@pytest.fixture(scope="module")
def stale_image(trimmed_image: Path) -> Path:
    """The same, with old data in free blocks."""
    image = trimmed_image.with_name("stale.img")
    ways.fresh_copy(trimmed_image, image)
    leave_old_data(image, STALE_BYTES)
    return image


# ---- a full copy


class FullCopy:
    """One image, and each way to copy all of it."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.image = image
        self.results = Results()
        self.target = folder / "target.img"
        peer_tools.make_certificates(folder / "certificates")
        self.peers = peer_tools.Copier(image, self.target, folder / "certificates")
        self.encrypted = Ours(folder / "encrypted", image, KEY)
        self.packed = Ours(folder / "packed", image, None)
        self.used_bytes = self.encrypted.survey()

    def prepare(self) -> None:
        self.target.unlink(missing_ok=True)
        with self.target.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        forget(self.image)


FULL_WAYS: dict[str, Callable[[FullCopy], int | None]] = {
    "ours": lambda s: first_copy(s.encrypted),
    "ours, lz4": lambda s: first_copy(s.packed),
    "qemu-img": lambda s: s.peers.qemu_img(),
    "nbdcopy": lambda s: s.peers.nbdcopy(),
    "floor": lambda s: ways.read_extents(s.image, s.encrypted.owner.used or []),
}


def first_copy(ours: Ours) -> int:
    ours.forget_map()
    with ours.holder() as holder:
        return ours.back_up(holder, mode=Mode.FULL)


@pytest.fixture(scope="module", params=["stale", "trimmed"])
def full(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FullCopy]:
    folder = tmp_path_factory.mktemp(request.param)
    yield FullCopy(folder, request.getfixturevalue(f"{request.param}_image"))
    shutil.rmtree(folder)


@pytest.mark.parametrize("way", FULL_WAYS)
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_full(benchmark: BenchmarkFixture, full: FullCopy, turn: int, way: str) -> None:
    benchmark.group = f"full copy, {full.image.stem}, {way}"
    full.prepare()
    measure(benchmark, full.results, way, lambda: FULL_WAYS[way](full))


def test_full_ratios(full: FullCopy, capfd: pytest.CaptureFixture[str]) -> None:
    results = full.results
    ours, qemu = results.median_s("ours"), results.median_s("qemu-img")
    theirs = min(qemu, results.median_s("nbdcopy"))
    wire = {way: median(found) for way, found in results.wire_bytes.items()}
    stale = full.image.stem == "stale"
    with capfd.disabled():
        print(f"\n\nfull copy, {full.image.stem}: {full.used_bytes / 1e6:.0f} MB in use")
        results.show()
        print(f"  ours / floor: {ours / results.median_s('floor'):.2f}")
        if stale:
            good = [verdict(ours, theirs, 2.5, "faster than the faster of qemu-img and nbdcopy")]
            good.append(verdict(wire["ours, lz4"], wire["qemu-img"], 4, "fewer bytes with lz4"))
        else:
            good = [verdict(ours, qemu, 1, "faster than qemu-img")]
        good.append(verdict(wire["ours"], 1.02 * full.used_bytes, 1, "bytes within the used ones"))
        sys.stdout.flush()
    assert all(good)


# ---- a differential one


class Differential:
    """One image of which a part changes in every round, and who has its former content."""

    def __init__(self, folder: Path, original: Path, stack: ExitStack) -> None:
        self.results = Results()
        self.image = folder / "disk.img"
        self.copy = folder / "copy.img"
        ways.fresh_copy(original, self.image)
        ways.fresh_copy(original, self.copy)
        self.ours = Ours(folder / "ours", self.image, KEY)
        with Filesystem.open(self.image) as filesystem:
            # What the bitmaps say must stay as it is.
            self.data = subtract(filesystem.used(), filesystem.metadata())
        self.holder = stack.enter_context(self.ours.holder())
        self.ours.back_up(self.holder, mode=Mode.FULL)
        self.borg = peer_tools.Borg(folder / "borg")
        self.borg.create(self.image)
        self.changed_bytes = 0

    def change(self, turn: int) -> None:
        """New content for blocks all over the files."""
        chance = random.Random(turn)
        lengths = [extent.length for extent in self.data]
        count = int(sum(lengths) * CHANGED_SHARE)
        blocks = set()
        for extent in chance.choices(self.data, lengths, k=count):
            blocks.add(extent.start + chance.randrange(extent.length))
        with self.image.open("rb+") as file:
            for block in sorted(blocks):
                file.seek(block * BLOCK_BYTES)
                file.write(chance.randbytes(BLOCK_BYTES))
        self.changed_bytes = len(blocks) * BLOCK_BYTES


DIFFERENTIAL_WAYS: dict[str, Callable[[Differential], int | None]] = {
    "ours": lambda s: s.ours.back_up(s.holder, mode=Mode.DIFFERENTIAL),
    "borg": lambda s: s.borg.create(s.image),
    "rsync": lambda s: peer_tools.rsync(s.image, s.copy),
    "floor": lambda s: ways.read_extents(s.image, s.ours.owner.used or []),
}


@pytest.fixture(scope="module")
def differential(
    stale_image: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Differential]:
    folder = tmp_path_factory.mktemp("differential")
    with ExitStack() as stack:
        yield Differential(folder, stale_image, stack)
    shutil.rmtree(folder)


@pytest.mark.parametrize("way", DIFFERENTIAL_WAYS)
@pytest.mark.parametrize("turn", range(ROUNDS))
def test_differential(
    benchmark: BenchmarkFixture, differential: Differential, turn: int, way: str
) -> None:
    benchmark.group = f"1 % changed, {way}"
    if way == next(iter(DIFFERENTIAL_WAYS)):
        differential.change(turn)
    forget(differential.image, differential.copy)
    measure(benchmark, differential.results, way, lambda: DIFFERENTIAL_WAYS[way](differential))


def test_differential_ratios(differential: Differential, capfd: pytest.CaptureFixture[str]) -> None:
    results = differential.results
    ours, wire = results.median_s("ours"), median(results.wire_bytes["ours"])
    changed = differential.changed_bytes
    with capfd.disabled():
        print(f"\n\ndifferential, {changed / 1e6:.1f} MB changed in scattered blocks")
        results.show()
        print(f"  ours / floor: {ours / results.median_s('floor'):.2f}")
        good = [
            verdict(ours, results.median_s("borg"), 2, "faster than borg"),
            verdict(ours, results.median_s("rsync"), 8, "faster than rsync"),
            verdict(wire, 1.1 * changed * 1.01, 1, "bytes within the changed ones"),
        ]
        sys.stdout.flush()
    assert all(good)
