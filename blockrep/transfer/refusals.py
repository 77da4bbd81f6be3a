"""The codes of ERROR and the errors of our own that they stand for, in both directions."""

from __future__ import annotations

from enum import IntEnum

from blockrep.errors import (
    BlockrepError,
    DeviceIO,
    DoesNotFit,
    EpochRefused,
    HistoryFull,
    NoSuchEpoch,
    NotAllowed,
    NotAMember,
    OtherWriter,
    PeerBusy,
    PeerNotTrusted,
    PeerRefused,
    ProtocolError,
    RecordDamaged,
    ReplicaAhead,
    VersionUnknown,
)

TEXT_BYTES = 1024


class Refusal(IntEnum):
    """The table "Errors" of docs/wire-protocol.md."""

    PROTOCOL = 1
    VERSION = 2
    NOT_A_MEMBER = 3
    NO_RIGHT = 4
    NO_SEGMENT = 5
    OTHER_WRITER = 6
    BEHIND = 7
    HISTORY_FULL = 8
    DAMAGED = 9
    TOO_MANY = 10
    DISK_FAILED = 11
    NO_EPOCH = 12
    EPOCH_WRONG = 13
    BUSY = 14


# The first class that fits an error tells the code; the first of a code is built from it.
_CLASSES: tuple[tuple[Refusal, type[BlockrepError]], ...] = (
    (Refusal.PROTOCOL, ProtocolError),
    (Refusal.VERSION, VersionUnknown),
    (Refusal.NOT_A_MEMBER, NotAMember),
    (Refusal.NOT_A_MEMBER, PeerNotTrusted),
    (Refusal.NO_RIGHT, PeerRefused),
    (Refusal.NO_RIGHT, NotAllowed),
    (Refusal.NO_SEGMENT, DoesNotFit),
    (Refusal.OTHER_WRITER, OtherWriter),
    (Refusal.BEHIND, ReplicaAhead),
    (Refusal.HISTORY_FULL, HistoryFull),
    (Refusal.DAMAGED, RecordDamaged),
    (Refusal.BUSY, PeerBusy),
    (Refusal.TOO_MANY, PeerBusy),
    (Refusal.DISK_FAILED, DeviceIO),
    (Refusal.NO_EPOCH, NoSuchEpoch),
    (Refusal.EPOCH_WRONG, EpochRefused),
)


def refusal_of(error: BlockrepError) -> tuple[Refusal, str]:
    """Code and text that tell a peer of an error of ours; what it need not know is left out."""
    for code, known in _CLASSES:
        if isinstance(error, known):
            if code is Refusal.DISK_FAILED:
                return code, "the disk of the segment failed"
            return code, error.message
    return Refusal.DISK_FAILED, "it failed at the holder"


def error_of(code: int, text: str, who: str) -> BlockrepError:
    """The error that an ERROR of the peer `who` stands for."""
    known = dict(reversed(_CLASSES)).get(Refusal(code)) if code in tuple(Refusal) else None
    if known is None:
        return ProtocolError(f"{who} ended the connection with the unknown code {code}: {text}")
    if known is ProtocolError:
        return ProtocolError(f"{who} says we broke the protocol: {text}")
    return known(f"{who}: {text}")


def build_error(code: Refusal, text: str) -> bytes:
    """The body of ERROR; a long text is cut."""
    words = text.encode("utf-8", "replace")[:TEXT_BYTES]
    return int(code).to_bytes(4, "little") + words


def parse_error(body: bytes | memoryview) -> tuple[int, str]:
    """Code and text; the text may reach a terminal, so nothing but printable characters stay."""
    if len(body) < 4:
        raise ProtocolError("an ERROR without a code")
    text = bytes(body[4:]).decode("utf-8", "replace")
    return int.from_bytes(body[:4], "little"), "".join(c if c.isprintable() else " " for c in text)
