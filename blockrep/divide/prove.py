"""Prove the result on the device itself, with programs that we did not write."""

from __future__ import annotations

import tempfile

from blockrep.disk.device import Device
from blockrep.disk.loop import loop_device
from blockrep.disk.superblock import Superblock
from blockrep.divide.survey import check_filesystem, host_name, read_superblock
from blockrep.errors import (
    BlockrepError,
    DiskState,
    FilesystemDamaged,
    ProgramFailed,
    ProofFailed,
)
from blockrep.programs import run_program
from blockrep.progress import Progress

# $0 is the device, $1 where to mount it.
MOUNT_AND_LIST = 'mount -t ext4 -o ro,noload "$0" "$1" && ls -A "$1"'


def prove_host(device: Device, host_offset_bytes: int, progress: Progress) -> tuple[str, ...]:
    """`e2fsck -fn` and a read-only mount of the filesystem on the device; what was seen, in words.

    `ProofFailed` when e2fsck finds anything. A kernel that cannot mount this kind of filesystem
    proves nothing either way: that is told, not raised. No error says that the disk is unchanged,
    as what is to be proven is a change.
    """
    progress.phase("proving the result")
    try:
        superblock = _check(device, host_offset_bytes)
    except BlockrepError as error:
        error.state = DiskState.UNKNOWN
        raise
    return "e2fsck finds the filesystem clean", _mount_once(device, host_offset_bytes, superblock)


def _check(device: Device, host_offset_bytes: int) -> Superblock:
    device.drop_caches()
    superblock = read_superblock(device, host_offset_bytes, device.size_bytes - host_offset_bytes)
    if superblock is None:
        raise ProofFailed("the superblock cannot be read back")
    try:
        check_filesystem(host_name(device, host_offset_bytes), superblock)
    except FilesystemDamaged as error:
        raise ProofFailed(error.message) from error
    return superblock


def _mount_once(device: Device, host_offset_bytes: int, superblock: Superblock) -> str:
    try:
        return _mount(device, host_offset_bytes, superblock)
    except (ProgramFailed, OSError) as error:  # no mount(8), no room for a folder
        return f"it could not be mounted for a test: {error}"


def _mount(device: Device, host_offset_bytes: int, superblock: Superblock) -> str:
    """In a mount namespace of its own, so that not even a kill leaves the mount behind."""
    length = superblock.blocks * superblock.block_bytes
    with (
        loop_device(
            device.path,
            host_offset_bytes,
            length,
            read_only=True,
            sector_bytes=device.sector_bytes,
        ) as node,
        tempfile.TemporaryDirectory(prefix="blockrep-proof-") as folder,
    ):
        look = ["sh", "-c", MOUNT_AND_LIST, str(node), folder]
        result = run_program(["unshare", "--mount", *look], timeout_s=120)
    if result.returncode:
        why = (result.stderr.strip().splitlines() or ["no reason given"])[0]
        return f"it could not be mounted for a test: {why.removeprefix('mount: ')}"
    count = len(result.stdout.splitlines())
    return f"the kernel mounts it read-only ({count} entries in its root)"
