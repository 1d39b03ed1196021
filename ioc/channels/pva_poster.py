"""The thread that converts and posts the images of one provider, job after job, some of them later."""

import logging
import threading
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue

log = logging.getLogger(__name__)

Job = Callable[[], None]

JOIN_DEADLINE = 5.0
"""Seconds that the thread may take for its last job when it is told to stop."""


class Poster:
    """Runs jobs on one thread of its own, in the order in which they were given; a later job when its time has come."""

    def __init__(self, name: str) -> None:
        self._new: SimpleQueue[tuple[int, int, Job]] = SimpleQueue()
        self._later: list[tuple[int, int, Job]] = []
        self._numbers = count()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, job: Job, due_ns: int = 0) -> None:
        """Have a job done; not before the monotonic time `due_ns`, 0 for now. Never waits, any thread may call it."""
        self._new.put((due_ns, next(self._numbers), job))

    def call(self, job: Job, deadline: float) -> bool:
        """Have a job done and wait for it, `deadline` seconds at most; return whether it was done.

        On the poster's own thread, and when that does not run, the job is done in place.
        """
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            job()
            return True
        done = threading.Event()
        self.put(lambda: _both(job, done.set))
        return done.wait(deadline)

    def stop(self) -> None:
        """End the thread after the jobs that are due."""
        self.put(self._stop)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(JOIN_DEADLINE)
            if self._thread.is_alive():
                log.error("%s: still busy %g s after it was told to stop", self._thread.name, JOIN_DEADLINE)

    def _stop(self) -> None:
        self._stopping = True

    def _run(self) -> None:
        while not self._stopping:
            job = self._next()
            try:
                job()
            except Exception:  # the stage boundary: one bad job must not end all channels
                log.exception("%s: a job failed", self._thread.name)

    def _next(self) -> Job:
        while True:
            timeout = None
            if self._later:
                timeout = (self._later[0][0] - time.monotonic_ns()) / 1e9
                if timeout <= 0:
                    return heappop(self._later)[2]
            try:
                entry = self._new.get(timeout=timeout)
            except Empty:
                continue
            if entry[0] <= time.monotonic_ns():
                return entry[2]
            heappush(self._later, entry)


def _both(job: Job, then: Job) -> None:
    try:
        job()
    finally:
        then()
