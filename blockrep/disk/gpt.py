"""GUID partition tables as bytes (UEFI specification 2.10, chapter 5.3).

Pure codecs: bytes in, values out and back; nothing here reads or writes a device. All counts and
sizes are checked against caps before anything is sized by them.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass, replace

from blockrep.disk.partition import Partition
from blockrep.errors import TableDamaged, TableUnsupported

SIGNATURE = b"EFI PART"
PRIMARY_LBA = 1
REVISION = 0x00010000
MIN_HEADER_BYTES = 92
MIN_ENTRY_BYTES = 128
MAX_ENTRY_BYTES = 4096
MAX_ENTRIES = 1024
NAME_BYTES = 72

_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_UNUSED = bytes(16)


@dataclass(frozen=True, slots=True)
class GptHeader:
    """One header. `sector` is the sector it was read from: what we do not know in it is kept."""

    my_lba: int
    alternate_lba: int
    first_usable_lba: int
    last_usable_lba: int  # inclusive, as on disk
    disk_guid: str
    entries_lba: int
    entry_count: int
    entry_bytes: int
    entries_crc: int
    header_bytes: int
    sector: bytes

    @property
    def array_bytes(self) -> int:
        return self.entry_count * self.entry_bytes

    @property
    def array_sectors(self) -> int:
        return -(-self.array_bytes // len(self.sector))


def parse_header(sector: bytes, lba: int, disk_sectors: int) -> GptHeader:
    """The header in `sector`, which lies at `lba`; its array's checksum is not looked at.

    `TableDamaged` says in one phrase what does not hold.
    """
    if sector[:8] != SIGNATURE:
        raise TableDamaged("there is no GPT header")
    (_, revision, header_bytes, crc, _, my_lba, alternate, first, last, guid, entries_lba, count,
     entry_bytes, entries_crc) = _HEADER.unpack_from(sector)  # fmt: skip
    if not MIN_HEADER_BYTES <= header_bytes <= len(sector):
        raise TableDamaged(f"the GPT header says that it is {header_bytes} bytes long")
    if _header_crc(sector, header_bytes) != crc:
        raise TableDamaged("the checksum of the GPT header is wrong")
    if revision != REVISION:
        raise TableDamaged(f"the GPT header has the unknown revision {revision:#x}")
    header = GptHeader(
        my_lba, alternate, first, last, _guid_text(guid), entries_lba, count, entry_bytes,
        entries_crc, header_bytes, sector,
    )  # fmt: skip
    _check_header(header, lba, disk_sectors)
    return header


def _check_header(header: GptHeader, lba: int, disk_sectors: int) -> None:
    size = header.entry_bytes
    if header.my_lba != lba:
        raise TableDamaged(f"the GPT header in sector {lba} says it is that of {header.my_lba}")
    if not MIN_ENTRY_BYTES <= size <= MAX_ENTRY_BYTES or size & (size - 1):
        raise TableDamaged(f"the GPT header says that an entry has {size} bytes")
    if not 1 <= header.entry_count <= MAX_ENTRIES:
        raise TableDamaged(f"the GPT header says that there are {header.entry_count} entries")
    if not 2 <= header.first_usable_lba <= header.last_usable_lba < disk_sectors:
        raise TableDamaged(
            f"the GPT header says that sectors {header.first_usable_lba} to "
            f"{header.last_usable_lba} of {disk_sectors} are usable"
        )
    if not 2 <= header.entries_lba <= disk_sectors - header.array_sectors:
        raise TableDamaged(f"the GPT header puts the entries in sector {header.entries_lba}")
    if header.alternate_lba == lba or not PRIMARY_LBA <= header.alternate_lba < disk_sectors:
        raise TableDamaged(f"the GPT header puts the other one in sector {header.alternate_lba}")


def check_array(header: GptHeader, array: bytes) -> None:
    """`TableDamaged` unless `array` is the one that the header vouches for."""
    if zlib.crc32(array) != header.entries_crc:
        raise TableDamaged("the checksum of the GPT entries is wrong")


def parse_entries(header: GptHeader, array: bytes) -> tuple[Partition, ...]:
    """The used entries in number order; `array` has `header.array_bytes` bytes."""
    sector_bytes, size = len(header.sector), header.entry_bytes
    parts = (
        _parse_entry(array[index * size : (index + 1) * size], index + 1, sector_bytes)
        for index in range(header.entry_count)
    )
    return tuple(part for part in parts if part is not None)


def _parse_entry(entry: bytes, number: int, sector_bytes: int) -> Partition | None:
    kind, unique, first, last, attributes, name = _ENTRY.unpack_from(entry)
    if kind == _UNUSED:
        return None
    if last < first:
        raise TableDamaged(f"partition {number} ends before it starts")
    return Partition(
        number=number,
        start_bytes=first * sector_bytes,
        length_bytes=(last - first + 1) * sector_bytes,
        type=_guid_text(kind),
        uuid=_guid_text(unique),
        name=_parse_name(name),
        attributes=attributes,
    )


def build_entries(header: GptHeader, array: bytes, partitions: tuple[Partition, ...]) -> bytes:
    """The array that says `partitions`, made from the array that is there.

    Bytes that need not change do not: bytes of an entry past the known fields, names that are not
    proper UTF-16, unused entries that are not zero.
    """
    before = {part.number: part for part in parse_entries(header, array)}
    wanted = {part.number: part for part in partitions}
    size = header.entry_bytes
    result = bytearray(array)
    for number in before.keys() | wanted.keys():
        if not 1 <= number <= header.entry_count:
            raise TableUnsupported(
                f"the GPT has room for {header.entry_count} partitions, not for number {number}"
            )
        at = (number - 1) * size
        old, new = before.get(number), wanted.get(number)
        if new is None:
            result[at : at + size] = bytes(size)
        elif new != old:
            base = result[at : at + size] if old else bytearray(size)
            result[at : at + size] = _build_entry(base, old, new, len(header.sector))
    return bytes(result)


def _build_entry(
    base: bytearray, old: Partition | None, new: Partition, sector_bytes: int
) -> bytearray:
    name = base[56 : 56 + NAME_BYTES]
    if old is None or old.name != new.name:
        name = bytearray(build_name(new.name))
    first, rest = divmod(new.start_bytes, sector_bytes)
    count, odd = divmod(new.length_bytes, sector_bytes)
    if rest or odd or count < 1:
        raise ValueError(f"partition {new.number} does not consist of whole sectors")
    _ENTRY.pack_into(
        base, 0, _guid_bytes(new.type), _guid_bytes(new.uuid), first, first + count - 1,
        new.attributes, bytes(name),
    )  # fmt: skip
    return base


def build_header(header: GptHeader) -> bytes:
    """Its sector, with a true checksum; unknown bytes are those of `header.sector`."""
    sector = bytearray(header.sector)
    _HEADER.pack_into(
        sector, 0, SIGNATURE, REVISION, header.header_bytes, 0, 0, header.my_lba,
        header.alternate_lba, header.first_usable_lba, header.last_usable_lba,
        _guid_bytes(header.disk_guid), header.entries_lba, header.entry_count, header.entry_bytes,
        header.entries_crc,
    )  # fmt: skip
    # Bytes 20-23 are reserved and under the checksum: keep what stands there.
    sector[20:24] = header.sector[20:24]
    struct.pack_into("<I", sector, 16, _header_crc(sector, header.header_bytes))
    return bytes(sector)


def with_array(header: GptHeader, array: bytes, entries_lba: int) -> GptHeader:
    """The header that vouches for `array` at `entries_lba`."""
    return replace(header, entries_lba=entries_lba, entries_crc=zlib.crc32(array))


def mirror(header: GptHeader, lba: int) -> GptHeader:
    """The other copy's header, at `lba`; its array is to be given by `with_array`."""
    return replace(header, my_lba=lba, alternate_lba=header.my_lba)


def build_name(name: str) -> bytes:
    """UTF-16LE, cut to 36 units without splitting a character."""
    encoded = name.encode("utf-16-le", "replace")[:NAME_BYTES]
    text = encoded.decode("utf-16-le", "ignore")
    return text.encode("utf-16-le").ljust(NAME_BYTES, b"\0")


def _parse_name(raw: bytes) -> str:
    return raw.decode("utf-16-le", "replace").split("\0", 1)[0]


def _header_crc(sector: bytes | bytearray, header_bytes: int) -> int:
    return zlib.crc32(sector[:16] + bytes(4) + sector[20:header_bytes])


def _guid_text(raw: bytes) -> str:
    return str(uuid.UUID(bytes_le=raw)).upper()


def _guid_bytes(text: str) -> bytes:
    return uuid.UUID(text).bytes_le
