"""The header of a Linux swap area, version 1 (linux/swap.h, mkswap(8)).

A swap area holds nothing that outlives a boot, so it is made again elsewhere rather than moved;
what has to stay are its UUID and label, by which fstab names it. Bytes 0-1023 are left to boot
loaders, the header follows, the signature ends the first page.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

from blockrep.errors import FilesystemUnsupported

PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
HEADER_AT = 1024
SIGNATURE = b"SWAPSPACE2"
SIGNATURE_V0 = b"SWAP-SPACE"
HIBERNATED = (
    b"S1SUSPEND",
    b"S2SUSPEND",
    b"ULSUSPEND",
    b"LINHIB0001",
    b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c",
)
MIN_PAGES = 10

_HEADER = struct.Struct("<III16s16s")


@dataclass(frozen=True, slots=True)
class Swap:
    """`uuid` in lower case, as blkid says it. `length_bytes` is what the header vouches for."""

    uuid: str
    label: str
    page_bytes: int
    length_bytes: int


def parse_swap(data: bytes) -> Swap | None:
    """The swap area that begins with `data` (64 KiB see every page size), None if it is none.

    `FilesystemUnsupported` when a hibernated system is in it, which making it again would destroy,
    and for headers that we could not make again as they are.
    """
    for page_bytes in PAGE_SIZES:
        signature = data[page_bytes - 10 : page_bytes]
        if any(signature.startswith(mark) for mark in HIBERNATED):
            raise FilesystemUnsupported(
                "the swap area holds a hibernated system",
                hint="start that system and shut it down instead of hibernating it",
            )
        if signature == SIGNATURE_V0:
            raise FilesystemUnsupported(
                "the swap area is of the old version 0", hint="make it again with mkswap"
            )
        if signature == SIGNATURE:
            return _parse_header(data, page_bytes)
    return None


def _parse_header(data: bytes, page_bytes: int) -> Swap:
    version, last_page, bad_pages, unique, label = _HEADER.unpack_from(data, HEADER_AT)
    if version != 1:
        raise FilesystemUnsupported(
            f"the swap area has the unknown version {version}", hint="make it again with mkswap"
        )
    if bad_pages:
        raise FilesystemUnsupported(
            f"the swap area lists {bad_pages} bad pages", hint="replace the disk"
        )
    return Swap(
        uuid=str(uuid.UUID(bytes=unique)),
        label=label.split(b"\0", 1)[0].decode("utf-8", "surrogateescape"),
        page_bytes=page_bytes,
        length_bytes=(last_page + 1) * page_bytes,
    )


def build_swap_header(swap: Swap, length_bytes: int) -> bytes:
    """The first page of `swap` on an area of `length_bytes`, as `mkswap -U -L -p` makes it."""
    pages = length_bytes // swap.page_bytes
    if pages < MIN_PAGES:
        raise ValueError(f"a swap area has at least {MIN_PAGES} pages")
    page = bytearray(swap.page_bytes)
    label = swap.label.encode("utf-8", "surrogateescape")
    _HEADER.pack_into(page, HEADER_AT, 1, pages - 1, 0, uuid.UUID(swap.uuid).bytes, label)
    page[-len(SIGNATURE) :] = SIGNATURE
    return bytes(page)
