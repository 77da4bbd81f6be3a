"""docs/recovery-by-hand.md, part two: its own commands, run on a replica that the store made."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from by_hand import (
    COMMON,
    CONTENT,
    DATA_KEY,
    DISK,
    PAGE,
    PLAIN,
    answers_for,
    commands,
    common_answers,
    digests,
    escrow_for,
    expected,
    make_replica,
    script,
)
from disks import MIB
from holding import opened_store
from loops import loop_device, mounted

from blockrep.group.recovery_key import new_recovery_text

pytestmark = pytest.mark.root


def run_script(text: str) -> str:
    done = subprocess.run(
        ["sh", "-c", text],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_replica_is_taken_out_and_mounted(tmp_path: Path, label: str) -> None:
    replica = make_replica(tmp_path, label=label)
    work = tmp_path / "work"
    work.mkdir()
    before = replica.holder.stat().st_mtime_ns
    text = script(commands(*PLAIN), answers_for(replica, work))
    # The mounts of the tests are in a namespace of their own, and this one goes with the shell.
    said = run_script(f"{text}\numount $WORK/files\n")
    blocks = replica.source.epoch.stored_bytes // 4096
    assert "BLKRSEGM\nzoe\n" in said and "state 1, epoch 1, encrypted: 0" in said
    assert f", {blocks} blocks" in said
    assert replica.holder.stat().st_mtime_ns == before
    image = work / "disk.img"
    assert image.stat().st_size == DISK
    with loop_device(image, 2 * MIB, 28 * MIB, read_only=True) as node, mounted(node) as root:
        assert digests(root) == replica.manifest
    assert image.read_bytes()[:CONTENT] == expected(replica)


def test_the_newer_header_is_found(tmp_path: Path) -> None:
    replica = make_replica(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    for _ in range(2):  # one after the other in each slot
        with opened_store(replica.holder) as store:
            store.set_escrow(os.urandom(100))
        said = run_script(script(commands(*COMMON), common_answers(replica, work)))
        assert "state 1, epoch 1" in said


@pytest.mark.parametrize("passphrase", ["", "correct horse battery staple"])
def test_the_key_comes_out_of_the_escrow(tmp_path: Path, passphrase: str) -> None:
    """All but dm-crypt, which this kernel does not have."""
    text = passphrase or new_recovery_text()
    replica = make_replica(tmp_path, key=DATA_KEY, escrow=escrow_for(text))
    work = tmp_path / "work"
    work.mkdir()
    blocks = commands("If it is encrypted")
    if passphrase:
        given = PAGE.read_text().split("passphrase: `")[1].split("`, with")[0]
        blocks[0] = re.sub(r"^PASS=.*?hex\)$", "", blocks[0], flags=re.M | re.S)
        blocks.insert(0, given.replace("the passphrase", passphrase))
        text = new_recovery_text()
    answers = {**common_answers(replica, work), "RECOVERY_KEY": text.lower()}
    before_crypt = [block for block in blocks if "cryptsetup" not in block]
    assert len(before_crypt) == len(blocks) - 1
    said = run_script(script([*commands(*COMMON), *before_crypt], answers))
    assert "encrypted: 1" in said and said.endswith("zoe\n64\n")
    assert (work / "key").read_bytes() == DATA_KEY
    assert not (work / "secrets").exists()
