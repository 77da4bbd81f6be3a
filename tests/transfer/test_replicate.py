"""Epochs from an owner to real segments over real TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from replicas import BLOCK, CHUNK, START
from sides import KEY, HolderSide, change_blocks, random_disk, two_sides

from blockrep.extents import Extent
from blockrep.segment.epoch import parse_epoch
from blockrep.segment.geometry import MIB, geometry_with_ring
from blockrep.transfer.send import HolderResult, Mode

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


def test_a_holder_that_missed_an_epoch_gets_the_next(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE), holders=3) as (owner, holders):
        all_good(owner.back_up(*holders))
        change_blocks(owner.path, [1, 100], 2)
        all_good(owner.back_up(*holders[:2]))
        change_blocks(owner.path, [100, 2000], 3)
        all_good(owner.back_up(*holders))
        for holder in holders:
            assert owner.replica(holder) == owner.expected()
        numbers = [[e.epoch.number for e in h.store.epochs()] for h in holders]
        assert numbers == [[3, 2, 1], [3, 2, 1], [3, 1]]


def test_what_is_not_in_use_any_more_becomes_empty(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE, zero_share=0)) as (owner, (holder,)):
        all_good(owner.back_up(holder))
        owner.used = [Extent(0, 3 * MIB), Extent(8 * MIB, BLOCK)]
        for mode in (Mode.DIFFERENTIAL, Mode.FULL):
            owner.mode = mode
            results = owner.back_up(holder)
            all_good(results)
            assert owner.replica(holder) == owner.expected()
        owner.used = [Extent(11 * MIB, MIB)]
        all_good(owner.back_up(holder))
        assert owner.replica(holder) == owner.expected()


@pytest.mark.parametrize("change_mib", [-4, 4])
def test_a_first_area_that_became_smaller_or_larger(tmp_path: Path, change_mib: int) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        all_good(owner.back_up(holder))
        owner.path.write_bytes(random_disk(1, SIZE + change_mib * MIB))
        for lost in (False, True):
            if lost:
                owner.forget()
            change_blocks(owner.path, [7], int(lost))
            all_good(owner.back_up(holder))
            assert owner.replica(holder) == owner.expected()


def test_a_full_backup_sends_everything_and_a_differential_one_what_changed(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE, zero_share=0.5)) as (owner, (holder,)):
        used = len(owner.path.read_bytes().replace(bytes(BLOCK), b""))
        for mode in (Mode.DIFFERENTIAL, Mode.FULL):
            owner.mode = mode
            results = owner.back_up(holder)
            all_good(results)
            assert used < results[0].sent_bytes < 1.02 * used
        owner.mode = Mode.DIFFERENTIAL
        results = owner.back_up(holder)
        all_good(results)
        assert results[0].sent_bytes < 10_000
        assert results[0].received_bytes < 10_000


def test_scattered_changes_cost_little_more_than_their_blocks(tmp_path: Path) -> None:
    """1 % of the blocks, each in a chunk of its own: at most 1.1 times their length, and 1 %."""
    size = 48 * MIB
    shape = {"segment_mib": 80, "ring_mib": 16}
    with two_sides(tmp_path, random_disk(1, size, zero_share=0), **shape) as (owner, (holder,)):
        all_good(owner.back_up(holder))
        changed = list(range(3, size // BLOCK, 101))
        change_blocks(owner.path, changed, 4)
        results = owner.back_up(holder)
        all_good(results)
        assert owner.replica(holder) == owner.expected()
        assert results[0].sent_bytes <= (1.1 * 1.01) * len(changed) * BLOCK


def test_unencrypted_blocks_are_packed_and_encrypted_ones_are_not(tmp_path: Path) -> None:
    content = b"".join(bytes([n % 251 + 1]) * BLOCK for n in range(SIZE // BLOCK))
    with two_sides(tmp_path / "plain", content, key=None) as (owner, (holder,)):
        results = owner.back_up(holder)
        all_good(results)
        assert results[0].sent_bytes < SIZE // 10
        assert owner.replica(holder) == content
    with two_sides(tmp_path / "secret", content, key=KEY) as (owner, (holder,)):
        assert owner.back_up(holder)[0].sent_bytes > SIZE
        data = holder.path.read_bytes()
        assert bytes([77]) * 64 not in data


@pytest.mark.parametrize("lost", ["map", "state"])
def test_an_owner_that_knows_nothing_asks_for_the_map(tmp_path: Path, lost: str) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        all_good(owner.back_up(holder))
        owner.forget()
        if lost == "state":
            holder.reopen()
        change_blocks(owner.path, [9], 5)
        results = owner.back_up(holder)
        all_good(results)
        assert results[0].sent_bytes < 3 * BLOCK
        assert owner.replica(holder) == owner.expected()
        assert parse_epoch(results[0].receipt.record).number == 2


def test_an_owner_that_was_set_back_goes_on_behind_its_holders(tmp_path: Path) -> None:
    """Its kept map is older than the replica: the next number, and no full copy."""
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        all_good(owner.back_up(holder))
        older = owner.snapshot()
        change_blocks(owner.path, [1, 2], 6)
        all_good(owner.back_up(holder))
        newer = owner.expected()
        owner.set_back(older)
        results = owner.back_up(holder)
        all_good(results)
        assert parse_epoch(results[0].receipt.record).number == 3
        assert results[0].sent_bytes < 5 * BLOCK
        assert owner.replica(holder) == owner.expected() != newer


def test_a_kept_map_that_lies_is_not_believed(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE)) as (owner, (holder,)):
        all_good(owner.back_up(holder))
        path = tmp_path / "owner" / "kept.map"
        good = path.read_bytes()
        for at in (9, 100, 1100, 16384 + 20, 16384 + 4096, len(good) - 1):
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            change_blocks(owner.path, [at % 100], at)
            all_good(owner.back_up(holder))
            assert owner.replica(holder) == owner.expected()
        path.write_bytes(path.read_bytes()[:5000])
        all_good(owner.back_up(holder))


def test_rot_is_repaired_where_it_is_when_the_holder_reads_its_data(tmp_path: Path) -> None:
    with two_sides(tmp_path, random_disk(1, SIZE), holders=2) as (owner, holders):
        all_good(owner.back_up(*holders))
        rot(holders[0], 5 * CHUNK + 3 * BLOCK)
        change_blocks(owner.path, [0], 7)
        all_good(owner.back_up(*holders))
        with pytest.raises(AssertionError):
            owner.replica(holders[0])
        results = owner.back_up(*holders, verify=True)
        all_good(results)
        assert owner.replica(holders[0]) == owner.replica(holders[1]) == owner.expected()
        assert results[0].sent_bytes - results[1].sent_bytes in range(BLOCK, 2 * BLOCK)


def test_rot_that_is_met_while_applying_makes_the_chunk_come_whole(tmp_path: Path) -> None:
    """Between comparing and applying a block of the base rots: the holder asks again."""
    with two_sides(tmp_path, random_disk(1, SIZE, zero_share=0)) as (owner, (holder,)):
        all_good(owner.back_up(holder))
        change_blocks(owner.path, [5 * 16 + 1], 8)
        compare = holder.store.compare

        def compare_and_rot(*args: Any, **kwargs: Any) -> list[int]:
            wanted = compare(*args, **kwargs)
            rot(holder, 5 * CHUNK + 3 * BLOCK)
            return wanted

        holder.store.compare = compare_and_rot  # type: ignore[method-assign]
        results = owner.back_up(holder)
        all_good(results)
        assert owner.replica(holder) == owner.expected()
        assert results[0].sent_bytes > CHUNK


def rot(holder: HolderSide, at: int) -> None:
    """Change a byte of the data behind the store's back."""
    offset = START + geometry_with_ring(32 * MIB, 6 * MIB).data_offset + at
    data = bytearray(holder.device.read(offset, BLOCK))
    data[100] ^= 1
    holder.device.write(offset, bytes(data))
