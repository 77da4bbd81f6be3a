"""A value that several tests look at."""

from __future__ import annotations

from blockrep.disk.area import Area, AreaSegment, ChangedPartition
from blockrep.disk.table import TableKind

MIB = 1 << 20

# Written in tests/compat as well: it cannot change.
AREA = Area(
    instance_id=bytes(range(16)),
    generation=1,
    created_s=1_700_000_000,
    disk_bytes=64 * MIB,
    sector_bytes=512,
    table_kind=TableKind.GPT,
    divider_bytes=16 * MIB,
    area_start_bytes=16 * MIB,
    first_end_bytes=15 * MIB,
    host=1,
    host_block_bytes=4096,
    host_old_blocks=15000,
    reserve=None,
    segments=(
        AreaSegment(
            1, 20 * MIB, 20 * MIB, 12 * MIB, 4 * MIB, "00112233-4455-6677-8899-AABBCCDDEEFF"
        ),
        AreaSegment(
            2,
            40 * MIB,
            20 * MIB,
            12 * MIB,
            4 * MIB,
            "10112233-4455-6677-8899-AABBCCDDEEFF",
            "Zoë's PC",
            bytes(range(32)),
        ),
    ),
    changed=(
        ChangedPartition(1, MIB, 62 * MIB),
        ChangedPartition(5, 50 * MIB, MIB, is_swap=True),
        ChangedPartition(2, 0, 0),
    ),
)
