"""Prove the result on the device itself, with programs that we did not write."""

from __future__ import annotations

import tempfile
from pathlib import Path

from blockrep.disk.device import Device
from blockrep.disk.superblock import Superblock
from blockrep.divide.survey import check_filesystem, host_name, read_superblock
from blockrep.errors import DiskState, FilesystemDamaged, ProofFailed
from blockrep.programs import run_program
from blockrep.progress import Progress


def prove_host(device: Device, host_offset_bytes: int, progress: Progress) -> tuple[str, ...]:
    """`e2fsck -fn` and a read-only mount of the filesystem on the device; what was seen, in words.

    `ProofFailed` when e2fsck finds anything. A kernel that cannot mount this kind of filesystem
    proves nothing either way: that is told, not raised.
    """
    progress.phase("proving the result")
    device.drop_caches()
    superblock = read_superblock(device, host_offset_bytes, device.size_bytes - host_offset_bytes)
    if superblock is None:
        raise ProofFailed("the superblock cannot be read back", state=DiskState.UNKNOWN)
    try:
        check_filesystem(host_name(device, host_offset_bytes), superblock)
    except FilesystemDamaged as error:
        raise ProofFailed(error.message, state=DiskState.UNKNOWN) from error
    return "e2fsck finds the filesystem clean", _mount_once(device, host_offset_bytes, superblock)


def _mount_once(device: Device, host_offset_bytes: int, superblock: Superblock) -> str:
    length = superblock.blocks * superblock.block_bytes
    options = f"ro,noload,loop,offset={host_offset_bytes},sizelimit={length}"
    with tempfile.TemporaryDirectory(prefix="blockrep-proof-") as name:
        folder = Path(name)
        result = run_program(
            ["mount", "-t", "ext4", "-o", options, str(device.path), str(folder)], timeout_s=120
        )
        if result.returncode:
            return "the running kernel cannot mount it read-only for a test"
        try:
            count = sum(1 for _ in folder.iterdir())
        finally:
            run_program(["umount", str(folder)], timeout_s=120)
    return f"the kernel mounts it read-only ({count} entries in its root)"
