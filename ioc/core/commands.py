"""The commands of a loop: what other threads want done in its thread, between two frames, each with a Future."""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def _as_it_is(error: BaseException) -> BaseException:
    return error


class Commands:
    """Any thread may `submit`; the loop calls `run`."""

    def __init__(
        self,
        faults: tuple[type[BaseException], ...],
        told: Callable[[BaseException], BaseException] = _as_it_is,
    ) -> None:
        """Hand those who ask what `told` makes of an error that is one of `faults`; others end the loop."""
        self._faults = faults
        self._told = told
        self._waiting: queue.SimpleQueue[tuple[Callable[[], object], Future]] = queue.SimpleQueue()

    @property
    def empty(self) -> bool:
        """Whether none waits."""
        return self._waiting.empty()

    def submit(self, command: Callable[[], T]) -> "Future[T]":
        """Have `command` run in the loop; the Future has its result or its error.

        A command that submits another one has it run in the next round.
        """
        future: Future[T] = Future()
        self._waiting.put((command, future))
        return future

    def run(self) -> None:
        """Run what was submitted before this call, unless the one who asked has cancelled it."""
        for _ in range(self._waiting.qsize()):
            command, future = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(command())
            except self._faults as error:
                future.set_exception(self._told(error))

    def refuse(self, error: Exception) -> None:
        """Answer with `error` those who asked when it was too late, so that nobody waits for ever."""
        try:
            while True:
                self._waiting.get_nowait()[1].set_exception(error)
        except queue.Empty:
            pass
