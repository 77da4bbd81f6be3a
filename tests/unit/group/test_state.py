"""The files of a group: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from group_builders import GROUP, after, chain, identity

from blockrep.errors import RecordDamaged, RecordUnsupported
from blockrep.group.grants import Act, Grants, build_grants, parse_grants
from blockrep.group.state import (
    forget_group,
    load_document,
    load_grants,
    save_document,
    save_grants,
)

GRANTS = Grants(
    removers=frozenset({identity(1).key}),
    restore=frozenset({(identity(1).key, identity(2).key)}),
    denied=frozenset({(identity(2).key, Act.WRITE)}),
)


def test_saved_and_loaded(tmp_path: Path) -> None:
    assert load_document(tmp_path, GROUP) is None
    assert load_grants(tmp_path, GROUP) == Grants()
    first = chain(3)
    save_document(tmp_path, first)
    assert load_document(tmp_path, GROUP) == first
    second = after(first, 0, lambda m: m)
    save_document(tmp_path, second)
    assert load_document(tmp_path, GROUP) == second
    save_grants(tmp_path, GROUP, GRANTS)
    assert load_grants(tmp_path, GROUP) == GRANTS
    assert [p.name for p in tmp_path.glob("*.new")] == []
    assert all(p.stat().st_mode & 0o77 == 0 for p in tmp_path.iterdir())
    forget_group(tmp_path, GROUP)
    forget_group(tmp_path, GROUP)
    assert list(tmp_path.iterdir()) == []


def test_content_then_name_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(fd: int) -> None:
        steps.append("fsync " + Path(f"/proc/self/fd/{fd}").resolve().name)
        real_fsync(fd)

    def replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    save_document(tmp_path, chain(2))
    assert steps == [f"fsync group-{GROUP.hex()}.new", "rename", f"fsync {tmp_path.name}"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    save_document(tmp_path, chain(2))
    save_grants(tmp_path, GROUP, GRANTS)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RecordDamaged):
        load_document(tmp_path, GROUP)
    with pytest.raises(RecordDamaged):
        load_grants(tmp_path, GROUP)
    for path in tmp_path.iterdir():
        path.write_bytes(b" " * ((1 << 20) + 5))
    with pytest.raises(RecordDamaged, match="at most"):
        load_document(tmp_path, GROUP)


def test_the_document_of_another_group_is_not_taken(tmp_path: Path) -> None:
    save_document(tmp_path, chain(2))
    (tmp_path / f"group-{GROUP.hex()}.json").rename(tmp_path / f"group-{bytes(16).hex()}.json")
    with pytest.raises(RecordDamaged, match="another group"):
        load_document(tmp_path, bytes(16))


@pytest.mark.parametrize(
    "data",
    [
        b'{"version":1,"verbs":{"00":[]},"restore":[],"denied":[]}',
        b'{"version":1,"verbs":{},"restore":[["00"]],"denied":[]}',
        b'{"version":1,"verbs":{},"restore":[7],"denied":[]}',
        b'{"version":1,"verbs":[],"restore":[],"denied":[]}',
        b'{"version":1}',
        build_grants(GRANTS).replace(b"write", b"erase"),
        build_grants(GRANTS).replace(b'"version":2', b'"version":3'),
        build_grants(GRANTS).replace(b'"version":2', b'"version":1'),
        b'{"version":2,"remove":["00"],"restore":[],"denied":[]}',
    ],
)
def test_grants_that_make_no_sense(data: bytes) -> None:
    with pytest.raises((RecordDamaged, RecordUnsupported)):
        parse_grants(data)


def test_grants_of_version_1_are_read_for_what_they_did() -> None:
    remover, other = identity(1).key.hex(), identity(2).key.hex()
    old = (
        f'{{"version":1,"verbs":{{"{remover}":["backup","remove"],"{other}":["status"]}},'
        f'"restore":[["{remover}","{other}"]],"denied":[["{other}","write"]]}}'
    )
    assert parse_grants(old.encode()) == GRANTS
