"""The thread of an image server on which clients are accepted and heard, searches answered, and beacons sent."""

import logging
import os
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ioc.core.errors import RayfanBug

log = logging.getLogger(__name__)

Job = Callable[[], None]
JOIN_DEADLINE = 5.0


@dataclass(slots=True)
class _Routine:
    job: Job
    period: Callable[[], float]
    due: float


class Service:
    """Runs a job when its descriptor is readable, when its time has come, or when it is told to."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._told: SimpleQueue[Job] = SimpleQueue()
        self._routines: list[_Routine] = []
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ, self._run_told)
        self._stopping = self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def watch(self, descriptor: int, job: Job) -> None:
        """Run a job whenever a descriptor is readable; before the start, or on the thread."""
        self._selector.register(descriptor, selectors.EVENT_READ, job)

    def unwatch(self, descriptor: int) -> None:
        """Watch a descriptor no more; on the thread, or when it has ended."""
        self._selector.unregister(descriptor)

    def also_when_writable(self, descriptor: int, on: bool) -> None:
        """Run the job of a descriptor when it is writable, too, or (`on` False) not any more; on the thread."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on else 0)
        self._selector.modify(descriptor, events, self._selector.get_key(descriptor).data)

    def every(self, period: Callable[[], float], job: Job) -> None:
        """Run a job now, and again after so many seconds each time; before the start."""
        if self._thread.ident is not None:
            raise RayfanBug(f"{self._thread.name}: a routine was added after the start")
        self._routines.append(_Routine(job, period, time.monotonic()))

    def tell(self, job: Job) -> None:
        """Have a job done soon; any thread may call it, also when the service has ended: then nothing happens."""
        self._told.put(job)
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)

    def stop(self, last: Job) -> None:
        """Do a last job and end the thread."""
        if not self._thread.is_alive():
            last()
        else:
            self.tell(lambda: self._end(last))
            self._thread.join(JOIN_DEADLINE)
            if self._thread.is_alive():
                log.error("%s: still busy %g s after it was told to stop", self._thread.name, JOIN_DEADLINE)
                return
        self._stopping = True
        with self._lock:
            self._closed = True
            self._selector.close()
            os.close(self._wake)

    def _end(self, last: Job) -> None:
        self._stopping = True
        last()

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(self._next_due()):
                self._do(key.data)
                if self._stopping:
                    return
            now = time.monotonic()
            for routine in self._routines:
                if routine.due <= now:
                    routine.due = now + routine.period()
                    self._do(routine.job)

    def _next_due(self) -> float | None:
        if not self._routines:
            return None
        return max(0.0, min(routine.due for routine in self._routines) - time.monotonic())

    def _run_told(self) -> None:
        os.eventfd_read(self._wake)
        try:
            while not self._stopping:
                self._do(self._told.get_nowait())
        except Empty:
            return

    def _do(self, job: Job) -> None:
        try:
            job()
        except Exception:  # the stage boundary: one job must not end the service of all clients
            log.exception("%s: a job failed", self._thread.name)
