"""Look before anything is planned: what is on the disk, and whether we may touch it.

Read-only, but for `repair_host`. Everything that is refused is refused here, by name and with what
the user can do.
"""

from __future__ import annotations

import re
import struct

from blockrep.disk.device import Device
from blockrep.disk.loop import loop_device
from blockrep.disk.superblock import (
    STATE_ERRORS,
    STATE_VALID,
    SUPERBLOCK_BYTES,
    SUPERBLOCK_OFFSET_BYTES,
    Superblock,
    parse_superblock,
)
from blockrep.errors import (
    DiskState,
    FilesystemDamaged,
    FilesystemNotClean,
    FilesystemUnsupported,
    ProgramFailed,
)
from blockrep.programs import Result, find_program, run_program

REFUSED_FEATURES = {
    "mmp": "it is protected against multiple mounts (mmp)",
    "journal_dev": "it is an external journal",
    "shared_blocks": "its files share blocks (shared_blocks)",
    "stable_inodes": "its inode numbers may not change (stable_inodes)",
    "read-only": "it is marked read-only for good",
}
# What boot loaders address by block number, and who does.
BOOT_FILES = {
    "/ldlinux.sys": "SYSLINUX",
    "/boot/ldlinux.sys": "EXTLINUX",
    "/extlinux/ldlinux.sys": "EXTLINUX",
    "/boot/extlinux/ldlinux.sys": "EXTLINUX",
    "/boot/syslinux/ldlinux.sys": "EXTLINUX",
    "/syslinux/ldlinux.sys": "SYSLINUX",
    "/boot/map": "LILO",
}
# A check of a healthy filesystem takes a small fraction of this, also on a slow disk.
CHECK_BASE_S = 30
CHECK_BYTES_PER_S = 1_000_000
GRUB_KERNEL_SECTOR_OFFSET = 0x5C
BOOT_SECTOR_BYTES = 512


def read_superblock(device: Device, host_offset_bytes: int, length_bytes: int) -> Superblock | None:
    """The primary superblock of what begins there; None when it is no ext filesystem."""
    if length_bytes < SUPERBLOCK_OFFSET_BYTES + SUPERBLOCK_BYTES:
        return None
    raw = device.read(host_offset_bytes + SUPERBLOCK_OFFSET_BYTES, SUPERBLOCK_BYTES)
    return parse_superblock(raw)


def judge_host(device: Device, superblock: Superblock, length_bytes: int) -> None:
    """Refuse a host filesystem that cannot be rewritten safely; its damage is e2fsck's to find."""
    name = f"the {superblock.kind} filesystem"
    if superblock.revision == 0:
        raise FilesystemUnsupported(f"{name} has the old revision 0", hint="upgrade it: tune2fs -r")
    for feature in superblock.features:
        if ":" in feature:
            raise FilesystemUnsupported(f"{name} has a feature not known here: {feature}")
        if feature in REFUSED_FEATURES:
            raise FilesystemUnsupported(f"{name} cannot be moved: {REFUSED_FEATURES[feature]}")
    if superblock.has_external_journal:
        raise FilesystemUnsupported(f"the journal of {name} is on another device")
    if superblock.block_bytes < device.sector_bytes:
        raise FilesystemUnsupported(f"{name} has blocks smaller than the device's sectors")
    if superblock.blocks * superblock.block_bytes > length_bytes:
        raise FilesystemDamaged(
            f"{name} says it has {superblock.blocks * superblock.block_bytes} bytes and there are "
            f"{length_bytes}",
            hint="the partition or image was cut short: bring it back to its full size first",
        )


def judge_cleanliness(superblock: Superblock) -> None:
    """Refuse what was not unmounted, flagged errors, or has a journal or orphans to process."""
    name = f"the {superblock.kind} filesystem"
    if superblock.state & STATE_ERRORS:
        raise FilesystemDamaged(f"the kernel has flagged errors on {name}")
    if not superblock.state & STATE_VALID:
        raise FilesystemNotClean(f"{name} was not unmounted cleanly")
    if superblock.has("needs_recovery"):
        raise FilesystemNotClean(f"{name} has a journal to replay")
    if superblock.last_orphan or superblock.has("orphan_present"):
        raise FilesystemNotClean(f"{name} has deleted files to clean up (orphans)")


def host_name(device: Device, host_offset_bytes: int) -> str:
    """How e2fsprogs name a filesystem at an offset of a whole disk."""
    return f"{device.path}?offset={host_offset_bytes}" if host_offset_bytes else str(device.path)


def repair_host(device: Device, host_offset_bytes: int, length_bytes: int) -> None:
    """`e2fsck -fy`, as the user asked with --fsck; `FilesystemDamaged` when that is not enough.

    On a loop device: when it has replayed a journal it opens the filesystem again, and forgets an
    offset. The disk stays held by us meanwhile.
    """
    with loop_device(
        device.path,
        host_offset_bytes,
        length_bytes,
        read_only=False,
        sector_bytes=device.sector_bytes,
    ) as node:
        result = run_program(["e2fsck", "-f", "-y", str(node)])
    device.flush()
    device.drop_caches()
    if result.returncode > 1:
        raise FilesystemDamaged(
            f"e2fsck could not repair the filesystem: {_last_line(result)}",
            hint="run e2fsck by hand",
            state=DiskState.UNKNOWN,
        )


def check_filesystem(name: str, superblock: Superblock) -> None:
    """`e2fsck -fn`: `FilesystemDamaged` with what it found, when it is not clean.

    There is damage, and there are mixtures of features, that send it into an endless loop.
    """
    find_program("e2fsck")
    limit_s = CHECK_BASE_S + superblock.table_bytes / CHECK_BYTES_PER_S
    try:
        result = run_program(["e2fsck", "-f", "-n", name], timeout_s=limit_s)
    except ProgramFailed as error:
        raise FilesystemDamaged(f"the filesystem cannot be checked: {error.message}") from error
    if result.returncode & 8 and "unsupported feature" in result.stderr:
        raise FilesystemUnsupported("the installed e2fsck does not know this filesystem's features")
    if result.returncode:
        raise FilesystemDamaged(f"e2fsck finds the filesystem damaged: {_first_problem(result)}")


def refuse_bad_blocks(device: Device, host_offset_bytes: int) -> None:
    """A list of bad blocks names places, not files: moving it makes no sense."""
    result = run_program(["dumpe2fs", "-b", host_name(device, host_offset_bytes)])
    if result.returncode:
        raise ProgramFailed(f"dumpe2fs failed: {_last_line(result)}")
    if result.stdout.strip():
        raise FilesystemUnsupported(
            "the filesystem has a list of bad blocks",
            hint="replace the drive; a drive that shows bad blocks must not hold backups",
        )


def find_pinned(device: Device, host_offset_bytes: int, block_bytes: int) -> dict[int, str]:
    """Inodes of the files that a boot loader addresses by block, with their names."""
    name = host_name(device, host_offset_bytes)
    pinned = {}
    for path, loader in BOOT_FILES.items():
        result = run_program(["debugfs", "-R", f"stat {path}", name])
        if found := re.search(r"^Inode: (\d+) ", result.stdout):
            pinned[int(found[1])] = f"{path} of {loader}"
    for block in _grub_blocks(device, host_offset_bytes, block_bytes):
        result = run_program(["debugfs", "-R", f"icheck {block}", name])
        if found := re.search(rf"^{block}\t(\d+)$", result.stdout, re.MULTILINE):
            pinned[int(found[1])] = "the core image of GRUB"
    return pinned


def _grub_blocks(device: Device, host_offset_bytes: int, block_bytes: int) -> list[int]:
    """GRUB's boot sector names the first sector of its core image; usually that is no file's."""
    blocks = []
    for start in {0, host_offset_bytes}:
        sector = device.read(start, BOOT_SECTOR_BYTES)
        (lba,) = struct.unpack_from("<Q", sector, GRUB_KERNEL_SECTOR_OFFSET)
        at = lba * BOOT_SECTOR_BYTES - host_offset_bytes
        if b"GRUB" in sector and 0 < at < device.size_bytes:
            blocks.append(at // block_bytes)
    return blocks


def _last_line(result: Result) -> str:
    lines = (result.stderr + result.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {result.returncode}"


def _first_problem(result: Result) -> str:
    """The first thing that e2fsck would have fixed."""
    for line in result.stdout.splitlines():
        if line.strip() and not line.startswith(("Pass ", "e2fsck ")):
            return line.strip()
    return _last_line(result)
