"""Which epoch is meant by what somebody types."""

from __future__ import annotations

import pytest

from blockrep.agent.opening import _is_meant
from blockrep.segment.epoch import Epoch


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("41", True),
        ("4", False),
        ("30012345", True),
        ("30012345ab", True),
        ("30012346", False),
        ("3001234", False),
        ("", False),
        ("-41", False),
    ],
)
def test_a_number_or_the_beginning_of_an_id(text: str, meant: bool) -> None:
    epoch = Epoch(
        number=41, id=bytes.fromhex("30012345AB" + 22 * "0"), parent=bytes(16), root=bytes(32),
        owner_key=bytes(32), device=bytes(16), group=bytes(16), writer=bytes(16), time_s=0,
        content_bytes=0, stored_bytes=0, disk_bytes=0, sector_bytes=512, key_id=bytes(8),
        encrypted=False, consistent=True, partitions=(),
    )  # fmt: skip
    assert _is_meant(epoch, text) == meant
