"""The recovery key in a file: written once, for root alone, and on the medium before it is used."""

from __future__ import annotations

import os
from pathlib import Path

from blockrep.errors import UsageError
from blockrep.folders import flush_folder

MAX_KEY_FILE_BYTES = 4096


def check_key_place(path: Path | None) -> None:
    """`UsageError` where a key could not be written: asked before there is a key."""
    if path is None:
        return
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already; a recovery key overwrites nothing")
    if not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write to {path.absolute().parent}")


def write_key_file(path: Path, key: str) -> None:
    """A new file with the key; `UsageError` where there is a file already, or none can be made."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{key}\n")
            file.flush()
            # The agent relies on the key from the next moment on.
            os.fsync(file.fileno())
        flush_folder(path.absolute().parent)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already; a recovery key overwrites nothing") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def read_key_file(path: Path) -> str:
    """The key or passphrase in a file; `UsageError` where there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
        text = data.decode().strip()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8") from error
    if not text or len(data) > MAX_KEY_FILE_BYTES:
        raise UsageError(f"{path} holds no recovery key")
    return text
