"""Disk images with tables and filesystems as mke2fs makes them; for aged ones see `images`."""

from __future__ import annotations

from pathlib import Path

from oracles import run

from blockrep.disk.device import Device
from blockrep.errors import DeviceIO

MIB = 1 << 20
GIB = 1 << 30
START_BYTES = MIB


class CutDevice(Device):
    """Fails from its `left`-th write on, as if the power had gone."""

    left = 1 << 30

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        self.left -= 1
        if self.left < 0:
            raise DeviceIO("cut")
        super().write(offset_bytes, data)


def sparse_file(path: Path, size_bytes: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return path


def ext_disk(
    path: Path,
    size_bytes: int,
    mkfs: str = "-t ext4",
    *,
    label: str = "gpt",
    tree: Path | None = None,
    behind: str = "",
) -> str:
    """A disk whose first partition is an ext filesystem; how e2fsprogs name that filesystem.

    The partition reaches to the end, less what `behind` needs: further lines for sfdisk, whose
    sizes are in MiB. `tree` is copied in.
    """
    sparse_file(path, size_bytes)
    tail = sum(int(line.split("size=")[1].split("M")[0]) + 1 for line in behind.splitlines())
    length_mib = size_bytes // MIB - 2 - tail
    script = f"label: {label}\nstart=1MiB, size={length_mib}MiB\n{behind}"
    run("sfdisk", "--quiet", path, stdin=script)
    options = mkfs.split()
    if "-E" in options:
        options[options.index("-E") + 1] += f",offset={START_BYTES}"
    else:
        options += ["-E", f"offset={START_BYTES}"]
    source = ["-d", tree] if tree else []
    run("mke2fs", "-q", "-F", *options, *source, path, f"{length_mib}M")
    return f"{path}?offset={START_BYTES}"
