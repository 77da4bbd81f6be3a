"""The older versions of a segment, as the ring and the header tell."""

from __future__ import annotations

from dataclasses import replace

from blockrep.errors import RecordDamaged
from blockrep.segment.assignment import NO_POSITION, Held
from blockrep.segment.damage import Damage
from blockrep.segment.epoch import parse_epoch
from blockrep.segment.history import Version, plan_eviction
from blockrep.segment.ring_log import Stamp
from blockrep.segment.walk import BatchReader, previous_epoch_batches


def read_versions(reader: BatchReader, held: Held, damage: Damage) -> list[Version]:
    """All that can be found, oldest first; behind damage in the ring the older ones are missing."""
    found: list[Version] = []
    damage.set("ring", None)
    try:
        for batch, record in previous_epoch_batches(reader, held.newest, held.tail):
            since = Stamp(batch.time_s, batch.uptime_s)
            found.insert(0, Version(batch.position, record, parse_epoch(record), since))
    except RecordDamaged as error:
        damage.set("ring", error.message)
    return found


def without_old_versions(
    held: Held,
    versions: list[Version],
    *,
    ring_pages: int,
    now: Stamp,
    pinned: frozenset[bytes],
) -> Held:
    """What is held when those versions have fallen out that may: no change, or a later tail."""
    if not held.epoch or held.newest == NO_POSITION:
        return held
    tail = plan_eviction(
        versions,
        present_consistent=parse_epoch(held.epoch).consistent,
        tail=held.tail,
        head=held.head,
        ring_pages=ring_pages,
        last_pages=held.head - held.newest,
        now=now,
        lock_s=held.lock_s,
        pinned=pinned,
    )
    return at_tail(held, tail)


def at_tail(held: Held, tail: int) -> Held:
    """What is held with another tail."""
    newest = NO_POSITION if tail == held.head else held.newest
    return replace(held, tail=tail, newest=newest)
