"""The one error tree.

    BlockrepError
    ├── InternalError            1   a promise of our own code does not hold
    ├── UsageError               2   the request makes no sense
    ├── Stopped                  5   the user stopped it
    ├── DeviceNotFound          10
    ├── DeviceBusy              11   mounted, swap, open, md, dm, another blockrep
    ├── DeviceIO                12   the device returned an error
    ├── PermissionMissing       13
    ├── DeviceUnsupported       14   read-only, a partition, a kind we do not divide
    ├── TableDamaged            20
    ├── TableUnsupported        21
    ├── RecordDamaged           22   an area record or a segment header
    ├── RecordUnsupported       23   ... written by a newer blockrep
    ├── FilesystemUnsupported   30   its kind, a feature, a file that must not move
    ├── FilesystemNotClean      31   a journal to replay, orphans, not unmounted
    ├── FilesystemDamaged       32   e2fsck finds something
    ├── DoesNotFit              40   the first area is too small for what is in it
    ├── NoRoomForLog            41
    ├── NoRoomForShadow         42
    ├── Interrupted             50   an interrupted divide or undivide is on the disk
    ├── RecoverFailed           51
    ├── NotDivided              60
    ├── AlreadyDivided          61
    ├── ProgramFailed           70   an external program is missing or failed
    ├── ProofFailed             71   a plan or its result did not pass its own verification
    ├── AgentUnreachable       100   no agent answers at the local socket
    ├── NotProtected           101   status: a replica is stale or missing, or no key for it
    └── BackupIncomplete       102   not every holder has a receipt for the new epoch

Exit codes are stable: they are documented in blockrep(1) from this module and never reused.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class DiskState(StrEnum):
    """What a failed operation left on the disk."""

    UNCHANGED = "unchanged"  # not one byte that anything uses was changed
    RESUMABLE = "resumable"  # `blockrep recover` finishes or backs out
    UNKNOWN = "unknown"


class BlockrepError(Exception):
    """One clear sentence, what to do, and what state the disk is in.

    `message` says what is wrong, with names and numbers. `hint` says what the user can do; a class
    has a default, an instance may give a better one. `state` is the state of the disk.
    """

    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, hint: str = "", state: DiskState = DiskState.UNCHANGED
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.state = state


class InternalError(BlockrepError):
    exit_code = 1
    default_hint = "this is a defect of blockrep: please report it with the command and its output"


class UsageError(BlockrepError):
    exit_code = 2


class Stopped(BlockrepError):
    exit_code = 5
    retryable = True


class DeviceNotFound(BlockrepError):
    exit_code = 10
    default_hint = "`blockrep devices` lists what there is"


class DeviceBusy(BlockrepError):
    exit_code = 11
    default_hint = "stop what uses the device, or start the rescue system, and try again"
    retryable = True


class DeviceIO(BlockrepError):
    exit_code = 12
    default_hint = "look at the kernel log and the drive's health before anything else"


class PermissionMissing(BlockrepError):
    exit_code = 13
    default_hint = "run it as root"


class DeviceUnsupported(BlockrepError):
    exit_code = 14


class TableDamaged(BlockrepError):
    exit_code = 20
    default_hint = "repair the partition table first, for example with gdisk or sfdisk"


class TableUnsupported(BlockrepError):
    exit_code = 21


class RecordDamaged(BlockrepError):
    exit_code = 22


class RecordUnsupported(BlockrepError):
    exit_code = 23
    default_hint = "use the version of blockrep that wrote it, or a newer one"


class FilesystemUnsupported(BlockrepError):
    exit_code = 30


class FilesystemNotClean(BlockrepError):
    exit_code = 31
    default_hint = "mount and unmount it once, or run again with --fsck"


class FilesystemDamaged(BlockrepError):
    exit_code = 32
    default_hint = "run again with --fsck, or repair it with e2fsck first"


class DoesNotFit(BlockrepError):
    exit_code = 40


class NoRoomForLog(BlockrepError):
    exit_code = 41
    default_hint = "name a file on another, persistent disk with --journal FILE"


class NoRoomForShadow(BlockrepError):
    exit_code = 42
    default_hint = "name a folder with enough free space with --shadow-dir DIR"


class Interrupted(BlockrepError):
    exit_code = 50
    default_hint = "run `blockrep recover` on the disk"


class RecoverFailed(BlockrepError):
    exit_code = 51


class NotDivided(BlockrepError):
    exit_code = 60


class AlreadyDivided(BlockrepError):
    exit_code = 61
    default_hint = "`blockrep undivide` gives the second area back first"


class ProgramFailed(BlockrepError):
    exit_code = 70


class ProofFailed(BlockrepError):
    exit_code = 71
    default_hint = "nothing was committed; please report it with the command and its output"


class AgentUnreachable(BlockrepError):
    exit_code = 100
    default_hint = "start it (`systemctl start blockrep-agent`), or name its socket with --socket"
    retryable = True


class NotProtected(BlockrepError):
    exit_code = 101


class BackupIncomplete(BlockrepError):
    exit_code = 102
    default_hint = "run it again: what has arrived is kept, and only the rest is sent"
    retryable = True
