"""Which older versions are kept, for how long, and which fall out. Pure arithmetic.

A version is *locked* until both clocks of the holder have gone on by the lock since the epoch
behind it began: the wall clock may have been set, and the uptime stands still while the machine is
off. A version that a clock stamped that was ahead then, or is behind now, would stay locked for
as long as that; twice the lock of uptime is enough then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blockrep.segment.epoch import Epoch
from blockrep.segment.ring_log import Stamp

# With the present epoch as many as one list of the wire tells. A version costs its owner one page
# of the ring and its holder memory; one that no list tells cannot be brought back from afar.
MAX_VERSIONS = 999


@dataclass(frozen=True, slots=True)
class Version:
    """An older epoch that is kept. `position` is that of its batch, `since` when it became one."""

    position: int
    record: bytes
    epoch: Epoch
    since: Stamp


def is_locked(since: Stamp, now: Stamp, lock_s: int) -> bool:
    """Whether the lock of what was stamped at `since` still runs."""
    uptime = now.uptime_s - since.uptime_s
    if now.time_s < since.time_s:
        return uptime < 2 * lock_s
    return min(uptime, now.time_s - since.time_s) < lock_s


def wanted_free(ring_pages: int, last_pages: int) -> int:
    """How many pages shall be free for the next epoch; `last_pages` is what the last one took."""
    return min(max(ring_pages // 4, 2 * last_pages), ring_pages // 2)


def plan_eviction(
    versions: Sequence[Version],
    *,
    present_consistent: bool,
    tail: int,
    head: int,
    ring_pages: int,
    last_pages: int,
    now: Stamp,
    lock_s: int,
    pinned: frozenset[bytes],
) -> int:
    """The new tail: versions fall out, oldest first, until there is room for the next epoch.

    More than `MAX_VERSIONS` are too many, whatever is free.
    `versions` are oldest first. None falls out whose lock runs, that a reader has pinned, or that
    is the newest consistent epoch there is; and none that is newer than one of these.
    """
    protected = None if present_consistent else _newest_consistent(versions)
    target = wanted_free(ring_pages, last_pages)
    for index, version in enumerate(versions):
        is_enough = tail + ring_pages - head >= target and len(versions) - index < MAX_VERSIONS
        is_kept = version.epoch.id in pinned or version is protected
        if is_enough or is_kept or is_locked(version.since, now, lock_s):
            break
        tail = versions[index + 1].position if index + 1 < len(versions) else head
    return tail


def _newest_consistent(versions: Sequence[Version]) -> Version | None:
    return next((v for v in reversed(versions) if v.epoch.consistent), None)
