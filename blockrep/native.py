"""The only importer of the C core."""

from __future__ import annotations

from blockrep._core import ffi, lib


def crc32c(seed: int, data: bytes) -> int:
    """CRC32C as ext4 uses it: reflected, seeded, no final inversion."""
    return int(lib.br_crc32c(seed, ffi.from_buffer("uint8_t[]", data), len(data)))
