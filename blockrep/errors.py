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
    ├── RecordDamaged           22   an area record, a segment header, a group document
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
    ├── ProtocolError           90   a peer sent what the wire protocol does not allow
    ├── VersionUnknown          91   no version of the protocol that both sides know
    ├── PeerUnreachable         92   no connection to a peer, or it was cut
    ├── PeerRefused             93   not a member, or no right to this
    ├── PeerBusy                94   too many connections, or another session writes the segment
    ├── OtherWriter             95   the segment belongs to another instance of this device
    ├── ReplicaAhead            96   the holder has a newer epoch than was thought
    ├── HistoryFull             97   no room that is not locked in the history of the segment
    ├── NoSuchEpoch             98   the holder does not have this epoch, or not any more
    ├── EpochRefused            99   root or signature of an epoch is wrong
    ├── AgentUnreachable       100   no agent answers at the local socket
    ├── NotProtected           101   status: a replica is stale or missing, or no key for it
    ├── BackupIncomplete       102   not every holder has a receipt for the new epoch
    ├── NotAMember             110   this machine, or the other one, is not in the group
    ├── NotAllowed             111   a member asked for what it has no right to
    ├── PeerNotTrusted         112   the other side of a connection has another key than expected
    ├── InvitationRefused      113   the code is used up, too old, or was given to another
    ├── RecoveryKeyWrong       114   mistyped, too weak, or of another owner
    ├── WouldOverwrite         120   the target holds others' replicas, or the agent serves it
    ├── SameIdentity           121   a disk of this machine has the same GUID or UUID
    ├── ReplicaDamaged         122   what a holder has of an epoch is not what was signed
    ├── WrongKey               123   an epoch is encrypted, and not with the key at hand
    └── NotMounted             124   no epoch is mounted there

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


class ProtocolError(BlockrepError):
    exit_code = 90
    default_hint = "update blockrep on both machines; if that does not help, please report it"


class VersionUnknown(BlockrepError):
    exit_code = 91
    default_hint = "update blockrep on the machine with the older version"


class PeerUnreachable(BlockrepError):
    exit_code = 92
    default_hint = "see that the other machine is on, its agent runs, and the network is there"
    retryable = True


class PeerRefused(BlockrepError):
    exit_code = 93
    default_hint = "`blockrep group show` lists the members and their rights"


class PeerBusy(BlockrepError):
    exit_code = 94
    default_hint = "try again later"
    retryable = True


class OtherWriter(BlockrepError):
    exit_code = 95
    default_hint = "if this disk was restored or cloned, `blockrep takeover` makes it the writer"


class ReplicaAhead(BlockrepError):
    exit_code = 96
    default_hint = "try again: the next run goes on from the newer epoch"
    retryable = True


class HistoryFull(BlockrepError):
    exit_code = 97
    default_hint = (
        "wait until the lock of older versions has run out, or `blockrep accept` at the holder"
    )


class NoSuchEpoch(BlockrepError):
    exit_code = 98
    default_hint = "`blockrep history` lists the epochs that there are"


class EpochRefused(BlockrepError):
    exit_code = 99
    default_hint = "the replica is still at its last epoch; the next run fetches its map again"
    retryable = True


class NotAMember(BlockrepError):
    exit_code = 110
    default_hint = "`blockrep group show` lists the members"


class NotAllowed(BlockrepError):
    exit_code = 111
    default_hint = "somebody at the other machine has to grant it there"


class PeerNotTrusted(BlockrepError):
    exit_code = 112
    default_hint = "if that machine was set up anew, it has to join the group again"


class InvitationRefused(BlockrepError):
    exit_code = 113
    default_hint = "ask for a new code with `blockrep group invite`"


class RecoveryKeyWrong(BlockrepError):
    exit_code = 114
    default_hint = "compare it with the paper, group by group"


class WouldOverwrite(BlockrepError):
    exit_code = 120


class SameIdentity(BlockrepError):
    exit_code = 121


class ReplicaDamaged(BlockrepError):
    exit_code = 122
    default_hint = "take another holder's copy, or an older epoch (`blockrep history`)"


class WrongKey(BlockrepError):
    exit_code = 123


class NotMounted(BlockrepError):
    exit_code = 124
