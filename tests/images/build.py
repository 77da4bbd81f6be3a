"""Build a test disk of a kind, or take it from the cache.

The cache key covers the recipe, the code of this package and the version of e2fsprogs. Images are
written for reading only: a test takes a copy (`Disk.copy_to`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loops import as_disk, loop_device, mounted

from images.fill import age, fill_tree
from images.kinds import MIB, Kind, Tail
from images.tight import fill_to_the_brim

SECTOR = 512
LINUX_GUID = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
SWAP_GUID = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
GPT_TYPES = {"swap": SWAP_GUID, "ext2": LINUX_GUID, "raw": LINUX_GUID}
DOS_TYPES = {"swap": "82", "ext2": "83", "raw": "83"}


@dataclass(frozen=True)
class Disk:
    """A built disk image. Offsets are bytes from the start of the image."""

    kind: Kind
    path: Path
    host_start_bytes: int
    host_length_bytes: int

    @property
    def first_bytes(self) -> int:
        """The divider to ask for."""
        return self.kind.first_mib * MIB

    def copy_to(self, path: Path) -> Path:
        shutil.copyfile(self.path, path)
        return path


def build_disk(kind: Kind) -> Disk:
    """The disk of a kind; building takes some seconds the first time."""
    folder = cache_folder()
    path = folder / f"{kind.name}-{_cache_key(kind)}.img"
    start, length = _host_range(kind)
    with (folder / f".{kind.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            for stale in folder.glob(f"{kind.name}-*.img"):
                if len(stale.stem) == len(path.stem):
                    stale.unlink()
            _build(kind, path, start, length)
    return Disk(kind, path, start, length)


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "/tmp"  # TMPDIR is for one run only
    folder = Path(base) / f"blockrep-test-images-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_key(kind: Kind) -> str:
    digest = hashlib.sha256(repr(kind).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name != "kinds.py":  # the recipe itself is in the key
            digest.update(source.read_bytes())
    version = subprocess.run(["mke2fs", "-V"], capture_output=True, check=True).stderr
    digest.update(version)
    return digest.hexdigest()[:16]


def _host_range(kind: Kind) -> tuple[int, int]:
    size = kind.disk_mib * MIB
    if kind.table == "none":
        return 0, size
    start = kind.start_lba * SECTOR
    end = size - (1 + kind.spare_mib + sum(tail.mib for tail in kind.tail)) * MIB
    return start, end - start


def _build(kind: Kind, path: Path, start: int, length: int) -> None:
    rng = random.Random(kind.name)
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="blockrep-build-", dir=fast) as scratch:
        image = Path(scratch) / "disk.img"
        _write_garbage(image, kind, rng)
        if kind.table != "none":
            _write_table(image, kind, start, length)
        _make_tail(image, kind, start + length, rng)
        if kind.mountable:
            _make_mounted(image, kind, start, length, rng)
        else:
            _make_offline(image, kind, start, length, rng, Path(scratch))
        partial = path.with_suffix(".partial")
        shutil.copyfile(image, partial)
        partial.chmod(0o444)
        partial.rename(path)


def _write_garbage(image: Path, kind: Kind, rng: random.Random) -> None:
    """Whatever was there before: nothing may be taken for zero that was never written.

    Where GPT has its headers it stays blank; an MBR disk gets boot code in the sectors before its
    first partition, as GRUB puts it there.
    """
    with image.open("wb") as file:
        if kind.table == "gpt":
            file.write(bytes(min(MIB, kind.start_lba * SECTOR)))
        for _ in range(file.tell(), kind.disk_mib * MIB - MIB, MIB // 2):
            file.write(rng.randbytes(MIB // 2))
        file.truncate((kind.disk_mib - 1) * MIB)
        file.truncate(kind.disk_mib * MIB)
        if kind.table == "none":
            file.seek(510)
            file.write(b"\0\0")  # random bytes must not look like a table


def _write_table(image: Path, kind: Kind, start: int, length: int) -> None:
    if kind.table == "dos":  # keeps the code that is there
        with image.open("r+b") as file:
            file.seek(440)
            file.write(bytes(72))
    gpt, unit = kind.table == "gpt", kind.sector_bytes
    types = GPT_TYPES if gpt else DOS_TYPES
    lines = [f"label: {'gpt' if gpt else 'dos'}", "unit: sectors"]
    if gpt:
        # Behind the header and the 16 KiB of the entries.
        lines.append(f"first-lba: {2 + 16384 // unit}")
    at = start // unit
    for number, (what, size) in enumerate(
        [("ext2", length), *((tail.what, tail.mib * MIB) for tail in kind.tail)]
    ):
        name = f', name="part {number + 1}"' if gpt else ", bootable" if number == 0 else ""
        lines.append(f"start={at}, size={size // unit}, type={types[what]}{name}")
        at += size // unit
    options = ("--quiet", "--no-reread", "--wipe=never", "--wipe-partitions=never")
    with as_disk(image, unit, read_only=False) as disk:
        _run(["sfdisk", *options, str(disk)], stdin="\n".join(lines) + "\n")


def _make_tail(image: Path, kind: Kind, at: int, rng: random.Random) -> None:
    for tail in kind.tail:
        _fill_tail(image, tail, at, rng)
        at += tail.mib * MIB


def _fill_tail(image: Path, tail: Tail, at: int, rng: random.Random) -> None:
    if tail.what == "raw":
        return
    with loop_device(image, at, tail.mib * MIB) as device:
        if tail.what == "swap":
            _run(["mkswap", "-q", "-L", "old swap", str(device)])
            return
        _run(["mke2fs", "-q", "-t", "ext2", "-E", "nodiscard", "-L", "second", str(device)])
        with mounted(device, read_only=False) as root:
            (root / "kept").write_bytes(rng.randbytes(200_000))


def _mkfs(kind: Kind, device: str, length: int, *more: str) -> None:
    block = kind.mkfs[kind.mkfs.index("-b") + 1]
    blocks = str(length // int(block))
    options = list(kind.mkfs)
    if "-E" not in options:
        options += ["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]
    elif "nodiscard" not in options[options.index("-E") + 1]:
        options[options.index("-E") + 1] += ",nodiscard"
    for extended in (m for m in more if m.startswith("offset=")):
        options[options.index("-E") + 1] += "," + extended
    rest = [m for m in more if not m.startswith("offset=")]
    _run(["mke2fs", "-q", "-F", "-L", "host", *options, *rest, device, blocks])


def _make_mounted(image: Path, kind: Kind, start: int, length: int, rng: random.Random) -> None:
    with loop_device(image, start, length) as device:
        _mkfs(kind, str(device), length)
        with mounted(device, "noinit_itable", read_only=False) as root:
            fill_tree(root, rng)
            if kind.tight:
                fill_to_the_brim(root, rng, kind.first_mib * MIB - start, length)
            else:
                age(root, rng, kind.used_percent)
        _run(["e2fsck", "-fn", str(device)])


def _make_offline(
    image: Path, kind: Kind, start: int, length: int, rng: random.Random, scratch: Path
) -> None:
    tree = scratch / "tree"
    tree.mkdir()
    fill_tree(tree, rng, sparse_bytes=12_000_000, flags=False)
    filler = []
    mean = max(60_000, length // 1000)
    (tree / "filler").mkdir()
    for number in range((55 if length < 128 * MIB else 25) * length // 100 // mean):
        filler.append(f"/filler/f{number:04}")
        (tree / filler[-1][1:]).write_bytes(
            rng.randbytes(rng.choice((mean // 6, mean, mean * 11 // 6)))
        )
    _mkfs(kind, str(image), length, "-d", str(tree), f"offset={start}")
    more = scratch / "more"
    more.write_bytes(rng.randbytes(3 * mean))
    rng.shuffle(filler)
    gone = filler[: len(filler) * 2 // 3]
    commands = [f"rm {path}" for path in gone]
    commands += [f"write {more} /filler/late{number}" for number in range(5)]
    with loop_device(image, start, length) as device:
        script = scratch / "commands"
        script.write_text("\n".join(commands) + "\n")
        _run(["debugfs", "-w", "-f", str(script), str(device)])
        for _ in range(2):  # the quota files settle in the second run
            _run(["e2fsck", "-fy", str(device)], allowed=(0, 1))
        _run(["e2fsck", "-fn", str(device)])


def _run(
    arguments: Sequence[str], *, stdin: str | None = None, allowed: tuple[int, ...] = (0,)
) -> None:
    done = subprocess.run(
        arguments,
        input=stdin or "",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
