"""A holder: a disk divided by the program, with a replica in its first segment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from disks import MIB, sparse_file
from epochs_in_memory import MemoryEpoch
from oracles import run
from replicas import FakeClock

from blockrep.disk.area import Area, find_area
from blockrep.disk.device import Device
from blockrep.disk.table import read_table
from blockrep.segment.epoch import build_epoch
from blockrep.segment.reader import EpochReader
from blockrep.segment.store import Store
from blockrep.segment.values import Assignment

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DEVICE_ID = b"device of zoe 01"


def divided_disk(path: Path, size_mib: int, first: str, *, label: str = "gpt") -> Path:
    """A disk with one segment, as large as it can be."""
    sparse_file(path, size_mib * MIB)
    script = f"label: {label}\nstart=1MiB, size={size_mib - 3}MiB\n"
    run("sfdisk", "--quiet", path, stdin=script)
    run("mke2fs", "-q", "-F", "-b", "4096", "-E", f"offset={MIB}", path, f"{size_mib - 3}M")
    program = Path(sys.executable).with_name("blockrep")
    run(program, "divide", path, "--first", first, "--peers", "1", "--yes")
    return path


def read_area(device: Device) -> Area:
    found = find_area(device, read_table(device))
    assert found is not None
    return found[1]


@contextmanager
def opened_store(disk: Path) -> Iterator[Store]:
    with Device(disk, writable=True) as device:
        yield Store.open(device, read_area(device).segments[0].start_bytes, FakeClock())


def hold(disk: Path, source: MemoryEpoch, escrow: bytes = b"") -> None:
    """Send a whole epoch into the first segment, which is assigned if it is not yet."""
    old = source.epoch
    epoch = replace(old, owner_key=KEY.public_key().public_bytes_raw(), device=DEVICE_ID)
    with opened_store(disk) as store:
        if not store.info.device_id:
            store.assign(
                Assignment(
                    epoch.group, epoch.owner_key, DEVICE_ID, "zoe", epoch.writer,
                    epoch.content_bytes, 0, escrow=escrow,
                )
            )  # fmt: skip
        store.begin(epoch.id, epoch.number, epoch.parent)
        chunks = range(-(-epoch.content_bytes // 65536))
        for first in range(0, len(chunks), 16):
            send(store, source, chunks[first : first + 16])
        store.commit(build_epoch(epoch, KEY.sign))


def send(store: Store, source: MemoryEpoch, chunks: range) -> None:
    items, blocks = [], []
    for chunk in chunks:
        mask, data = source.stored.get(chunk, (0, b""))
        items.append((chunk, mask, mask, source.digest(chunk)))
        blocks.append(data)
    assert store.apply(items, b"".join(blocks)) == []


def reader_of(store: Store, number: int) -> EpochReader:
    """The epoch with that number."""
    found = next(held for held in store.epochs() if held.epoch.number == number)
    return store.view(found.epoch.id)
