"""What people read: plans, disks and outcomes as lines of text. Nothing here prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from blockrep.cli.disk_map import (
    scene_of_divided,
    scene_of_inspection,
    scenes_of_plan,
)
from blockrep.cli.terminal import Terminal, clean
from blockrep.cli.text_map import legend_lines, map_lines
from blockrep.divide.summary import (
    DividedDisk,
    DivideSummary,
    FilePlace,
    FilesystemSummary,
    Inspection,
    Outcome,
    Region,
    SegmentSummary,
)
from blockrep.units import format_bytes, format_duration, format_exact, format_share

_TABLES = {"gpt": "GPT", "dos": "MBR", "none": "no partition table"}


def plan_lines(plan: DivideSummary, terminal: Terminal, *, undivide: bool = False) -> list[str]:
    """A plan with its maps before and after, what it costs and what it makes."""
    before, after = scenes_of_plan(plan, divided_before=undivide)
    head = f"{'Undivide' if undivide else 'Divide'} {clean(plan.disk)}: {_disk_text(plan)}"
    return [
        head,
        "",
        *map_lines(before, terminal),
        "",
        *map_lines(after, terminal),
        "",
        *legend_lines((before, after), terminal),
        "",
        *_work_lines(plan, undivide),
        *_segment_block(plan.segments, undivide),
        *_note_lines(plan.notes),
    ]


def inspection_lines(found: Inspection, terminal: Terminal) -> list[str]:
    """The map of a disk, its partitions and what its filesystem holds."""
    scene = scene_of_inspection(found)
    lines = [
        *map_lines(scene, terminal),
        "",
        *legend_lines((scene,), terminal),
        "",
        *_region_table(found.regions),
    ]
    if found.filesystem:
        lines += ["", *_filesystem_lines(found.filesystem, found.host_partition)]
    if found.divided:
        lines += ["", *_divided_lines(found.divided)]
    return lines


def divided_lines(disk: DividedDisk, terminal: Terminal) -> list[str]:
    """The divider, the first area and the segments of a divided disk."""
    scene = scene_of_divided(disk)
    return [
        *map_lines(scene, terminal),
        "",
        *legend_lines((scene,), terminal),
        "",
        *_divided_lines(disk),
    ]


def outcome_lines(outcome: Outcome) -> list[str]:
    """How it ended, as a sentence and its details."""
    disk = clean(outcome.disk)
    sentence = {
        "divided": f"{disk} is divided.",
        "undivided": f"{disk} is undivided.",
        "unchanged": f"{disk} is as it was.",
        "finished": f"The interrupted change of {disk} is finished.",
        "backed out": f"The interrupted change of {disk} is backed out: it is as it was before.",
        "nothing to do": f"There is nothing to do: no interrupted change is on {disk}.",
    }.get(outcome.action, f"{disk}: {clean(outcome.action)}.")
    lines = [sentence, *(f"  {clean(detail)}" for detail in outcome.details)]
    if outcome.copied_bytes:
        took = format_duration(outcome.elapsed_s)
        lines.append(f"  {format_bytes(outcome.copied_bytes)} moved in {took}.")
    return lines


def file_line(file: FilePlace) -> str:
    """Runs, size, first address, path: the path comes last because it may hold anything."""
    first = str(file.runs[0].start) if file.runs else "-"
    return f"{len(file.runs):>6}  {file.size_bytes:>15}  {first:>15}  {clean(file.path)}"


FILE_HEADER = f"{'runs':>6}  {'bytes':>15}  {'first byte':>15}  path"


def table_lines(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Rows, the first the head, in columns as wide as they need; those in `right` end together."""
    ends = set(right)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if at in ends else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _disk_text(disk: DivideSummary | DividedDisk) -> str:
    table = _TABLES.get(disk.table, disk.table)
    return f"{format_exact(disk.disk_bytes)}, {table}, sectors of {disk.sector_bytes} bytes"


def _work_lines(plan: DivideSummary, undivide: bool) -> list[str]:
    block_text = f"{plan.host_blocks_before} -> {plan.host_blocks_after} blocks"
    rows = [("divider", format_exact(plan.divider_bytes) + (", removed" if undivide else ""))]
    if plan.host_partition is not None:
        rows.append(("filesystem", f"{block_text}, ends at {format_exact(plan.host_end_bytes)}"))
        rows.append(("files moved", _moved_text(plan)))
        rows.append(("in pieces", f"{plan.fragmented_before} files -> {plan.fragmented_after}"))
    rows.append(("to copy", f"{format_bytes(plan.copy_bytes)} of files"))
    rows.append(("to rewrite", f"{format_bytes(plan.metadata_bytes)} of metadata"))
    if plan.log_place:
        rows.append(("log", clean(plan.log_place)))
    rows.append(("time", f"about {format_duration(plan.estimated_s)}"))
    return _pairs(rows)


def _moved_text(plan: DivideSummary) -> str:
    if not plan.files_joined:
        return str(plan.files_moved)
    return f"{plan.files_moved}, of which {plan.files_joined} are joined"


def _segment_block(segments: Sequence[SegmentSummary], undivide: bool) -> list[str]:
    if not segments:
        return []
    head = "Segments that are removed, with all that they hold:" if undivide else "Segments:"
    return ["", head, *_segment_table(segments)]


def _segment_table(segments: Sequence[SegmentSummary], *, identities: bool = False) -> list[str]:
    """`identities` adds the partition UUID, which means nothing before there is a partition."""
    rows: list[tuple[str, ...]] = [
        ("", "start", "size", "holds", "history", "partition UUID", "owner")
    ]
    for segment in segments:
        rows.append(
            (
                str(segment.number),
                str(segment.start_bytes),
                format_bytes(segment.length_bytes),
                format_bytes(segment.capacity_bytes),
                format_bytes(segment.history_bytes),
                clean(segment.uuid),
                clean(segment.owner) or "-",
            )
        )
    if not identities:
        rows = [(*row[:5], row[6]) for row in rows]
    return ["  " + line for line in table_lines(rows, right=(0, 1, 2, 3, 4))]


def _region_table(regions: Sequence[Region]) -> list[str]:
    rows = [("", "what", "start", "size", "filesystem", "name")]
    for region in regions:
        rows.append(
            (
                str(region.number) if region.number else "",
                clean(region.kind),
                str(region.start_bytes),
                format_bytes(region.length_bytes),
                clean(region.filesystem),
                clean(region.name),
            )
        )
    return ["  " + line for line in table_lines(rows, right=(0, 2, 3))]


def _filesystem_lines(filesystem: FilesystemSummary, partition: int | None) -> list[str]:
    where = f" in partition {partition}" if partition else ""
    used = filesystem.used_blocks / max(1, filesystem.blocks)
    pieces = filesystem.fragmented_files / max(1, filesystem.files)
    inode_text = f"{filesystem.used_inodes} of {filesystem.inodes}"
    return [
        f"{clean(filesystem.type)} filesystem{where}:",
        *_pairs(
            [
                ("blocks", f"{filesystem.blocks} of {filesystem.block_bytes} bytes"),
                ("used", f"{filesystem.used_blocks} blocks, {format_share(used)}"),
                ("inodes", f"{inode_text} used"),
                ("files", f"{filesystem.files}, and {filesystem.directories} directories"),
                ("in pieces", f"{filesystem.fragmented_files} files, {format_share(pieces)}"),
                ("smallest first area", format_exact(filesystem.minimum_first_bytes)),
            ]
        ),
    ]


def _divided_lines(disk: DividedDisk) -> list[str]:
    lines = _pairs(
        [
            ("disk", f"{clean(disk.disk)}, {_disk_text(disk)}"),
            ("divider", format_exact(disk.divider_bytes)),
            ("first area ends", format_exact(disk.first_area_end_bytes)),
            ("area record", f"{format_bytes(disk.area.length_bytes)} at {disk.area.start_bytes}"),
            ("instance", clean(disk.instance_id)),
        ]
    )
    if not disk.segments:
        return [*lines, "", "No segments: the second area is one reserve."]
    return [*lines, "", "Segments:", *_segment_table(disk.segments, identities=True)]


def _note_lines(notes: Sequence[str]) -> list[str]:
    return ["", *(f"Note: {clean(note)}" for note in notes)] if notes else []


def _pairs(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"  {name.ljust(width)}  {value}" for name, value in rows]
