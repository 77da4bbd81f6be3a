"""Work on an opened replica, put together from the rooms below: restore, mount, extract."""

from __future__ import annotations

import contextlib
import select
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockrep.agent.local_lines import Document, build_line, error_of, parse_line
from blockrep.agent.opening import OpenedReplica
from blockrep.agent.opening import open_replica as open_at_holders
from blockrep.agent.ways import Wanted
from blockrep.browse.extract import extract_files
from blockrep.browse.view import View
from blockrep.errors import ProgramFailed
from blockrep.programs import Program, start_program
from blockrep.progress import Progress
from blockrep.transfer.plain import PlainEpoch
from blockrep.transfer.restore import RestorePlan, plan_restore
from blockrep.transfer.restore_apply import RestoreOutcome, apply_restore
from blockrep.transfer.restore_target import open_target

POLL_S = 0.2
END_S = 10.0
MOUNTER = "blockrep.cli.mounter"


@contextlib.contextmanager
def open_replica(place: Path, wanted: Document, progress: Progress) -> Iterator[OpenedReplica]:
    """The epoch that is wanted, at whoever has it; maps are kept in a temporary folder."""
    with (
        tempfile.TemporaryDirectory(prefix="blockrep-map-") as folder,
        open_at_holders(place, Wanted(**wanted), Path(folder), progress) as replica,
    ):
        yield replica


def describe_replica(replica: OpenedReplica) -> Document:
    epoch = replica.epoch
    return {
        "owner": replica.owner,
        "device": replica.device,
        "epoch": epoch.number,
        "epoch_id": epoch.id.hex(),
        "time_s": epoch.time_s,
        "consistent": epoch.consistent,
        "stored_bytes": epoch.stored_bytes,
        "holders": list(replica.holders),
        "failures": list(replica.failures),
    }


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """A partition of the restored disk; number 0 is the bare disk."""

    number: int
    start_bytes: int
    length_bytes: int
    content: str
    label: str


@dataclass(frozen=True, slots=True)
class RestoreSummary:
    """A plan for people and scripts."""

    target: str
    target_bytes: int
    sector_bytes: int
    table: str
    content_bytes: int
    stored_bytes: int
    partitions: tuple[PlannedPartition, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Restoring:
    """A restore that is planned; `run` writes."""

    summary: RestoreSummary
    run: Callable[[Progress], RestoreOutcome]


@contextlib.contextmanager
def restoring(replica: OpenedReplica, target: Path, options: Document) -> Iterator[Restoring]:
    """Hold the target and plan; `options` are overwrite, verify and accept_damage."""
    own = replica.own_devices
    with open_target(target, overwrite=options["overwrite"], own_devices=own) as device:
        plain = PlainEpoch(replica.sources, replica.data_key)
        plan = plan_restore(plain, device)

        def run(progress: Progress) -> RestoreOutcome:
            return apply_restore(
                device,
                plan,
                plain,
                progress,
                verify=options["verify"],
                accept_damage=options["accept_damage"],
            )

        yield Restoring(_summary(plan), run)


def _summary(plan: RestorePlan) -> RestoreSummary:
    spans = {part.number: part.length_bytes for part in plan.table.kept}
    return RestoreSummary(
        target=plan.target,
        target_bytes=plan.target_bytes,
        sector_bytes=plan.sector_bytes,
        table=plan.table.kind.value,
        content_bytes=plan.content_bytes,
        stored_bytes=plan.stored_bytes,
        partitions=tuple(
            PlannedPartition(
                part.number,
                part.start_bytes,
                spans.get(part.number, plan.content_bytes),
                part.content.type,
                part.content.label,
            )
            for part in plan.parts
        ),
        notes=plan.notes,
    )


def extract_from(
    replica: OpenedReplica,
    paths: Sequence[str],
    into: Path,
    partition: int | None,
    progress: Progress,
) -> tuple[Path, ...]:
    """Files into a directory."""
    view = View(PlainEpoch(replica.sources, replica.data_key))
    return extract_files(view, paths, into, progress, partition=partition)


def mount_replica(request: Document, progress: Progress) -> Document:
    """Start the process that keeps a replica mounted, and wait until it is.

    The request goes through a pipe: the recovery key in it is nobody else's to see.
    """
    progress.phase("mounting")
    mounter = start_program([sys.executable, "-m", MOUNTER], input_pipe=True, output_pipe=True)
    try:
        mounter.send(build_line(request))
        answer = parse_line(_first_line(mounter, progress))
    except BaseException:
        mounter.stop(END_S)  # what it has mounted goes with it
        raise
    if "error" in answer:
        mounter.stop(END_S)
        raise error_of(answer["error"])
    mounter.leave()
    return answer


def _first_line(mounter: Program, progress: Progress) -> bytes:
    pipe = mounter.output
    while pipe is not None:
        progress.check()
        ready, _, _ = select.select([pipe], [], [], POLL_S)
        if ready:
            line = pipe.readline()
            if line:
                return line
            break
    raise ProgramFailed("the process that should keep the epoch mounted has ended")
