"""docs/recovery-by-hand.md with an encrypted replica, whole: dm-crypt opens it, in QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest
from by_hand import (
    COMMON,
    CONTENT,
    DATA_KEY,
    answers_for,
    commands,
    digests,
    escrow_for,
    expected,
    make_replica,
    script,
)
from disks import MIB
from loops import loop_device, mounted
from vm.guest import run_in_guest

from blockrep.group.recovery_key import new_recovery_text

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROGRAMS = (
    "awk", "base32", "blkid", "cryptsetup", "cut", "dd", "grep", "head", "losetup", "od", "openssl",
    "sfdisk", "tr", "truncate", "wc",
)  # fmt: skip


def test_an_encrypted_replica_is_taken_out(tmp_path: Path) -> None:
    key = new_recovery_text()
    replica = make_replica(tmp_path, key=DATA_KEY, escrow=escrow_for(key))
    blocks = commands(*COMMON, "If it is encrypted", "Make the image", "Mount it")
    answers = {**answers_for(replica, Path("/mnt")), "DISK": "/dev/vda", "RECOVERY_KEY": key}
    text = script(blocks, answers) + "\numount /mnt/files\ncryptsetup close replica\n"
    work = run_in_guest(tmp_path, replica.holder, text, PROGRAMS)
    with loop_device(work) as node, mounted(node) as root:
        log = (root / "log").read_text()
        assert "exit code 0\n" in log, log
        assert "encrypted: 1" in log and "zoe\n64\n" in log
        image = root / "disk.img"
        assert image.read_bytes()[:CONTENT] == expected(replica)
        copy = tmp_path / "disk.img"
        copy.write_bytes(image.read_bytes())
    with loop_device(copy, 2 * MIB, 28 * MIB, read_only=True) as node, mounted(node) as files:
        assert digests(files) == replica.manifest
