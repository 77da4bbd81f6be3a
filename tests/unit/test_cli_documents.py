"""Man pages, completion and help say what the parser does."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blockrep.cli.exit_codes import exit_codes
from blockrep.cli.parser import build_parser

ROOT = Path(__file__).resolve().parents[2]
MAN = ROOT / "docs/man"
ACTIONS = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
VERBS: dict[str, argparse.ArgumentParser] = dict(ACTIONS[0].choices)


def _run(arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", **variables}
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=60, cwd=ROOT, env=env, check=False
    )


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    done = _run([sys.executable, "scripts/generate", "--check"])
    assert done.returncode == 0, done.stdout + done.stderr


def _below(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of the verbs below a verb."""
    found = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return list(found[0].choices.values()) if found else []


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Those of a verb and of the verbs below it."""
    return [action for one in (parser, *_below(parser)) for action in one._actions]


@pytest.mark.parametrize("verb", VERBS)
def test_man_page_has_exactly_the_options_of_the_parser(verb: str) -> None:
    text = (MAN / f"blockrep-{verb}.8").read_text()
    wanted = {s for a in _options(VERBS[verb]) for s in a.option_strings if s.startswith("--")}
    synopsis, _, description = text.partition(".Sh DESCRIPTION")
    for part in (synopsis, "\n".join(re.findall(r"^\.It .*", description, re.M))):
        assert {f"-{flag}" for flag in re.findall(r"Fl (-[a-z-]+)", part)} == wanted


@pytest.mark.parametrize("page", sorted(MAN.iterdir()), ids=lambda page: page.name)
def test_man_page_is_clean(page: Path) -> None:
    done = _run(["mandoc", "-T", "lint", str(page)])
    foreign = ("referenced manual not found", "outdated mandoc.db")
    complaints = [line for line in (done.stdout + done.stderr).splitlines()
                  if not any(word in line for word in foreign)]  # fmt: skip
    assert complaints == []


def test_man_page_has_every_exit_code() -> None:
    text = (MAN / "blockrep.1").read_text()
    assert re.findall(r"^\.It (\d+)$", text, re.M) == [str(code) for code, _ in exit_codes()]


def test_man_page_warns_of_inode_numbers() -> None:
    text = (MAN / "blockrep-divide.8").read_text()
    assert all(word in text for word in ("Inode numbers may change", "NFS", "overlay"))


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_command_teaches_by_examples_that_parse(verb: str) -> None:
    text = VERBS[verb].format_help()
    examples = re.findall(
        r"^  (blockrep .*?)(?:  .*| \|.*)?$", text.partition("examples:")[2], re.M
    )
    assert examples
    for example in examples:
        parsed = build_parser().parse_args(example.split()[1:])
        assert parsed.command == verb
    for action in _options(VERBS[verb]):
        assert action.help


def test_help_of_an_action_teaches_by_examples_that_parse() -> None:
    for parser in _below(VERBS["group"]):
        examples = re.findall(r"^  (blockrep .*?)(?:  .*| \|.*)?$", parser.epilog or "", re.M)
        assert examples
        for example in examples:
            parsed = build_parser().parse_args(example.split()[1:])
            assert parser.prog == f"blockrep group {parsed.action}"


def test_help_names_every_command_and_exit_code() -> None:
    text = build_parser().format_help()
    assert all(re.search(rf"^    {verb} ", text, re.M) for verb in VERBS)
    assert all(meaning in text for _, meaning in exit_codes())


def _bash_complete(*words: str) -> set[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        "compopt() { :; }; source completions/blockrep.bash\n"
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _blockrep\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = _run(["bash", "-c", script])
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completion_works() -> None:
    assert _bash_complete("blockrep", "") == {*VERBS, "--help", "--version"}
    assert _bash_complete("blockrep", "und") == {"undivide"}
    assert _bash_complete("blockrep", "recover", "--b") == {"--back"}
    assert "--first" in _bash_complete("blockrep", "divide", "--")
    assert _bash_complete("blockrep", "divide", "--peers", "") == set()
    assert "meson.build" in _bash_complete("blockrep", "divide", "me")
    assert "docs" in _bash_complete("blockrep", "divide", "--shadow-dir", "d")
    assert "meson.build" not in _bash_complete("blockrep", "divide", "--shadow-dir", "me")
    assert _bash_complete("blockrep", "group", "in") == {"invite"}
    assert "--recovery-key-file" in _bash_complete("blockrep", "group", "create", "--")
    assert _bash_complete("blockrep", "group", "join", "") == set()


@pytest.mark.parametrize(
    ("shell", "file"), [("bash", "blockrep.bash"), ("zsh", "_blockrep"), ("fish", "blockrep.fish")]
)
def test_completion_is_valid(shell: str, file: str, tmp_path: Path) -> None:
    assert shutil.which(shell), f"{shell} is not installed: run scripts/setup"
    done = _run([shell, "-n", f"completions/{file}"], HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_fish_completion_works(tmp_path: Path) -> None:
    query = 'source completions/blockrep.fish; complete -C "blockrep recover --b"'
    done = _run(["fish", "--no-config", "-c", query], HOME=str(tmp_path))
    assert done.stdout.startswith("--back\t")
