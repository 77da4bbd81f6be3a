"""What the local socket may ask, and who does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from blockrep.agent.jobs import JobTable
from blockrep.agent.local_lines import Document
from blockrep.agent.local_server import Answer
from blockrep.errors import UsageError

Verbs = Mapping[str, Callable[[Document], Answer]]


class Requests:
    """The verbs of the local socket."""

    def __init__(self, jobs: JobTable, *verbs: Verbs) -> None:
        self._jobs = jobs
        self._verbs: dict[str, Callable[[Document], Answer]] = {"jobs": self._list_jobs}
        for some in verbs:
            self._verbs |= some

    def handle(self, verb: str, arguments: Document) -> Answer:
        """Do what a verb asks; `UsageError` for one that there is not."""
        work = self._verbs.get(verb)
        if work is None:
            raise UsageError(
                f"the agent does not know the request {verb!r}",
                hint="agent and command are of different versions: restart the agent",
            )
        return work(arguments)

    def _list_jobs(self, arguments: Document) -> Document:
        number = arguments.get("cancel")
        if number is not None:
            job = self._jobs.find(number) if isinstance(number, int) else None
            if job is None:
                raise UsageError(f"there is no job {number}")
            job.cancelled.set()
        return {"jobs": [asdict(view) for view in self._jobs.views()]}
