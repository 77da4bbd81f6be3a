"""Blocks encrypted and compressed, against the `cryptography` package and lz4's own format."""

from __future__ import annotations

import contextlib
import os
from random import Random

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from blockrep import chunks
from blockrep.chunks import BLOCK_BYTES

chunk_numbers = st.one_of(st.sampled_from([0, 2**28, 2**60 - 1]), st.integers(0, 2**60 - 1))
masks = st.one_of(st.sampled_from([0, 1, 0x8000, 0xFFFF]), st.integers(0, 0xFFFF))
seeds = st.integers(0, 2**32)


def encrypted(key: bytes, block: int, data: bytes) -> bytes:
    tweak = block.to_bytes(16, "little")
    context = Cipher(algorithms.AES(key), modes.XTS(tweak)).encryptor()
    return context.update(data) + context.finalize()


@given(st.lists(st.tuples(chunk_numbers, masks), max_size=4), seeds)
def test_encryption(listed: list[tuple[int, int]], seed: int) -> None:
    random = Random(seed)
    key = random.randbytes(chunks.KEY_BYTES)
    numbers, chosen = [c for c, _ in listed], [m for _, m in listed]
    plain = random.randbytes(chunks.packed_bytes(chosen))
    blocks = [c * 16 + bit for c, m in listed for bit in range(16) if m >> bit & 1]
    buffer = bytearray(plain)
    chunks.encrypt_blocks(key, numbers, chosen, buffer)
    assert buffer == b"".join(
        encrypted(key, block, plain[i * BLOCK_BYTES :][:BLOCK_BYTES])
        for i, block in enumerate(blocks)
    )
    chunks.decrypt_blocks(key, numbers, chosen, memoryview(buffer))
    assert buffer == plain


def test_encryption_refuses_what_does_not_fit() -> None:
    key, block = bytes(range(64)), bytearray(BLOCK_BYTES)
    for call in (chunks.encrypt_blocks, chunks.decrypt_blocks):
        for arguments in [
            (key[:32], [0], [1], block),
            (key[:32] * 2, [0], [1], block),
            (key, [0], [3], block),
            (key, [0, 1], [1], block),
            (key, [2**60], [1], block),
            (key, [-1], [1], block),
        ]:
            with pytest.raises(ValueError):
                call(*arguments)
        with pytest.raises(BufferError):
            call(key, [0], [1], bytes(block))
    assert block == bytes(BLOCK_BYTES)


def lz4_block(data: bytes) -> bytes:
    """Decoded as lz4_Block_format.md says."""
    out, at = bytearray(), 0

    def number(nibble: int) -> int:
        nonlocal at
        while nibble >= 15:
            at += 1
            nibble += data[at - 1]
            if data[at - 1] != 255:
                break
        return nibble

    while True:
        token = data[at]
        at += 1
        literals = number(token >> 4)
        out += data[at : at + literals]
        at += literals
        if at == len(data):
            return bytes(out)
        distance = int.from_bytes(data[at : at + 2], "little")
        at += 2
        for _ in range(number(token & 15) + 4):
            out.append(out[-distance])


pieces = st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 400)), max_size=20)


@given(pieces)
def test_compression(listed: list[tuple[bytes, int]]) -> None:
    data = b"".join(piece * times for piece, times in listed)
    made = chunks.compress(memoryview(data))
    if made is None:
        assert len(data) < 200 or all(times < 4 for _, times in listed)
        return
    assert len(made) < len(data)
    assert lz4_block(made) == data
    assert chunks.decompress(made, len(data)) == data
    for wrong in (len(data) - 1, len(data) + 1):
        with pytest.raises(ValueError):
            chunks.decompress(made, wrong)
    with pytest.raises(ValueError):
        chunks.decompress(made[:-1], len(data))


def test_what_does_not_become_smaller() -> None:
    assert chunks.compress(os.urandom(1 << 20)) is None
    assert chunks.compress(b"") is None


@given(st.binary(max_size=300), st.integers(-1, 2000))
def test_decompressing_nonsense(data: bytes, raw_bytes: int) -> None:
    with contextlib.suppress(ValueError):
        assert len(chunks.decompress(data, raw_bytes)) == raw_bytes


def test_lengths_of_a_peer_are_capped() -> None:
    full = bytes(chunks.MAX_RAW_BYTES)
    made = chunks.compress(full)
    assert made is not None and chunks.decompress(made, len(full)) == full
    for call in (
        lambda: chunks.compress(full + b"\0"),
        lambda: chunks.decompress(made, chunks.MAX_RAW_BYTES + 1),
        lambda: chunks.decompress(full + b"\0", 1),
        lambda: chunks.decompress(made, 2**40),
    ):
        with pytest.raises(ValueError):
            call()
