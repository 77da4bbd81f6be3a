"""The error tree: what scripts and man pages rely on."""

from collections.abc import Iterator

import pytest

from blockrep import errors
from blockrep.errors import BlockrepError, DiskState

# Published. A line may be added; none may change or go.
EXIT_CODES = {
    "InternalError": 1,
    "UsageError": 2,
    "Stopped": 5,
    "DeviceNotFound": 10,
    "DeviceBusy": 11,
    "DeviceIO": 12,
    "PermissionMissing": 13,
    "DeviceUnsupported": 14,
    "TableDamaged": 20,
    "TableUnsupported": 21,
    "RecordDamaged": 22,
    "RecordUnsupported": 23,
    "FilesystemUnsupported": 30,
    "FilesystemNotClean": 31,
    "FilesystemDamaged": 32,
    "DoesNotFit": 40,
    "NoRoomForLog": 41,
    "NoRoomForShadow": 42,
    "Interrupted": 50,
    "RecoverFailed": 51,
    "NotDivided": 60,
    "AlreadyDivided": 61,
    "ProgramFailed": 70,
    "ProofFailed": 71,
    "ProtocolError": 90,
    "VersionUnknown": 91,
    "PeerUnreachable": 92,
    "PeerRefused": 93,
    "PeerBusy": 94,
    "OtherWriter": 95,
    "ReplicaAhead": 96,
    "HistoryFull": 97,
    "NoSuchEpoch": 98,
    "EpochRefused": 99,
    "AgentUnreachable": 100,
    "NotProtected": 101,
    "BackupIncomplete": 102,
    "NotAMember": 110,
    "NotAllowed": 111,
    "PeerNotTrusted": 112,
    "InvitationRefused": 113,
    "RecoveryKeyWrong": 114,
    "WouldOverwrite": 120,
    "SameIdentity": 121,
    "ReplicaDamaged": 122,
    "WrongKey": 123,
    "NotMounted": 124,
}


def all_errors(root: type[BlockrepError] = BlockrepError) -> Iterator[type[BlockrepError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from all_errors(kind)


def own_errors() -> list[type[BlockrepError]]:
    return [kind for kind in all_errors() if kind.__module__.startswith("blockrep")]


def test_exit_codes_are_as_published() -> None:
    assert {kind.__name__: kind.exit_code for kind in own_errors()} == EXIT_CODES


def test_exit_codes_are_unique_and_free_for_us() -> None:
    codes = [kind.exit_code for kind in own_errors()]
    assert len(set(codes)) == len(codes)
    # From 126 on the shell speaks: not executable, not found, ended by a signal.
    assert all(0 < code < 126 for code in codes)


@pytest.mark.parametrize("kind", own_errors(), ids=lambda kind: kind.__name__)
def test_every_error_stands_in_the_drawing(kind: type[BlockrepError]) -> None:
    drawing = errors.__doc__ or ""
    line = next(line for line in drawing.splitlines() if f" {kind.__name__} " in line)
    assert line.split()[2] == str(kind.exit_code)


@pytest.mark.parametrize("kind", own_errors(), ids=lambda kind: kind.__name__)
def test_hints_are_parts_of_sentences(kind: type[BlockrepError]) -> None:
    assert not kind.default_hint.endswith(".")


def test_an_instance_says_what_is_on_the_disk() -> None:
    error = errors.DeviceBusy("/dev/sdz is mounted")
    assert (error.message, str(error)) == ("/dev/sdz is mounted", "/dev/sdz is mounted")
    assert error.hint == errors.DeviceBusy.default_hint
    assert error.state is DiskState.UNCHANGED
    assert error.retryable


def test_an_instance_may_know_better() -> None:
    error = errors.DeviceIO("x", hint="replace the cable", state=DiskState.RESUMABLE)
    assert error.hint == "replace the cable"
    assert error.state == "resumable"
