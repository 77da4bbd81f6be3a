"""What is in a range of a device: asked of libblkid, which knows every kind that Linux does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from blockrep.errors import DeviceIO, ProgramFailed
from blockrep.programs import run_program

EXT_TYPES = frozenset({"ext2", "ext3", "ext4"})
NOTHING_FOUND, AMBIVALENT = 2, 8
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Content:
    """In blkid's words: `type` is "ext4", "swap", "crypto_LUKS", "LVM2_member" ..., `usage` is
    "filesystem", "raid", "crypto" or "other". All are empty if nothing was recognised, which does
    not mean that nothing is there. `ambivalent` names the kinds if it looks like several.
    `block_bytes` is the smallest unit in which it is read, 0 where blkid does not say.
    """

    type: str = ""
    usage: str = ""
    uuid: str = ""
    label: str = ""
    version: str = ""
    ambivalent: tuple[str, ...] = ()
    block_bytes: int = 0

    @property
    def is_ext(self) -> bool:
        return self.type in EXT_TYPES


def identify(path: Path, start_bytes: int, length_bytes: int) -> Content:
    """What is in these bytes of a device or image file; read only, no partition node is needed.

    `DeviceIO` when the device cannot be read, `ProgramFailed` when blkid fails.
    """
    _check_readable(path, start_bytes)
    done = run_program(
        [
            "blkid", "--probe", "--output", "udev",
            "--usages", "filesystem,raid,crypto,other",
            "--offset", str(start_bytes), "--size", str(length_bytes), str(path),
        ],
        timeout_s=TIMEOUT_S,
    )  # fmt: skip
    if done.returncode not in (0, NOTHING_FOUND, AMBIVALENT):
        raise ProgramFailed(f"blkid cannot look into {path}: {done.stderr.strip()}")
    return _parse_output(done.stdout)


def _check_readable(path: Path, start_bytes: int) -> None:
    """blkid says "nothing found" of a device that it cannot open or read."""
    try:
        with path.open("rb", buffering=0) as device:
            device.seek(start_bytes)
            device.read(4096)
    except OSError as error:
        raise DeviceIO(f"cannot look into {path}: {error.strerror}") from error


def _parse_output(output: str) -> Content:
    found = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    return Content(
        type=found.get("ID_FS_TYPE", ""),
        usage=found.get("ID_FS_USAGE", ""),
        uuid=_decode(found.get("ID_FS_UUID_ENC", "")),
        label=_decode(found.get("ID_FS_LABEL_ENC", "")),
        version=found.get("ID_FS_VERSION", ""),
        ambivalent=tuple(found.get("ID_FS_AMBIVALENT", "").split()),
        block_bytes=int(block) if (block := found.get("ID_FS_BLOCK_SIZE", "")).isdecimal() else 0,
    )


def _decode(text: str) -> str:
    r"""Undo `\x20` and the like, each of which is one byte of UTF-8."""
    raw = re.sub(
        rb"\\x([0-9a-f]{2})",
        lambda match: bytes.fromhex(match.group(1).decode()),
        text.encode("utf-8", "replace"),
    )
    return raw.decode("utf-8", "replace")
