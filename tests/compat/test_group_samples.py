"""Group documents, keys and escrows of every version ever written are still read.

The samples are never made again; a new version gets a new file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from examples import AREA
from group_builders import GROUP, NOW, identity, section

from blockrep.disk.area import build_area, parse_area
from blockrep.group.document import build_document, parse_document
from blockrep.group.escrow import Secrets, escrow_group, unwrap_secrets
from blockrep.group.identity import DeviceKeys, area_keys
from blockrep.group.recovery_key import derive_recovery
from blockrep.group.section import MemberDevice

HERE = Path(__file__).parent
DEVICE = DeviceKeys(bytes(range(16)), bytes(range(64)))
RECOVERY_TEXT = "BR1-000G4-0R40M-30E20-9185G-R38E1-W8124-GKAE6-VGZ8"
NAME = "Zoë's PC"


def sample(name: str) -> bytes:
    length, *lines = (HERE / name).read_text().split("\n")
    record = bytearray(int(length))
    for line in filter(None, lines):
        offset, data = line.split(" ")
        record[int(offset, 16) : int(offset, 16) + len(data) // 2] = bytes.fromhex(data)
    return bytes(record)


def test_area_version_1_with_keys() -> None:
    keys = area_keys(
        identity(1),
        DEVICE,
        group_id=GROUP,
        group_name="home",
        member_name=NAME,
        joined_s=NOW,
        counter=7,
        wrap_key=bytes(range(32)),
    )
    area = replace(AREA, keys=keys)
    assert parse_area(sample("area-keys-v1.hex")) == area
    assert build_area(area) == sample("area-keys-v1.hex")


def test_escrow_version_1() -> None:
    escrow = sample("escrow-v1.hex")
    keys = derive_recovery(RECOVERY_TEXT, escrow_group(escrow))
    found = unwrap_secrets(escrow, keys.wrap_key)
    assert found == Secrets(GROUP, identity(1), NAME, "home", (DEVICE,))


def test_group_document_version_1() -> None:
    data = (HERE / "group-v1.json").read_bytes()
    document = parse_document(data, GROUP)
    assert build_document(document) + b"\n" == data
    first = document.section(identity(0).key)
    second = document.section(identity(1).key)
    assert first == section(0, 1, (1,))
    assert second is not None
    member = second.member
    assert (member.name, member.counter, member.addresses) == (NAME, 7, ("192.0.2.1:7717",))
    assert member.devices == (
        MemberDevice(bytes(range(16)), bytes(range(16, 32)), "sda", 1 << 30, 9 << 30),
    )
    assert member.recovery is not None
    assert member.recovery.escrow == sample("escrow-v1.hex")
