"""A replica read back from a holder that may be mistaken or lie."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from replicas import BLOCK, CHUNK
from sides import KEY, HolderSide, OwnerSide, change_blocks, random_disk, two_sides

from blockrep.chunks import empty_pages
from blockrep.errors import (
    BlockrepError,
    EpochRefused,
    NoSuchEpoch,
    OtherWriter,
    PeerRefused,
    ProtocolError,
    RecordDamaged,
)
from blockrep.segment.content import ChunkBlocks
from blockrep.segment.epoch import parse_epoch
from blockrep.segment.geometry import MIB
from blockrep.segment.values import StoredEpoch
from blockrep.transfer import fetch
from blockrep.transfer.fetch import RemoteView
from blockrep.transfer.stores import Peer

SIZE = 7 * MIB + 3 * BLOCK


@contextmanager
def backed_up(tmp_path: Path, **kinds: Any) -> Iterator[tuple[OwnerSide, HolderSide]]:
    with two_sides(tmp_path, random_disk(3, SIZE), **kinds) as (owner, (holder,)):
        result = owner.back_up(holder)[0]
        assert result.error is None
        yield owner, holder


def read_all(owner: OwnerSide, view: RemoteView) -> tuple[bytes, list[int]]:
    """The disk as the replica gives it, and the chunks that are damaged."""
    result = bytearray(-(-SIZE // CHUNK) * CHUNK)
    damaged, last = [], -1
    for found in view.chunks():
        assert found.chunk > last
        last = found.chunk
        if found.blocks is None:
            damaged.append(found.chunk)
        else:
            plain = owner.plain(found.chunk, found.mask, bytes(found.blocks))
            result[found.chunk * CHUNK : (found.chunk + 1) * CHUNK] = plain
    return bytes(result[:SIZE]), damaged


@pytest.mark.parametrize("key", [KEY, None], ids=["encrypted", "plain"])
def test_the_whole_disk_comes_back_at_any_epoch(tmp_path: Path, key: bytes | None) -> None:
    with backed_up(tmp_path, key=key) as (owner, holder):
        states = [owner.expected()]
        for seed in (4, 5):
            change_blocks(owner.path, [seed, seed * 50], seed)
            assert owner.back_up(holder)[0].error is None
            states.append(owner.expected())
        with owner.reader(holder) as reader:
            assert [e.present for e in reader.epochs] == [True, False, False]
            for listed, state in zip(reader.epochs, reversed(states), strict=True):
                with reader.view(listed.epoch.id, tmp_path) as view:
                    assert read_all(owner, view) == (state, [])
    assert not holder.errors


def test_parts_of_chunks_at_random(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder), owner.reader(holder) as reader:
        epoch_id = reader.epochs[0].epoch.id
        with reader.view(epoch_id, tmp_path) as view:
            masks = {c: view.entry(c).mask for c in range(SIZE // CHUNK)}
            items = [(c, m & 0x5A5A) for c, m in masks.items() if m][:40]
            assert view.read(items) == holder.store.view(epoch_id).read(items)
            assert view.map_pages(0, 1) == holder.store.map_pages(0, 1)
            assert view.read([]) == ChunkBlocks(b"", [])
            with pytest.raises(ValueError, match="does not have"):
                view.read([(next(c for c, m in masks.items() if m != 0xFFFF), 0xFFFF)])


def test_whoever_stops_reading_can_go_on_elsewhere(tmp_path: Path) -> None:
    with (
        backed_up(tmp_path) as (owner, holder),
        owner.reader(holder) as reader,
        reader.view(reader.epochs[0].epoch.id, tmp_path) as view,
    ):
        for found in view.chunks():
            if found.chunk > 20:
                break
        assert view.read([(0, view.entry(0).mask)]).damaged == [False]
        assert read_all(owner, view) == (owner.expected(), [])


def test_a_reader_that_rests_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "LOOK_S", 0.05)
    with backed_up(tmp_path) as (owner, holder):
        holder.silence_s = 0.5
        with owner.reader(holder) as reader:
            reader._channel._alive_s = 0.1
            time.sleep(1.2)
            assert reader.pin(reader.epochs[0].epoch.id, 60) == 60
    assert not holder.errors


def test_pin_and_escrow(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder), owner.reader(holder) as reader:
        assert reader.escrow() == b"escrow of anna"
        assert reader.pin(reader.epochs[0].epoch.id, 86_400) > 0
        assert [e.pinned for e in holder.store.epochs()] == [True]


def test_who_may_read(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder):
        owner.device_id = b"another device!!"
        with pytest.raises(NoSuchEpoch):
            owner.reader(holder)
        owner.device_id = b"d" * 16
        peer = holder.members[owner.identity.key]
        holder.members[owner.identity.key] = type(peer)(peer.key, "anna", True, frozenset())
        with pytest.raises(PeerRefused):
            owner.reader(holder)


def test_a_takeover_changes_who_writes(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder):
        owner.instance = b"owner-restored-!"
        assert isinstance(owner.back_up(holder)[0].error, OtherWriter)
        with owner.reader(holder) as reader:
            state = reader.take_over(owner.instance, owner.identity.sign)
            assert state.record == reader.epochs[0].record
        change_blocks(owner.path, [3], 3)
        assert owner.back_up(holder)[0].error is None
        assert owner.replica(holder) == owner.expected()
        owner.instance = b"owner-instance-1"
        assert isinstance(owner.back_up(holder)[0].error, OtherWriter)


def test_a_takeover_by_another_key_is_refused(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder):
        with owner.reader(holder) as reader, pytest.raises(EpochRefused):
            reader.take_over(b"a thief's disk!!", holder.identity.sign)
        assert holder.store.info.writer == b"owner-instance-1"


def test_whoever_may_only_read_takes_nothing_over(tmp_path: Path) -> None:
    """A member to whom reading was granted, or an owner whose taking over is denied here."""
    with backed_up(tmp_path) as (owner, holder):
        key = owner.identity.key
        holder.members[key] = Peer(key, "anna", True, may_read=frozenset({key}))
        with owner.reader(holder) as reader, pytest.raises(PeerRefused, match="take over"):
            reader.take_over(b"a thief's disk!!", owner.identity.sign)
        assert holder.store.info.writer == b"owner-instance-1"


class Liar:
    """A store's answers, changed on their way to the reader."""

    def __init__(self, holder: HolderSide) -> None:
        self.store = holder.store

    def change(self, name: str, changed: Any) -> None:
        true = getattr(self.store, name)
        setattr(self.store, name, lambda *a, **k: changed(true(*a, **k)))


def test_wrong_blocks_are_damaged_whatever_the_holder_says(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder):

        def change(found: ChunkBlocks) -> ChunkBlocks:
            blocks = bytearray(found.blocks)
            blocks[-1] ^= 1
            return ChunkBlocks(bytes(blocks), found.damaged)

        Liar(holder).change("blocks_of", change)
        with (
            owner.reader(holder) as reader,
            reader.view(reader.epochs[0].epoch.id, tmp_path) as view,
        ):
            disk, damaged = read_all(owner, view)
        # The last chunk of each READ.
        assert len(damaged) == -(-SIZE // CHUNK // 16)
        true = owner.expected()
        for chunk in range(SIZE // CHUNK):
            place = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
            assert disk[place] == (bytes(CHUNK) if chunk in damaged else true[place])


def test_damage_that_the_holder_knows_of_is_told(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder):
        Liar(holder).change(
            "blocks_of", lambda found: ChunkBlocks(found.blocks, [True, *found.damaged[1:]])
        )
        with (
            owner.reader(holder) as reader,
            reader.view(reader.epochs[0].epoch.id, tmp_path) as view,
        ):
            _, damaged = read_all(owner, view)
            assert damaged[0] == 0


@pytest.mark.parametrize("at", [16, 60, 4095])
def test_a_map_that_is_not_the_signed_one_is_refused(tmp_path: Path, at: int) -> None:
    with backed_up(tmp_path) as (owner, holder):

        def change(pages: bytes) -> bytes:
            return pages[:at] + bytes([pages[at] ^ 1]) + pages[at + 1 :]

        Liar(holder).change("map_pages", change)
        with owner.reader(holder) as reader, pytest.raises(ProtocolError):
            reader.view(reader.epochs[0].epoch.id, tmp_path)


def test_a_sound_map_of_something_else_is_refused(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder):
        Liar(holder).change("map_pages", lambda pages: empty_pages(0, len(pages) // 4096))
        with owner.reader(holder) as reader, pytest.raises(EpochRefused):
            reader.view(reader.epochs[0].epoch.id, tmp_path)


def test_an_epoch_that_the_owner_did_not_sign_is_refused(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder):

        def change(found: list[StoredEpoch]) -> list[StoredEpoch]:
            old = found[0]
            record = old.record[:176] + bytes(8) + old.record[184:]
            return [StoredEpoch(record, old.epoch, True, False, False)]

        Liar(holder).change("epochs", change)
        with pytest.raises(RecordDamaged):
            owner.reader(holder)


def test_an_epoch_that_is_not_there(tmp_path: Path) -> None:
    with backed_up(tmp_path) as (owner, holder), owner.reader(holder) as reader:
        with pytest.raises(NoSuchEpoch):
            reader.view(b"n" * 16, tmp_path)
        assert reader.pin(reader.epochs[0].epoch.id, 5) == 5
        with pytest.raises(NoSuchEpoch):
            reader.pin(b"n" * 16, 5)


def test_a_view_survives_only_as_long_as_its_epoch(tmp_path: Path) -> None:
    with backed_up(tmp_path, ring_mib=2) as (owner, holder), owner.reader(holder) as reader:
        first = reader.epochs[0].epoch.id
        with reader.view(first, tmp_path) as view:
            for seed in range(6):
                change_blocks(owner.path, list(range(200)), seed)
                result = owner.back_up(holder)[0]
                assert result.error is None
            assert parse_epoch(holder.store.info.epoch or b"").number == 7
            with pytest.raises(BlockrepError):
                read_all(owner, view)
