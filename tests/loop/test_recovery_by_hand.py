"""docs/recovery-by-hand.md, part two: its own commands, run on a replica that the store made."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from disks import MIB, sparse_file
from epochs_in_memory import MemoryEpoch, make_epoch
from holding import DEVICE_ID, divided_disk, hold, opened_store, read_area
from loops import loop_device, mounted
from oracles import run

from blockrep.disk.device import Device
from blockrep.group.escrow import Secrets, wrap_secrets
from blockrep.group.identity import DeviceKeys, identity_from_seed
from blockrep.group.recovery_key import derive_recovery, new_recovery_text

pytestmark = pytest.mark.root

PAGE = Path(__file__).parents[2] / "docs/recovery-by-hand.md"
CONTENT = 30 * MIB
DISK = 50 * MIB
GROUP = bytes(16)
DATA_KEY = bytes(range(100, 164))


def commands(*headings: str) -> list[str]:
    """The fenced blocks below these headings of the second part, in order."""
    text = PAGE.read_text().split("# A replica, with nothing of ours\n")[1]
    found: list[str] = []
    for heading in headings:
        part = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        blocks = re.findall(r"^```\n(.*?)^```$", part, re.M | re.S)
        assert blocks, f"nothing to run below {heading}"
        found += blocks
    return found


COMMON = ("Find the segment", "List the stored blocks")
PLAIN = (*COMMON, "If it is not encrypted", "Make the image", "Mount it")


@dataclass
class Replica:
    holder: Path
    owner: Path
    source: MemoryEpoch
    manifest: dict[str, str]


def make_replica(
    folder: Path, *, label: str = "gpt", key: bytes | None = None, escrow: bytes = b""
) -> Replica:
    owner = sparse_file(folder / "owner.img", DISK)
    owner.write_bytes(os.urandom(MIB) * (DISK // MIB))
    with owner.open("r+b") as disk:
        disk.write(bytes(MIB))
    run("sfdisk", "-q", owner, stdin="label: gpt\nstart=4096, size=57344\n")
    tree = folder / "tree"
    (tree / "sub").mkdir(parents=True)
    for number in range(30):
        (tree / "sub" / f"file {number}").write_bytes(os.urandom(5000 * number))
    run("mke2fs", "-q", "-F", "-b", "4096", "-E", f"offset={2 * MIB}", "-d", tree, owner, "28M")
    free = free_blocks(owner)
    source = make_epoch(owner, CONTENT, key=key, skip=lambda block: block in free)
    holder = divided_disk(folder / "holder.img", 140, "32M", label=label)
    hold(holder, source, escrow)
    return Replica(holder, owner, source, digests(tree))


def free_blocks(owner: Path) -> set[int]:
    text = run("dumpe2fs", f"{owner}?offset={2 * MIB}")
    found: set[int] = set()
    for line in re.findall(r"^  Free blocks: (.+)$", text, re.M):
        for item in line.split(", "):
            first, _, last = item.partition("-")
            found.update(range(512 + int(first), 512 + int(last or first) + 1))
    return found


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def segment_start(holder: Path) -> int:
    with Device(holder) as device:
        return read_area(device).segments[0].start_bytes


def script(blocks: list[str], answers: dict[str, str]) -> str:
    """The blocks as one script, with the answers in the place of the examples."""
    text = "\n".join(["set -eu", *blocks])
    for name, value in answers.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.M)
        assert count == 1, name
    return text


def answers_for(replica: Replica, work: Path) -> dict[str, str]:
    return {
        "DISK": str(replica.holder),
        "WORK": str(work),
        "FIRST": str(segment_start(replica.holder) // 512),
        "PARTITION": "4096",
    }


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


def expected(replica: Replica) -> bytes:
    data = bytearray(CONTENT)
    owner = replica.owner.read_bytes()
    for chunk, (mask, _) in replica.source.stored.items():
        for bit in range(16):
            if mask >> bit & 1:
                at = chunk * 65536 + bit * 4096
                data[at : at + 4096] = owner[at : at + 4096]
    return bytes(data)


def test_the_newer_header_is_found(tmp_path: Path) -> None:
    replica = make_replica(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    for _ in range(2):  # one after the other in each slot
        with opened_store(replica.holder) as store:
            store.set_escrow(os.urandom(100))
        said = run_script(script(commands(*COMMON), common_answers(replica, work)))
        assert "state 1, epoch 1" in said


def common_answers(replica: Replica, work: Path) -> dict[str, str]:
    return {k: v for k, v in answers_for(replica, work).items() if k != "PARTITION"}


def escrow_for(text: str) -> bytes:
    secrets = Secrets(
        group_id=GROUP,
        identity=identity_from_seed(bytes(32)),
        owner_name="zoe",
        group_name="family",
        devices=(
            DeviceKeys(bytes(16), bytes(64)),
            DeviceKeys(DEVICE_ID, DATA_KEY),
        ),
    )
    return wrap_secrets(secrets, derive_recovery(text, GROUP).wrap_key)


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
