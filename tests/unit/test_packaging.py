"""The installed package is the whole package, and this one."""

import importlib.metadata
from pathlib import Path

import blockrep
import blockrep.native

SOURCE = Path(__file__).resolve().parents[2] / "blockrep"
INSTALLED = Path(blockrep.__file__).parent


def source_files() -> list[Path]:
    return [
        file.relative_to(SOURCE)
        for file in SOURCE.rglob("*")
        if file.is_file() and (file.suffix in {".py", ".pyi"} or file.name == "py.typed")
    ]


def test_tests_do_not_import_the_source_tree() -> None:
    assert INSTALLED != SOURCE


def test_every_source_file_is_installed_as_it_is() -> None:
    assert len(source_files()) > 5
    for file in source_files():
        assert (INSTALLED / file).read_bytes() == (SOURCE / file).read_bytes(), file


def test_nothing_else_is_installed() -> None:
    installed = {path.relative_to(INSTALLED) for path in INSTALLED.rglob("*.py")}
    assert installed == {file for file in source_files() if file.suffix == ".py"}


def test_the_core_works() -> None:
    # The check value of CRC-32C (RFC 3720, B.4), which is defined with a final inversion.
    assert blockrep.native.crc32c(0xFFFFFFFF, b"123456789") ^ 0xFFFFFFFF == 0xE3069283


def test_the_licence_is_installed() -> None:
    metadata = importlib.metadata.metadata("blockrep")
    assert metadata["License-Expression"] == "GPL-2.0-or-later"
    assert metadata.get_all("License-File") == ["LICENSE"]


def test_the_udev_rule_runs_when_the_partition_type_is_known() -> None:
    """60-persistent-storage.rules asks blkid for it; udisks (80) and systemd (99) act on it."""
    rules = [path.name for path in (SOURCE.parent / "udev").iterdir()]
    assert all("60-persistent-storage.rules" < name < "80-udisks2.rules" for name in rules)
