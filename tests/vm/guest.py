"""A machine in QEMU with Debian's own kernel and this system's programs, for one script.

This kernel has no device-mapper. `scripts/guest` fetches one that has. It is emulated, hence slow.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from disks import MIB, sparse_file
from oracles import run

ROOT = Path(__file__).parents[2]
GUEST = ROOT / "build/guest"
MODULES = ("virtio_pci", "virtio_blk", "loop", "dm-crypt", "xts", "aes_generic", "ecb", "ext4")
BASE = (
    "sh", "mount", "umount", "modprobe", "cat", "dmesg", "sync", "sleep", "ls", "mkdir", "rm",
)  # fmt: skip
INIT = """#!/bin/sh
export PATH=/bin DM_DISABLE_UDEV=1 LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
echo 1 >/proc/sys/kernel/printk
modprobe -a @MODULES@
mount -t ext4 /dev/vdb /mnt
sh /script >/mnt/log 2>&1
echo "exit code $?" >>/mnt/log
sync
umount /mnt
echo o >/proc/sysrq-trigger
sleep 60
"""


def run_in_guest(
    folder: Path, disk: Path, script: str, programs: Sequence[str], *, work_mib: int = 256
) -> Path:
    """Run a script with `disk` as /dev/vda, read-only, and an empty ext4 at /mnt.

    What is at /mnt afterwards is in the image that is given back; `log` has what the script said.
    """
    run(ROOT / "scripts/guest", timeout_s=600)
    initramfs = _make_initramfs(folder, script, [*BASE, *programs])
    work = sparse_file(folder / "work.img", work_mib * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", work)
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max",
        "-m", "1024", "-smp", "2", "-nographic", "-no-reboot", "-nic", "none",
        "-kernel", GUEST / "vmlinuz", "-initrd", initramfs,
        "-append", "console=ttyS0 quiet panic=-1",
        "-drive", f"file={disk},format=raw,if=virtio,readonly=on",
        "-drive", f"file={work},format=raw,if=virtio",
    ]  # fmt: skip
    run(*command, timeout_s=600)
    return work


def _make_initramfs(folder: Path, script: str, programs: Sequence[str]) -> Path:
    root = folder / "guest"
    for name in ("bin", "proc", "sys", "dev", "mnt", "run", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    for name in programs:
        _copy_program(root, name)
    _copy_modules(root)
    (root / "script").write_text(script)
    init = root / "init"
    init.write_text(INIT.replace("@MODULES@", " ".join(MODULES)))
    init.chmod(0o755)
    image = folder / "initramfs"
    with image.open("wb") as out:
        names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            input=names.encode(), stdout=out, cwd=root, check=True, timeout=60,
        )  # fmt: skip
    return image


def _copy_program(root: Path, name: str) -> None:
    """A program under its name, with its libraries where it looks for them."""
    found = shutil.which(name)
    assert found, f"{name} is not installed"
    shutil.copy(Path(found).resolve(), root / "bin" / name)
    for library in re.findall(r"(/\S+) \(0x", run("ldd", found, ok=(0, 1))):
        place = root / library[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(library).resolve(), place)


def _copy_modules(root: Path) -> None:
    version = next((GUEST / "lib/modules").iterdir()).name
    listed = run("modprobe", "-d", GUEST, "-S", version, "-a", "--show-depends", *MODULES)
    for path in sorted(set(re.findall(r"^insmod (\S+)", listed, re.M))):
        place = root / Path(path).relative_to(GUEST)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    run("depmod", "-b", root, version)
