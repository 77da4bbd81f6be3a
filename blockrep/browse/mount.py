"""An epoch's filesystem in a directory, in user space: a stranger's filesystem meets no kernel.

The bytes go from a `View` through an NBD server in this process, nbdfuse and fuse2fs. The two run
as the user whom the directory belongs to, who alone sees the files; none of them can write.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from blockrep.browse.keeper import MOUNT_SOURCE, SOCKET
from blockrep.browse.nbd import Export, NbdServer
from blockrep.browse.view import View
from blockrep.closing import Closing
from blockrep.disk.holds import read_mounts
from blockrep.disk.partition import Partition, TableKind
from blockrep.errors import (
    DeviceBusy,
    FilesystemUnsupported,
    NotMounted,
    ProgramFailed,
    UsageError,
)
from blockrep.programs import User, find_program, run_program, start_program
from blockrep.transfer.restore_parts import PartContent, survey_parts

END_S = 30.0
PAGE_BYTES = 4096


def choose_filesystem(view: View, number: int | None) -> Export:
    """The ext filesystem of partition `number`, or the only one that there is.

    `UsageError` names the choice, `FilesystemUnsupported` what is there instead.
    """
    table = view.table()
    parts = [p for p in table.partitions if p.end_bytes <= view.epoch.content_bytes]
    if table.kind is TableKind.NONE:
        parts = [Partition(0, 0, view.epoch.content_bytes, "")]
    found = [p for p in survey_parts(view, parts) if number in (None, p.number)]
    if not found:
        raise UsageError(f"the first area of epoch {view.epoch.number} has no partition {number}")
    able = [p for p in found if p.content.is_ext]
    if not able:
        raise _nothing_to_mount(found)
    if len(able) > 1:
        numbers = ", ".join(str(p.number) for p in able)
        raise UsageError(
            f"the first area has several filesystems, in partitions {numbers}",
            hint="name one with --partition",
        )
    chosen = next(p for p in parts if p.number == able[0].number)
    return Export("fs", chosen.start_bytes, chosen.length_bytes)


def _nothing_to_mount(found: list[PartContent]) -> FilesystemUnsupported:
    kinds = ", ".join(f"{p.content.type or 'nothing known'} in {p.number}" for p in found)
    return FilesystemUnsupported(
        f"only ext2, ext3 and ext4 can be looked into, and there is {kinds}",
        hint="restore the epoch into an image file, and look into that",
    )


class Mount(Closing):
    """A mounted epoch. `close` unmounts; so does the end of this process, however it ends."""

    def __init__(
        self,
        view: View,
        directory: Path,
        *,
        partition: int | None = None,
        report: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Mount; `ProgramFailed` with the words of the program that could not.

        `directory` exists and is empty; the programs run as whoever it belongs to. A read that
        fails ends the mount, and `report` is told where: fuse2fs would answer it with a file that
        is too short, or nonsense.
        """
        self.directory = directory.resolve()
        self.epoch = view.epoch
        _check_directory(directory)
        export = choose_filesystem(view, partition)
        user = user_of(directory)
        for name in ("nbdfuse", "fuse2fs", "fusermount3"):
            find_program(name)
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(_private_folder()))
            self._file, socket = folder / "file", folder / SOCKET
            self._server_fd = -1
            self._report = report
            stack.callback(self._forget_server)
            server = stack.enter_context(NbdServer(socket, view, [export], self._end_by_damage))
            if user is not None:
                os.chown(folder, user.uid, user.gid)
                server.give_to(user.uid, user.gid)
            uri = f"nbd+unix:///{export.name}?socket={quote(str(socket))}"
            self._keeper = start_program(
                [sys.executable, "-m", "blockrep.cli.keep_mount", uri, str(folder), str(directory)],
                user=user,
                input_pipe=True,
                output_pipe=True,
            )
            stack.callback(self._stop_keeper)
            self._await_ready()
            self._stack = stack.pop_all()

    @property
    def is_alive(self) -> bool:
        """Whether it is mounted still: anybody may unmount it with fusermount3."""
        return not self._keeper.has_ended

    def close(self) -> None:
        """Unmount and leave nothing behind; safe to call twice."""
        self._stack.close()

    def _await_ready(self) -> None:
        output = self._keeper.output
        said = output.readline().decode(errors="replace").strip() if output else ""
        words = said.split()
        if words[:1] != ["ready"]:
            raise ProgramFailed(said or "the epoch could not be mounted")
        self._server_fd = os.pidfd_open(int(words[1]))

    def _end_by_damage(self, why: str, length_bytes: int) -> None:
        """Called before fuse2fs hears that its read failed, which it does not live to see.

        What the kernel reads ahead may be damaged: what is needed of it, it asks for again, page by
        page.
        """
        if length_bytes > PAGE_BYTES:
            return
        self._report(why)
        if self._server_fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._server_fd, signal.SIGKILL)

    def _forget_server(self) -> None:
        if self._server_fd >= 0:
            os.close(self._server_fd)

    def _stop_keeper(self) -> None:
        """The end of its input is what it waits for; if it is killed its children unmount."""
        self._keeper.close_input()
        self._keeper.wait(END_S)
        self._keeper.end()
        # What a keeper that was killed had no time for; in the common case there is nothing.
        for place in (self.directory, self._file):
            if is_dead(place):
                run_program(["fusermount3", "-u", "-z", str(place)], timeout_s=END_S)


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """Who keeps the mount may have removed it first."""
    return tempfile.TemporaryDirectory(prefix="blockrep-", ignore_cleanup_errors=True)


def _check_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", hint="make it first")
    if directory.is_mount():
        raise UsageError(f"something is mounted at {directory} already")
    if any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty")


def is_dead(place: Path) -> bool:
    """Whether what is mounted there has lost its program."""
    try:
        place.stat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError)
    return False


def unmount_epoch(directory: Path) -> None:
    """Unmount what any process of blockrep has mounted there, which ends that process.

    `NotMounted` when no epoch is there, `DeviceBusy` when something in it is in use.
    """
    target = str(directory.absolute()) if is_dead(directory) else str(directory.resolve())
    mine = [m for m in read_mounts() if m.target == target and m.source.startswith(MOUNT_SOURCE)]
    if not mine:
        raise NotMounted(f"no epoch is mounted at {directory}")
    done = run_program(["fusermount3", "-u", target], timeout_s=END_S)
    if done.returncode:
        raise DeviceBusy(
            f"{directory} cannot be unmounted: {done.stderr.strip()}",
            hint="end the programs that have files of it open",
        )


def user_of(directory: Path) -> User | None:
    """Whom a directory belongs to; None for root, and where we are not root ourselves."""
    status = directory.stat()
    if os.geteuid() != 0 or status.st_uid == 0:
        return None
    return User(status.st_uid, status.st_gid)
