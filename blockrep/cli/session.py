"""One run of the command line: its streams, its terminal, its engine, and what it will answer.

The exit code and the output tell what became of the disk. Output that cannot be written stops a
command before it changes anything, and never turns a change that was completed into a failure.
"""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from blockrep.cli.document import Document, document_chunks, document_text
from blockrep.cli.engine import Engine
from blockrep.cli.progress import TerminalProgress
from blockrep.cli.stopper import Stopper
from blockrep.cli.terminal import Terminal, survey_terminal
from blockrep.errors import InternalError, Stopped, UsageError


class OutputGone(Exception):
    """Nobody reads standard output any more."""


@dataclass(slots=True)
class Session:
    """`document` is what --json will write; `committing` is set from the first change on.

    `reported` is what has been told of a change that is done.
    """

    engine: Engine
    stdin: TextIO | None
    stdout: TextIO
    stderr: TextIO
    json: bool = False
    stopper: Stopper = field(default_factory=Stopper)
    document: Document = field(default_factory=dict)
    committing: bool = False
    reported: Sequence[str] = ()
    _answered: bool = False

    @property
    def terminal(self) -> Terminal:
        """What the stream for people can show."""
        return survey_terminal(self.stderr if self.json else self.stdout)

    def say(self, lines: Iterable[str]) -> None:
        """Text for people on standard output; nothing with --json."""
        if not self.json:
            self.write("".join(f"{line}\n" for line in lines))

    def say_before_asking(self, lines: Iterable[str]) -> None:
        """As `say`, and on standard error with --json: who is asked must have seen it."""
        if self.json:
            self.complain("\n".join(lines))
        else:
            self.say(lines)

    def write(self, text: str) -> None:
        """Put `text` on standard output, or raise `OutputGone` or an error that says why not."""
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except BrokenPipeError as error:
            raise OutputGone from error
        except OSError as error:
            raise InternalError(
                f"cannot write the output: {error.strerror}", hint="look where it goes to"
            ) from error

    def report(self, lines: Sequence[str]) -> None:
        """Tell of what is done and cannot fail any more: elsewhere if standard output is gone."""
        self.reported = lines
        try:
            self.say(lines)
        except (OutputGone, InternalError):
            self.complain("\n".join(lines))

    def complain(self, text: str) -> None:
        """Text for people on standard error; a lost terminal is no reason to fail."""
        with contextlib.suppress(OSError, ValueError):
            self.stderr.write(f"{text}\n")
            self.stderr.flush()

    def answer(self) -> None:
        """Write the JSON document, once."""
        if self.json and not self._answered:
            self._answered = True
            self.write(document_text(self.document))

    def answer_long(self, key: str, items: Iterable[object]) -> None:
        """Write the JSON document with a long list as its last key."""
        self._answered = True
        for chunk in document_chunks(self.document, key, items):
            self.write(chunk)

    @contextlib.contextmanager
    def progress(self) -> Iterator[TerminalProgress]:
        """Progress on standard error, shown within the block."""
        with TerminalProgress(self.stderr, survey_terminal(self.stderr), self.stopper) as shown:
            yield shown

    def require_answerable(self, yes: bool) -> None:
        """`UsageError` where a question will have to be asked and nobody can answer it."""
        if not yes and not (self.stdin is not None and self.stdin.isatty()):
            raise UsageError(
                "there is no terminal to ask for confirmation",
                hint="add --yes to go on without asking, or --dry-run to see the plan",
            )

    def ask_secret(self, question: str) -> str:
        """Ask on the terminal, without showing what is typed."""
        with self.stopper.immediate():
            return getpass.getpass(question, self.stderr).strip()

    def confirm(self, question: str) -> None:
        """Ask on standard error; anything but `yes` is `Stopped`."""
        reply = ""
        with self.stopper.immediate():
            self.stderr.write(f"{question} Type yes: ")
            self.stderr.flush()
            if self.stdin is not None:
                reply = self.stdin.readline()
        if reply.strip().lower() != "yes":
            raise Stopped("not confirmed")
