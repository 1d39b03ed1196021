"""The thread of a plug-in and the queue before it: frames and commands, one at a time, commands first."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ioc.core.frame import Frame

log = logging.getLogger(__name__)

JOIN_SECONDS = 5.0


class Lane:
    """Calls `work` with each frame, and `between` whenever it has time; made, started and closed by its plug-in.

    `between` returns after how many seconds it wants to be called again, None: not before something happens.
    """

    def __init__(self, name: str, work: Callable[[Frame], None], between: Callable[[], float | None]) -> None:
        self._work = work
        self._between = between
        self._frames: deque[Frame] = deque()
        self._commands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._awake = False
        self._busy = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"plug-in {name}", daemon=True)

    def __len__(self) -> int:
        return len(self._frames)

    def start(self) -> None:
        """Let it run."""
        self._thread.start()

    def offer(self, frame: Frame, room: int) -> bool:
        """Queue a frame unless `room` frames wait already; return whether it was queued."""
        with self._changed:
            if len(self._frames) >= room or self._closing:
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def submit(self, command: Callable[[], Any]) -> "Future[Any]":
        """Run a command between two frames; the future has its result or its error."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closing:
                future.cancel()
            else:
                self._commands.append((command, future))
                self._changed.notify_all()
        return future

    def wake(self) -> None:
        """Have `between` called soon."""
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def settle(self, seconds: float) -> bool:
        """Wait until no frame waits or is worked on; return whether that was so within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._frames and not self._busy, seconds)

    def close(self) -> list[Frame]:
        """End the thread; return what still waited, which is dropped."""
        with self._changed:
            self._closing = True
            left = list(self._frames)
            self._frames.clear()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)
        return left

    def _run(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        """Do the next thing; return whether there may be another."""
        patience = self._guarded(self._between)
        with self._changed:
            if not (self._commands or self._frames or self._closing or self._awake):
                self._changed.wait(patience)
            self._awake = False
            command = self._commands.popleft() if self._commands else None
            frame = self._frames.popleft() if self._frames and command is None else None
            self._busy = frame is not None
            if self._closing and command is None:
                return False
        if command is not None:
            _carry_out(*command)
        if frame is not None:
            self._guarded(lambda: self._work(frame))
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        return True

    def _guarded(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception:  # stage boundary: what fails with one frame must not end the plug-in
            log.exception("%s: failed", self._thread.name)
            return None


def _carry_out(command: Callable[[], Any], future: "Future[Any]") -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(command())
    except Exception as error:  # noqa: BLE001 - stage boundary: who asked is told
        future.set_exception(error)
