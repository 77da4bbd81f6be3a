"""Tables of owners as sfdisk makes them, made again for another disk, read as any other."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from disks import MIB, sparse_file
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import loop_device
from oracles import run

from blockrep.disk.device import Device
from blockrep.disk.partition import Partition, Table, TableKind
from blockrep.disk.table import read_table
from blockrep.errors import DoesNotFit
from blockrep.transfer.restore_place import Place
from blockrep.transfer.restore_table import plan_table

DISK_MIB = 64


@dataclass(frozen=True)
class Layout:
    """Gaps and sizes in MiB; how many of the partitions are in the first area."""

    kind: str
    spans: tuple[tuple[int, int], ...]
    kept: int
    primaries: int
    sector_bytes: int
    target_sector_bytes: int
    target_bytes: int


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    kind = draw(st.sampled_from(["gpt", "dos"]))
    spans = tuple(draw(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8)), min_size=2,
                                max_size=5)))  # fmt: skip
    sizes = st.sampled_from([512, 4096])
    sector_bytes = draw(sizes)
    target_sector_bytes = draw(sizes)
    blocks = draw(st.one_of(st.integers(60 * 256, 80 * 256), st.integers(256, 80 * 256)))
    return Layout(
        kind,
        spans,
        len(spans) - draw(st.integers(0, len(spans))),
        draw(st.integers(0, min(3, len(spans)))),
        sector_bytes,
        target_sector_bytes,
        blocks * 4096,
    )


def script(layout: Layout) -> tuple[str, int]:
    """For sfdisk, and where the first area ends."""
    lines, at, ends = [f"label: {layout.kind}"], 1, [1]
    for number, (gap, size) in enumerate(layout.spans):
        if layout.kind == "dos" and number == layout.primaries:
            lines.append(f"start={at}MiB, type=5")
        lines.append(f"start={at + gap}MiB, size={size}MiB")
        at += gap + size
        ends.append(at)
    return "\n".join(lines) + "\n", ends[layout.kept] * MIB


def read_first_area(path: Path, content_bytes: int, sector_bytes: int) -> Device:
    """The disk as an epoch has it: zeros behind the first area."""
    size = path.stat().st_size
    with path.open("r+b") as disk:
        disk.truncate(content_bytes)
        disk.truncate(size)
    device = Device(path)
    device.sector_bytes = sector_bytes
    return device


@settings(max_examples=80)
@given(layouts())
def test_what_was_in_the_first_area_is_there_and_nothing_else(layout: Layout) -> None:
    text, content = script(layout)
    with tempfile.TemporaryDirectory() as folder:
        owner = sparse_file(Path(folder, "owner"), DISK_MIB * MIB)
        with loop_device(owner, sector_bytes=layout.sector_bytes) as node:
            run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", node, stdin=text)
            with Device(node) as device:
                before = read_table(device)
        target = sparse_file(Path(folder, "target"), layout.target_bytes)
        place = Place(target.stat().st_size, layout.target_sector_bytes, content,
                      layout.sector_bytes)  # fmt: skip
        with read_first_area(owner, content, layout.sector_bytes) as source:
            try:
                plan = plan_table(source, (), place)
            except DoesNotFit:
                assert content + 64 * 4096 > layout.target_bytes
                return
            head = bytearray(source.read(0, plan.head_bytes)) if content else bytearray()
        for write in plan.head:
            head[write.offset_bytes : write.end_bytes] = write.data
        with target.open("r+b") as disk:
            for offset, data in ((0, bytes(head)), *((w.offset_bytes, w.data)
                                 for w in (*plan.inside, *plan.tail))):  # fmt: skip
                assert offset % layout.target_sector_bytes == 0
                assert offset + len(data) <= layout.target_bytes
                disk.seek(offset)
                disk.write(data)
        with Device(target) as device:
            device.sector_bytes = layout.target_sector_bytes
            after = read_table(device)
        check(before, after, content)


def check(before: Table, after: Table, content: int) -> None:
    assert after.kind is before.kind and after.disk_id == before.disk_id
    wanted = [p for p in before.partitions if p.end_bytes <= content and is_data(before, p)]
    found = [p for p in after.partitions if is_data(after, p)]
    assert [said(p) for p in found] == [said(p) for p in wanted]
    if before.kind is TableKind.GPT:
        assert after.usable_end_bytes <= after.disk_bytes


def is_data(table: Table, part: Partition) -> bool:
    return table.kind is TableKind.GPT or part.is_logical or not part.is_extended


def said(part: Partition) -> tuple[object, ...]:
    return (part.number, part.start_bytes, part.length_bytes, part.type, part.uuid, part.name)
