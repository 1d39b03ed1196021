"""A worker's link to the control plane: registers, reports its state ten times a second, leaves.

Rules
- Without a session the worker registers, and tries again with back-off until it succeeds.
- A control plane that does not know the session, because it was started anew, makes the link register anew.
- Where states have not been taken for `RENEW_SECONDS`, the link registers anew before the session is forgotten (60 s).
- The frames go on whatever happens here; what happens is counted and shown.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ioc.channels.ejfat_control_model import Registration, Session, WorkerState
from ioc.core.clock import Clock, SystemClock
from ioc.core.errors import ControlError

log = logging.getLogger(__name__)

STATE_SECONDS = 0.1
RENEW_SECONDS = 45.0
BACKOFF_SECONDS = (0.2, 5.0)
JOIN_SECONDS = 10.0


class WorkerCalls(Protocol):
    """What the link needs of a control plane."""

    def with_token(self, token: str) -> "WorkerCalls": ...

    def register(self, lb_id: str, worker: Registration) -> Session: ...

    def send_state(self, lb_id: str, session_id: str, state: WorkerState) -> None: ...

    def deregister(self, lb_id: str, session_id: str) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """Whether the worker is registered, states taken, times registered, calls that failed, and why the last one did."""

    registered: bool = False
    states: int = 0
    registrations: int = 0
    errors: int = 0
    last_error: str = ""
    control_signal: float = 0.0
    fill: float = 0.0


class WorkerLink:
    """The link of one worker; `state` is asked in the link's thread before each report. `start` it, `leave` it."""

    def __init__(
        self,
        calls: WorkerCalls,
        lb_id: str,
        worker: Registration,
        state: Callable[[], WorkerState],
        clock: Clock | None = None,
    ) -> None:
        self._calls = calls
        self._lb_id = lb_id
        self._worker = worker
        self._state = state
        self._clock = clock or SystemClock()
        self._session: Session | None = None
        self._session_calls: WorkerCalls | None = None
        self._taken_ns = 0
        self._backoff = BACKOFF_SECONDS[0]
        self._retry_ns = 0
        self._leaving = threading.Event()
        self._figures = LinkFigures()
        self._thread = threading.Thread(target=self._run, name="ejfat-worker", daemon=True)

    def start(self) -> None:
        """Begin to register and report."""
        self._thread.start()

    def figures(self) -> LinkFigures:
        """Return what happened so far."""
        return self._figures

    def leave(self) -> bool:
        """Stop to report, deregister; return whether the control plane was told: events may still come for a while."""
        self._leaving.set()
        self._thread.join(JOIN_SECONDS)
        told = False
        if self._session is not None and self._session_calls is not None and not self._thread.is_alive():
            try:
                self._session_calls.send_state(self._lb_id, self._session.id, replace(self._state(), ready=False))
                self._session_calls.deregister(self._lb_id, self._session.id)
                told = True
            except ControlError as error:
                log.info("leaving the load balancer: %s", error)
        self._drop_session()
        self._calls.close()
        return told

    def step(self) -> None:
        """Register if need be and report once; the thread does so every `STATE_SECONDS`."""
        now = self._clock.monotonic_ns()
        if self._session is None:
            if now < self._retry_ns or not self._register(now):
                return
        elif now - self._taken_ns > RENEW_SECONDS * 1e9:
            log.warning("no state was taken for %g s: registering anew", RENEW_SECONDS)
            self._drop_session()
            return
        self._report(now)

    def _run(self) -> None:
        due = self._clock.monotonic_ns()
        while not self._leaving.is_set():
            try:
                self.step()
            except Exception as error:  # thread boundary: frames go on; the link says what is wrong
                log.exception("the link to the load balancer failed")
                self._failed(f"{type(error).__name__}: {error}")
            due = max(due + round(STATE_SECONDS * 1e9), self._clock.monotonic_ns())
            self._leaving.wait(max(0.0, (due - self._clock.monotonic_ns()) / 1e9))

    def _register(self, now: int) -> bool:
        try:
            session = self._calls.register(self._lb_id, self._worker)
        except ControlError as error:
            self._failed(str(error))
            self._retry_ns = now + round(self._backoff * 1e9)
            self._backoff = min(2 * self._backoff, BACKOFF_SECONDS[1])
            return False
        self._session, self._session_calls = session, self._calls.with_token(session.token)
        self._taken_ns, self._backoff = now, BACKOFF_SECONDS[0]
        figures = self._figures
        self._figures = replace(figures, registered=True, registrations=figures.registrations + 1, last_error="")
        log.info("registered with load balancer %s as session %s", self._lb_id, session.id)
        return True

    def _report(self, now: int) -> None:
        assert self._session is not None and self._session_calls is not None
        state = self._state()
        try:
            self._session_calls.send_state(self._lb_id, self._session.id, state)
        except ControlError as error:
            self._failed(str(error))
            if error.unknown:
                self._drop_session()
            return
        self._taken_ns = now
        figures = self._figures
        self._figures = replace(
            figures, states=figures.states + 1, control_signal=state.control_signal, fill=state.fill, last_error=""
        )

    def _drop_session(self) -> None:
        if self._session_calls is not None:
            self._session_calls.close()
        self._session = self._session_calls = None
        self._figures = replace(self._figures, registered=False)

    def _failed(self, why: str) -> None:
        figures = self._figures
        self._figures = replace(figures, errors=figures.errors + 1, last_error=why)
        if figures.errors & (figures.errors + 1) == 0:  # 1, 2, 4, 8, ...
            log.warning("load balancer: %s (%d so far)", why, figures.errors + 1)
