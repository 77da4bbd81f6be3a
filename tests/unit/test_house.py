"""Rules of the house that no linter knows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "blockrep"
MODULES = sorted(SOURCE.rglob("*.py"))
BELOW_CLI = [module for module in MODULES if SOURCE / "cli" not in module.parents]

# How a program speaks to its user or ends itself.
SPEAKS_OR_EXITS = {
    "print",
    "input",
    "exit",
    "quit",
    "sys.exit",
    "os._exit",
    "sys.stdout",
    "sys.stderr",
    "SystemExit",
}


def name_of(module: Path) -> str:
    return str(module.relative_to(SOURCE))


def words(module: Path) -> Iterator[str]:
    """Every name and dotted name that a module uses."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(module)}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", BELOW_CLI, ids=name_of)
def test_nothing_below_the_command_line_speaks_or_exits(module: Path) -> None:
    assert not SPEAKS_OR_EXITS.intersection(words(module))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_only_the_lowest_room_imports_the_core(module: Path) -> None:
    names = [name for name in imports(module) if name.startswith("blockrep._core")]
    assert not names or name_of(module) in {"native.py", "chunks.py", "pump.py", "stage.py"}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_other_programs_are_run_by_one_helper(module: Path) -> None:
    names = [name for name in imports(module) if name.split(".")[0] in {"subprocess", "pty"}]
    assert not names or module == SOURCE / "programs.py"
    assert not {"os.system", "os.popen", "os.fork"}.intersection(words(module))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_assert_guards_data(module: Path) -> None:
    """`python -O` drops assertions, so a check that matters is an `if` and a `raise`."""
    tree = ast.parse(module.read_text())
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not lines


def test_there_is_no_room_for_leftovers() -> None:
    assert not [module for module in MODULES if module.stem in {"util", "utils", "helpers", "misc"}]
