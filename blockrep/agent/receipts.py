"""The receipts of holders, kept in the state folder: what a holder has signed it cannot deny.

They may be lost: then the holders are asked, and the next backup brings new ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from blockrep.errors import BlockrepError
from blockrep.transfer.messages import RECEIPT_BYTES
from blockrep.transfer.receipt import Receipt

MAX_RECEIPTS = 64


def save_receipt(folder: Path, device_id: bytes, receipt: Receipt) -> None:
    """Keep the newest receipt of its holder for this device; a crash leaves the one before."""
    path = folder / f"{_prefix(device_id)}{receipt.holder_key.hex()}"
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(receipt.build())
        file.flush()
        # The name must not stand for less than all of it.
        os.fsync(file.fileno())
    new.rename(path)


def load_receipts(folder: Path, device_id: bytes) -> Iterator[Receipt]:
    """Those that are whole and signed; others are passed over."""
    for path in sorted(folder.glob(f"{_prefix(device_id)}*"))[:MAX_RECEIPTS]:
        if path.suffix == ".new":
            continue
        try:
            with path.open("rb") as file:
                receipt = Receipt.parse(file.read(RECEIPT_BYTES + 1))
            receipt.verify()
        except (OSError, BlockrepError):
            continue
        yield receipt


def _prefix(device_id: bytes) -> str:
    return f"receipt-{device_id.hex()}-"
