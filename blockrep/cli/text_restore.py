"""What people read of a restore. Nothing here prints."""

from __future__ import annotations

from typing import Any

from blockrep.cli.document import Document
from blockrep.cli.terminal import clean
from blockrep.cli.text import table_lines
from blockrep.cli.text_group import time_text
from blockrep.units import format_bytes, format_duration, format_exact

MAX_NAMED = 20


def replica_lines(replica: Document) -> list[str]:
    """Which epoch, and who gives it."""
    holders = ", ".join(clean(name) for name in replica["holders"])
    return [
        f"Epoch {replica['epoch']} of {clean(replica['owner'])}, {clean(replica['device'])}: "
        f"{time_text(replica['time_s'])}, {format_bytes(replica['stored_bytes'])} stored, "
        f"held by {holders}",
        *(f"! {clean(failure)}" for failure in replica["failures"]),
    ]


def restore_lines(restore: Any) -> list[str]:
    """The plan: the disk, what will be on it, and what else there is to know."""
    plan = restore.summary
    rows = [("partition", "start", "size", "content", "label")]
    rows += [
        (
            str(part.number or "-"),
            format_bytes(part.start_bytes),
            format_bytes(part.length_bytes),
            clean(part.content) or "-",
            clean(part.label) or "-",
        )
        for part in plan.partitions
    ]
    return [
        f"Restore onto {clean(plan.target)}, {format_exact(plan.target_bytes)}: "
        "everything on it is lost.",
        "",
        *(f"  {line}" for line in table_lines(rows, right=(0, 1, 2))),
        "",
        f"  {format_bytes(plan.stored_bytes)} are written; what is not stored becomes zeros.",
        *(f"  {clean(note)}" for note in plan.notes),
    ]


def restored_lines(outcome: Any) -> list[str]:
    took = format_duration(outcome.elapsed_s)
    return [
        f"{clean(outcome.target)} is restored: {format_bytes(outcome.written_bytes)} in {took}."
    ]


def damage_lines(outcome: Any) -> list[str]:
    """The places that are zeros because nobody had them."""
    places = [
        f"! bytes {extent.start} to {extent.end} could not be had and are zeros"
        for extent in outcome.damaged[:MAX_NAMED]
    ]
    rest = len(outcome.damaged) - len(places)
    return [*places, *([f"! and {rest} more places"] if rest else [])]
