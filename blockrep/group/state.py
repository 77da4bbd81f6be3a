"""The files of a group in the state folder: replaced as a whole, or not at all.

They can be lost: any member has the document, and the counter is in the area record.
"""

from __future__ import annotations

import os
from pathlib import Path

from blockrep.folders import flush_folder
from blockrep.group.document import MAX_DOCUMENT_BYTES, Document, build_document, parse_document
from blockrep.group.grants import MAX_GRANTS_BYTES, Grants, build_grants, parse_grants


def load_document(folder: Path, group_id: bytes) -> Document | None:
    """The document as it was saved; None where there is none.

    `RecordDamaged` for a file that is damaged: the caller asks the members instead.
    """
    data = _load(_document_path(folder, group_id), MAX_DOCUMENT_BYTES)
    return None if data is None else parse_document(data, group_id)


def save_document(folder: Path, document: Document) -> None:
    """Durable when it returns. Before a section of our own is sent, it is saved."""
    _save(_document_path(folder, document.group_id), build_document(document))


def load_grants(folder: Path, group_id: bytes) -> Grants:
    """What was granted here; nothing where there is no file. `RecordDamaged` for a damaged one."""
    data = _load(_grants_path(folder, group_id), MAX_GRANTS_BYTES)
    return Grants() if data is None else parse_grants(data)


def save_grants(folder: Path, group_id: bytes, grants: Grants) -> None:
    """Durable when it returns."""
    _save(_grants_path(folder, group_id), build_grants(grants))


def forget_group(folder: Path, group_id: bytes) -> None:
    """After leaving: remove both files."""
    for path in (_document_path(folder, group_id), _grants_path(folder, group_id)):
        path.unlink(missing_ok=True)
    flush_folder(folder)


def _document_path(folder: Path, group_id: bytes) -> Path:
    return folder / f"group-{group_id.hex()}.json"


def _grants_path(folder: Path, group_id: bytes) -> Path:
    return folder / f"grants-{group_id.hex()}.json"


def _load(path: Path, max_bytes: int) -> bytes | None:
    """One byte more than allowed at most: the parser then refuses it."""
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except FileNotFoundError:
        return None


def _save(path: Path, data: bytes) -> None:
    """The new content is on the disk before it takes the name, and the name before we return."""
    temporary = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    flush_folder(path.parent)
