"""Epochs from an owner to real segments over real TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from replicas import BLOCK
from sides import KEY, change_blocks, random_disk, two_sides

from blockrep.segment.geometry import MIB
from blockrep.transfer.send import HolderResult

SIZE = 12 * MIB


def all_good(results: list[HolderResult]) -> None:
    for result in results:
        if result.error is not None:
            raise result.error
        assert result.receipt is not None


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
@pytest.mark.parametrize("size", [SIZE, 3 * MIB + BLOCK])
def test_a_first_copy_and_changes(tmp_path: Path, key: bytes | None, size: int) -> None:
    with two_sides(tmp_path, random_disk(1, size), key=key) as (owner, (holder,)):
        all_good(owner.back_up(holder))
        assert owner.replica(holder) == owner.expected()
        change_blocks(owner.path, [0, 5, 17, size // BLOCK - 1], 2)
        all_good(owner.back_up(holder))
        assert owner.replica(holder) == owner.expected()
        first, second = (e.epoch for e in reversed(holder.store.epochs()))
        assert (first.number, second.number, second.parent) == (1, 2, first.id)
    assert not holder.errors
