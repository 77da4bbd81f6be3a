"""What each exit code means to a user: for --help, and for blockrep(1), which is made from it."""

from __future__ import annotations

from blockrep import errors

SUCCESS = 0
BROKEN_PIPE = 141  # as a shell shows a program that SIGPIPE ended

_MEANINGS: dict[type[errors.BlockrepError], str] = {
    errors.InternalError: "an unexpected failure, a defect of blockrep itself",
    errors.UsageError: "the request makes no sense, or was not confirmed",
    errors.Stopped: "stopped by the user before anything was changed",
    errors.DeviceNotFound: "there is no such device or file",
    errors.DeviceBusy: "the device is in use: mounted, swap, open, part of an array",
    errors.DeviceIO: "the device returned an error",
    errors.PermissionMissing: "not permitted; most commands need root",
    errors.DeviceUnsupported: "a kind of device that cannot be divided",
    errors.TableDamaged: "the partition table is damaged",
    errors.TableUnsupported: "a partition table that cannot be changed safely",
    errors.RecordDamaged: "an area record or a segment header is damaged",
    errors.RecordUnsupported: "an area record or a segment header of a newer version",
    errors.FilesystemUnsupported: "a filesystem, feature or file that cannot be moved",
    errors.FilesystemNotClean: "the filesystem was not cleanly unmounted",
    errors.FilesystemDamaged: "the filesystem is damaged",
    errors.DoesNotFit: "it does not fit: the first area, the segments or the disk is too small",
    errors.NoRoomForLog: "there is no safe place for the log",
    errors.NoRoomForShadow: "there is not enough room for the shadow",
    errors.Interrupted: "an interrupted change is on the disk; recover it first",
    errors.RecoverFailed: "the interrupted change could not be completed",
    errors.NotDivided: "the disk is not divided",
    errors.AlreadyDivided: "the disk is divided already",
    errors.ProgramFailed: "a program that is needed is missing or failed",
    errors.ProofFailed: "a plan or its result did not pass its own verification",
    errors.ProtocolError: "a peer sent what the protocol does not allow",
    errors.VersionUnknown: "no version of the protocol that both machines know",
    errors.PeerUnreachable: "no connection to a peer, or it was cut",
    errors.PeerRefused: "a peer refused: not a member, or no right to this",
    errors.PeerBusy: "a peer is busy; try again later",
    errors.OtherWriter: "the segment belongs to another instance of this device; see takeover",
    errors.ReplicaAhead: "the holder has a newer epoch than was thought",
    errors.HistoryFull: "the history of the segment has no room that is not locked",
    errors.NoSuchEpoch: "the holder does not have this epoch",
    errors.EpochRefused: "the root or the signature of an epoch is wrong",
    errors.AgentUnreachable: "no agent answers on this machine",
    errors.NotProtected: "something is stale or unprotected; status says what",
    errors.BackupIncomplete: "a backup did not reach every holder it was meant for",
    errors.NotAMember: "a machine is not in the group",
    errors.NotAllowed: "a member has no right to what it asked for",
    errors.PeerNotTrusted: "a machine has another key than the group knows",
    errors.InvitationRefused: "an invitation is used up, too old or wrong",
    errors.RecoveryKeyWrong: "the recovery key is mistyped, too weak, or of another owner",
    errors.WouldOverwrite: "the disk to restore onto holds what others need",
    errors.SameIdentity: "a disk of this machine has the same IDs as the one to be restored",
    errors.ReplicaDamaged: "a replica is damaged, and no other holder has what is missing",
    errors.WrongKey: "an epoch is encrypted, and its key is not at hand",
    errors.NotMounted: "no epoch is mounted there",
}


def exit_codes() -> list[tuple[int, str]]:
    """Every code and its meaning, in the order of the codes."""
    rows = [(kind.exit_code, meaning) for kind, meaning in _MEANINGS.items()]
    rows.append((SUCCESS, "success"))
    rows.append((BROKEN_PIPE, "the reader of the output went away"))
    return sorted(rows)
