"""What people read of groups, replicas, epochs and jobs. Nothing here prints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from blockrep.cli.document import Document
from blockrep.cli.terminal import Colour, Terminal, clean
from blockrep.cli.text import table_lines
from blockrep.units import format_bytes, format_duration

Rows = list[tuple[str, ...]]


def group_lines(group: Document) -> list[str]:
    """The members and what each brings, who waits, and what was decided about whom."""
    rows: Rows = [("member", "key", "first areas", "recovery key", "address")]
    rows += [_member_row(member) for member in group["members"]]
    lines = [f'Group "{clean(group["name"])}"', "", *_indented(table_lines(rows))]
    if group["waiting"]:
        lines += ["", *waiting_lines(group["waiting"])]
    if group["proposals"]:
        lines += ["", *_proposal_lines(group["proposals"])]
    grants = grant_lines(group["grants"])
    return [*lines, "", *grants] if grants else lines


def _member_row(member: Document) -> tuple[str, ...]:
    name = clean(member["name"]) + (" (this machine)" if member["me"] else "")
    sizes = ", ".join(format_bytes(d["content_bytes"]) for d in member["devices"])
    state = "yes" if member["recovery"] else "NO"
    if member["left"]:
        sizes, state = "has left", "-"
    addresses = ", ".join(clean(address) for address in member["addresses"])
    return name, clean(member["key"][:8]), sizes or "-", state, addresses or "-"


def waiting_lines(waiting: Sequence[Document]) -> list[str]:
    lines = ["Waiting for `blockrep group approve`:"]
    for one in waiting:
        key, code = clean(one["key"][:8]), clean(one["short_code"])
        lines.append(f"  {clean(one['name'])} (key {key}): its screen must show {code}")
    return lines


def _proposal_lines(proposals: Sequence[Document]) -> list[str]:
    lines = ["Removed by others, which counts here after `blockrep group remove` alone:"]
    lines += [f"  {_who(said['member'])}, by {_who(said['by'])}" for said in proposals]
    return lines


def removed_lines(removed: Document) -> list[str]:
    """Who is out, and who stays in by our word instead of that of who is out."""
    lines = [f"{clean(removed['name'])} is no member any more."]
    if removed["adopted"]:
        name = clean(removed["name"])
        lines += ["", f"{name} alone had approved these. They stay, approved by this machine now:"]
        lines += [f"  {_who(one)}" for one in removed["adopted"]]
        lines += ["Whom you do not know: `blockrep group remove`."]
    return lines


def _who(member: Document) -> str:
    return f"{clean(member['name'])} (key {clean(member['key'][:8])})"


def grant_lines(grants: Document) -> list[str]:
    """What was granted and denied at this machine; no lines where nothing was."""
    rows = [f"  {_granted(g, 'member')} may restore {_granted(g, 'owner')}"
            for g in grants["restore"]]  # fmt: skip
    rows += [f"  whom {_granted(g, 'member')} removes is removed here" for g in grants["remove"]]
    lines = ["Granted at this machine:", *rows] if rows else []
    if not grants["denied"]:
        return lines
    acts: dict[str, list[str]] = {}
    for denial in grants["denied"]:
        acts.setdefault(_granted(denial, "owner"), []).append(clean(denial["act"]))
    denied = [f"  {owner}: {', '.join(found)}" for owner, found in acts.items()]
    return [*lines, *([""] if lines else []), "Denied at this machine, by owner:", *denied]


def _granted(row: Document, role: str) -> str:
    return f"{clean(row[role]) or '?'} ({clean(row[f'{role}_key'][:8])})"


def backup_lines(backup: Document) -> list[str]:
    """What was sent to whom."""
    epoch = f"epoch {backup['epoch']}" if backup["epoch"] else "no epoch"
    head = f"{clean(backup['device'])}: {epoch}, {format_bytes(backup['stored_bytes'])} stored"
    rows = [("holder", "result", "sent")]
    for holder in backup["holders"]:
        result = "received and signed" if holder["committed"] else clean(holder["reason"])
        rows.append((clean(holder["name"]), result, format_bytes(holder["sent_bytes"])))
    lines = [head, "", *_indented(table_lines(rows, right=(2,)))]
    if not backup["recovery_key"]:
        lines += ["", "There is no recovery key: this does not count as protected yet."]
    return lines


def status_lines(status: Document, terminal: Terminal) -> list[str]:
    """Problems last, where they are seen."""
    lines: list[str] = []
    for device in status["devices"]:
        lines += [*_device_lines(device), ""]
    if status["held"]:
        lines += ["Kept here for others:", *_held_lines(status["held"]), ""]
    running = [job for job in status["jobs"] if job["state"] == "running"]
    if running:
        lines += [*job_lines(running), ""]
    if not status["problems"]:
        return [*lines, "Everything is protected."]
    return [*lines, *(terminal.paint(f"! {clean(p)}", Colour.YELLOW) for p in status["problems"])]


def _device_lines(device: Document) -> list[str]:
    head = f"{clean(device['path'])}, first area of {format_bytes(device['content_bytes'])}:"
    if not device["replicas"]:
        return [head, "  no replica anywhere"]
    rows: Rows = [("holder", "epoch", "age", "consistent", "history", "")]
    for replica in device["replicas"]:
        rows.append(_replica_row(replica))
    return [head, *_indented(table_lines(rows, right=(1,)))]


def _replica_row(replica: Document) -> tuple[str, ...]:
    name, note = clean(replica["holder"]), clean(replica["note"])
    if not replica["epoch"]:
        return name, "-", "-", "-", "-", note
    return (
        name,
        str(replica["epoch"]),
        age_text(replica["time_s"]),
        "yes" if replica["consistent"] else "no",
        _history_text(replica),
        note,
    )


def _history_text(replica: Document) -> str:
    versions, days = replica["versions"], replica["history_days"]
    if versions is None:
        return "-"
    count = "1 version" if versions == 1 else f"{versions} versions"
    return count if days is None else f"{count}, {_span_text(days * 86400)}"


def _span_text(seconds: float) -> str:
    return format_duration(seconds) if seconds < 86400 else f"{seconds / 86400:.1f} days"


def _held_lines(held: Sequence[Document]) -> list[str]:
    rows: Rows = [("disk", "segment", "owner", "holds", "epoch", "age", "state")]
    for segment in held:
        epoch = segment["epoch"]
        rows.append(
            (
                clean(segment["disk"]),
                str(segment["number"]),
                clean(segment["owner"]) or "-",
                format_bytes(segment["capacity_bytes"]),
                str(epoch) if epoch else "-",
                age_text(segment["time_s"]) if epoch else "-",
                clean(segment["state"]),
            )
        )
    return _indented(table_lines(rows, right=(1, 3, 4)))


def history_lines(history: Document) -> list[str]:
    """Epochs, the newest first, and where each is."""
    lines: list[str] = []
    for device in history["devices"]:
        lines += [f"{clean(history['owner'])}, {clean(device['name'])}:"]
        if not device["epochs"]:
            lines += ["  no epoch is held by anybody who answers", ""]
            continue
        rows: Rows = [("epoch", "time (UTC)", "consistent", "stored", "holders")]
        rows += [_epoch_row(epoch) for epoch in device["epochs"]]
        lines += [*_indented(table_lines(rows, right=(0, 3))), ""]
    lines += [f"! {clean(failure)}" for failure in history["unreachable"]]
    return lines


def _epoch_row(epoch: Document) -> tuple[str, ...]:
    return (
        str(epoch["number"]),
        time_text(epoch["time_s"]),
        "yes" if epoch["consistent"] else "no",
        format_bytes(epoch["stored_bytes"]),
        ", ".join(clean(holder) for holder in epoch["holders"]),
    )


def job_lines(jobs: Sequence[Document]) -> list[str]:
    if not jobs:
        return ["No jobs."]
    rows = [("job", "kind", "of", "state", "where")]
    for job in jobs:
        where = job["reason"] or _position_text(job)
        rows.append(
            (str(job["id"]), clean(job["kind"]), clean(job["subject"]), job["state"], clean(where))
        )
    return table_lines(rows, right=(0,))


def _position_text(job: Document) -> str:
    total = job["total_bytes"]
    share = f", {min(100, job['done_bytes'] * 100 // total)} %" if total else ""
    return f"{job['phase']}{share}" if job["state"] == "running" else ""


def age_text(time_s: int) -> str:
    """How long ago; a time to come is a clock that is wrong, and shown as it is."""
    age_s = int(time.time()) - time_s
    return format_duration(age_s) if age_s >= 0 else f"in the future ({time_text(time_s)})"


def time_text(time_s: int) -> str:
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(time_s)


def _indented(lines: Sequence[str]) -> list[str]:
    return ["  " + line for line in lines]
