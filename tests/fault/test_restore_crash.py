"""A restore that is cut: whatever of the unflushed writes has landed, it is no disk (B3)."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from epochs_in_memory import KEY, MemoryEpoch, make_epoch
from oracles import run

from blockrep.progress import Silent
from blockrep.transfer.plain import PlainEpoch
from blockrep.transfer.restore import plan_restore
from blockrep.transfer.restore_apply import FIRST_BYTES, apply_restore
from fault.recorder import RecordingDevice, Written

CONTENT, TARGET = 6 * MIB, 12 * MIB
RANDOM_STATES = 6

TABLES = {
    "gpt": "label: gpt\nstart=1MiB, size=3MiB\nsize=2MiB, type=S\n",
    "dos": "label: dos\nstart=1MiB, size=2MiB\nstart=3MiB, size=9MiB, type=5\n"
    "start=4MiB, size=2MiB\nstart=7MiB, size=1MiB\n",
    "bare": "",
}


def make_source(folder: Path, kind: str) -> MemoryEpoch:
    image = sparse_file(folder / "owner.img", 10 * MIB if kind != "dos" else 12 * MIB)
    image.write_bytes(os.urandom(MIB) * (image.stat().st_size // MIB))
    with image.open("r+b") as disk:
        disk.write(bytes(MIB))
    if TABLES[kind]:
        run("sfdisk", "-q", image, stdin=TABLES[kind])
        run("mke2fs", "-q", "-F", "-E", f"offset={MIB}", image, "2M")
    else:
        run("mke2fs", "-q", "-F", image, "6M")
    return make_epoch(image, CONTENT)


def make_target(folder: Path, old: str) -> Path:
    """A disk that was something else before."""
    path = sparse_file(folder / "target.img", TARGET)
    run("mke2fs", "-q", "-F", "-L", "old", path)
    if old == "gpt":
        run("sfdisk", "-q", "--wipe", "never", path, stdin="label: gpt\nsize=4MiB\nsize=4MiB\n")
    return path


def record(source: MemoryEpoch, target: Path) -> list[list[Written]]:
    plain = PlainEpoch([source], KEY)
    with RecordingDevice(target) as device:
        plan = plan_restore(plain, device)
        apply_restore(device, plan, plain, Silent())
        return [window for window in device.log.windows if window]


def landed(window: list[Written], rng: random.Random) -> Iterator[list[Written]]:
    """Parts of an open window: prefixes, all but one, one torn, random ones in any order."""
    places = range(len(window))
    few = places if len(window) <= 8 else sorted(rng.sample(places, 8))
    for at in few:
        yield window[:at]
        yield [*window[:at], *window[at + 1 :]]
        half = len(window[at].data) // 1024 * 512
        yield [*window[:at], Written(window[at].offset_bytes, window[at].data[:half])]
        yield [Written(window[at].offset_bytes + half, window[at].data[half:])]
    for _ in range(RANDOM_STATES):
        yield rng.sample(window, rng.randrange(len(window) + 1))


def put(path: Path, base: bytearray, writes: list[Written]) -> None:
    state = bytearray(base)
    apply(state, writes)
    path.write_bytes(state)


def apply(state: bytearray, writes: list[Written]) -> None:
    for write in writes:
        state[write.offset_bytes : write.offset_bytes + len(write.data)] = write.data


@pytest.mark.parametrize("old", ["ext", "gpt"])
@pytest.mark.parametrize("kind", TABLES)
def test_between_the_first_and_the_last_flush_there_is_nothing(
    tmp_path: Path, kind: str, old: str, seed: int
) -> None:
    source = make_source(tmp_path, kind)
    target = make_target(tmp_path, old)
    state = bytearray(target.read_bytes())
    windows = record(source, target)
    finished = target.read_bytes()
    assert windows[0] == [Written(0, bytes(FIRST_BYTES))]
    assert [w.offset_bytes for w in windows[-1]] == [0] and len(windows[-1][0].data) == FIRST_BYTES
    apply(state, windows[0])
    rng, probed = random.Random(seed), tmp_path / "state.img"
    tried = 0
    for window in windows[1:-1]:
        for part in landed(window, rng):
            put(probed, state, part)
            assert run("blkid", "--probe", probed, ok=(2,)) == ""
            assert run("sfdisk", "-d", probed, ok=(1,)) == ""
            tried += 1
        apply(state, window)
    apply(state, windows[-1])
    assert state == finished and tried > 20
