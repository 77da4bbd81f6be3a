"""The second part of docs/recovery-by-hand.md as a script, and a replica to run it on."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from disks import MIB, sparse_file
from epochs_in_memory import MemoryEpoch, make_epoch
from holding import DEVICE_ID, divided_disk, hold, read_area
from oracles import run

from blockrep.disk.device import Device
from blockrep.group.escrow import Secrets, wrap_secrets
from blockrep.group.identity import DeviceKeys, identity_from_seed
from blockrep.group.recovery_key import derive_recovery

PAGE = Path(__file__).parents[1] / "docs/recovery-by-hand.md"
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


def common_answers(replica: Replica, work: Path) -> dict[str, str]:
    return {k: v for k, v in answers_for(replica, work).items() if k != "PARTITION"}


def expected(replica: Replica) -> bytes:
    data = bytearray(CONTENT)
    owner = replica.owner.read_bytes()
    for chunk, (mask, _) in replica.source.stored.items():
        for bit in range(16):
            if mask >> bit & 1:
                at = chunk * 65536 + bit * 4096
                data[at : at + 4096] = owner[at : at + 4096]
    return bytes(data)


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
