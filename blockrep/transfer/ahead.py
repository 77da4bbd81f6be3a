"""An iterator run ahead of its reader by a thread, so that waiting and working overlap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

DEPTH = 2
LOOK_S = 0.1


class Ahead(Generic[T]):
    """A context manager that iterates; at most `DEPTH` items are ready at a time.

    What the inner iterator raises is raised at its place. Leaving it early ends the thread with the
    item that it is making.
    """

    def __init__(self, inner: Iterator[T]) -> None:
        self._inner = inner
        self._ready: queue.Queue[tuple[T] | None] = queue.Queue(DEPTH)
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="reading ahead")

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while (item := self._ready.get()) is not None:
            yield item[0]
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for item in self._inner:
                if not self._put((item,)):
                    return
        except BaseException as error:
            self._failure = error
        self._put(None)

    def _put(self, item: tuple[T] | None) -> bool:
        """Whether somebody still wants it."""
        while not self._over.is_set():
            try:
                self._ready.put(item, timeout=LOOK_S)
                return True
            except queue.Full:
                continue
        return False
