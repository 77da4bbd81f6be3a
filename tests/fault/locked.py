"""A locked disk: mount and e2fsck, through the primary and every backup, leave it alone."""

from __future__ import annotations

from loops import loop_device, mounted

from fault.outside import Partition, Wrong, run
from fault.scratch import Scratch, changed_ranges
from fault.sectors import Disk
from fault.truth import Truth

Tool = list[str]
CANNOT = 8  # of e2fsck's exit code


def check_locked(truth: Truth, scratch: Scratch, disk: Disk, window: Partition) -> None:
    """`Wrong` when one accepts the filesystem in `window`, or changes a byte of the disk."""
    tools = _tools(truth, window)
    if _after(scratch, tools, disk, window).numbers == disk.numbers:
        return
    for tool in tools:  # which one was it?
        if ranges := changed_ranges(disk, _after(scratch, [tool], disk, window)):
            raise Wrong(f"{' '.join(tool)} changed a locked disk: {ranges[:5]}")
    raise Wrong("mount or e2fsck changed a locked disk")


def _tools(truth: Truth, window: Partition) -> list[Tool]:
    block_bytes = truth.old.geometry.block_bytes
    tools = [["e2fsck", "-y"], ["e2fsck", "-fy"]]
    if truth.mountable:
        tools += [["mount"], ["mount", "noload"]]
    for offset in truth.backup_offsets():
        at = offset - window.start_bytes
        if at + block_bytes > window.length_bytes:
            continue
        tools.append(["e2fsck", "-fy", "-b", str(at // block_bytes), "-B", str(block_bytes)])
        if truth.mountable:
            tools.append(["mount", f"sb={at // 1024}"])
    return tools


def _after(scratch: Scratch, tools: list[Tool], disk: Disk, window: Partition) -> Disk:
    """What the tools leave of the disk."""
    scratch.put(disk)
    try:
        for tool in tools:
            _use(scratch, tool, window)
    finally:
        found = scratch.read()
    return found


def _use(scratch: Scratch, tool: Tool, window: Partition) -> None:
    with loop_device(scratch.path, window.start_bytes, window.length_bytes) as device:
        if tool[0] == "e2fsck":
            done = run([*tool, str(device)])
            if done.returncode & CANNOT == 0:
                raise Wrong(f"{' '.join(tool)} accepts a locked disk: {done.stdout[:500]}")
            return
        try:
            with mounted(device, ",".join(tool[1:]), read_only=False):
                pass
        except OSError:
            return
        raise Wrong(f"{' '.join(tool)} mounts a locked disk")
