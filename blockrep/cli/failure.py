"""An error as one sentence, what to do, and what became of the disk."""

from __future__ import annotations

import shlex

from blockrep.cli.terminal import clean
from blockrep.errors import BlockrepError, DiskState, Interrupted, UsageError


def failure_text(error: BlockrepError, *, disk: str = "", writes: bool = False) -> str:
    """`blockrep: MESSAGE. HINT. The disk is unchanged.`

    `writes` says whether the command could have changed `disk`; without it nothing is said of it.
    """
    parts = [_sentence(error.message)]
    if error.hint and not (error.state is DiskState.RESUMABLE and "recover" in error.hint):
        parts.append(_sentence(error.hint))
    if writes and not isinstance(error, Interrupted):
        parts.append(_state_text(error, disk))
    return "blockrep: " + " ".join(parts)


def _state_text(error: BlockrepError, disk: str) -> str:
    recover = f"`blockrep recover {shlex.quote(clean(disk))}`"
    if error.state is DiskState.RESUMABLE:
        return f"Nothing is lost: run {recover} to finish or back out."
    if error.state is DiskState.UNKNOWN:
        return f"Do not use the disk before {recover} has said what state it is in."
    return "Nothing was changed." if isinstance(error, UsageError) else "The disk is unchanged."


def _sentence(text: str) -> str:
    """`text` with an end, and with a capital where it begins with a plain word."""
    cleaned = clean(text.strip())
    first = cleaned.split(" ", 1)[0].rstrip(":")
    if first.isascii() and first.isalpha() and first.islower():
        cleaned = cleaned[0].upper() + cleaned[1:]
    return cleaned if cleaned.endswith((".", "!", "?")) else cleaned + "."
