"""A sender's link to the load balancer: announces its addresses, sends sync messages, keeps the reservation, leaves.

Rules
- The addresses are announced at the start and again every `ANNOUNCE_SECONDS`: a control plane that was started anew has
  forgotten them. They are withdrawn when the last packet has had time to pass the load balancer.
- A sync message goes out every `period`; the first one a warm-up before the first data packet (`warm` waits for it).
- With `renew`, a reservation that would end within half of it is extended by it.
- The frames go on whatever happens here; what happens is counted and shown.
"""

import logging
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ioc.channels.ejfat_control_model import LbStatus
from ioc.channels.ejfat_uri import Endpoint
from ioc.channels.ejfat_wire import SyncMessage
from ioc.core.clock import Clock, SystemClock
from ioc.core.errors import ControlError

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 2.0
"""s; a load balancer that was started anew takes nothing from us until it is told again."""
RENEWAL_LOOK_SECONDS = 30.0
LINGER_SECONDS = 0.2
"""s between the last packet and the withdrawal of the sender's address."""
JOIN_SECONDS = 10.0


class SenderCalls(Protocol):
    """What the link needs of a control plane."""

    def add_senders(self, lb_id: str, addresses: Sequence[str]) -> None: ...

    def remove_senders(self, lb_id: str, addresses: Sequence[str]) -> None: ...

    def status(self, lb_id: str) -> LbStatus: ...

    def extend(self, lb_id: str, seconds: float) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """Where sync messages go (None: nowhere), how often (s), the source id, the warm-up (s), and `renew` (s)."""

    sync: Endpoint | None
    period: float = 1.0
    source_id: int = 0
    warm_up: float = 1.0
    renew: float | None = None


@dataclass(frozen=True, slots=True)
class SenderFigures:
    """Whether the addresses are known to the load balancer, sync messages sent, calls and messages that failed."""

    announced: bool = False
    syncs: int = 0
    errors: int = 0
    last_error: str = ""
    renewed: int = 0


class SenderLink:
    """The link of one sender. `start` it, wait until it is `warm`, and `leave` after the last packet."""

    def __init__(
        self,
        calls: SenderCalls | None,
        lb_id: str,
        addresses: Sequence[str],
        settings: SyncSettings,
        clock: Clock | None = None,
    ) -> None:
        """Keep what is needed; `calls` None: there is no control plane, only syncs are sent."""
        self._calls = calls
        self._lb_id = lb_id
        self._addresses = addresses
        self._settings = settings
        self._clock = clock or SystemClock()
        self._figures = SenderFigures()
        self._socket: socket.socket | None = None
        self._announce_ns = self._sync_ns = 0
        self._renew_ns = 0
        self._leaving = threading.Event()
        self._first_sync_ns: int | None = None
        self._warm = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ejfat-sender", daemon=True)

    def start(self) -> None:
        """Begin to announce and to send sync messages."""
        self._thread.start()

    def warm(self, timeout: float) -> bool:
        """Wait until the warm-up is over: announced, and the first sync was a warm-up ago; return whether it is."""
        return self._warm.wait(timeout)

    def figures(self) -> SenderFigures:
        """Return what happened so far."""
        return self._figures

    def workers(self) -> int | None:
        """Ask how many workers the load balancer deals events to; None if it cannot be asked or does not tell."""
        if self._calls is None:
            return None
        try:
            return sum(worker.slots > 0 for worker in self._calls.status(self._lb_id).workers)
        except ControlError as error:
            log.info("asking for the workers: %s", error)
            return None

    def leave(self) -> None:
        """Withdraw the addresses when the last packet has left, and stop."""
        self._leaving.wait(LINGER_SECONDS)
        self._leaving.set()
        self._thread.join(JOIN_SECONDS)
        if self._calls is not None:
            try:
                if self._figures.announced:
                    self._calls.remove_senders(self._lb_id, self._addresses)
            except ControlError as error:
                log.info("withdrawing the sender: %s", error)
            self._calls.close()
        if self._socket is not None:
            self._socket.close()

    def step(self) -> float:
        """Do what is due; return s until the next is."""
        now = self._clock.monotonic_ns()
        if self._calls is not None and now >= self._announce_ns:
            self._announce(self._calls, now)
        if self._calls is not None and self._settings.renew is not None and now >= self._renew_ns:
            self._renew(self._calls, self._settings.renew, now)
        if now >= self._sync_ns:
            self._sync_ns = max(self._sync_ns + round(self._settings.period * 1e9), now)
            self._sync(now)
        if self._first_sync_ns is not None and now - self._first_sync_ns >= self._settings.warm_up * 1e9:
            self._warm.set()
        waits = [self._sync_ns]
        if not self._warm.is_set() and self._first_sync_ns is not None:
            waits.append(self._first_sync_ns + round(self._settings.warm_up * 1e9))
        if self._calls is not None:
            waits.append(self._announce_ns)
        return max(0.0, (min(waits) - now) / 1e9)

    def _run(self) -> None:
        while not self._leaving.is_set():
            try:
                wait = self.step()
            except Exception as error:  # thread boundary: frames go on; the link says what is wrong
                log.exception("the link to the load balancer failed")
                self._failed(f"{type(error).__name__}: {error}")
                wait = 1.0
            self._leaving.wait(wait)

    def _announce(self, calls: SenderCalls, now: int) -> None:
        try:
            calls.add_senders(self._lb_id, self._addresses)
        except ControlError as error:
            self._figures = replace(self._figures, announced=False)
            self._failed(str(error))
            self._announce_ns = now + 1_000_000_000
            return
        self._announce_ns = now + round(ANNOUNCE_SECONDS * 1e9)
        self._figures = replace(self._figures, announced=True, last_error="")

    def _renew(self, calls: SenderCalls, seconds: float, now: int) -> None:
        self._renew_ns = now + round(min(RENEWAL_LOOK_SECONDS, seconds / 4) * 1e9)
        try:
            expires = calls.status(self._lb_id).expires_ns
            if expires is None or expires - self._clock.wall_ns() > seconds / 2 * 1e9:
                return
            calls.extend(self._lb_id, seconds)
        except ControlError as error:
            self._failed(str(error))
            return
        self._figures = replace(self._figures, renewed=self._figures.renewed + 1)

    def _sync(self, now: int) -> None:
        sync = self._settings.sync
        if sync is not None:
            wall = self._clock.wall_ns()
            message = SyncMessage(self._settings.source_id, wall // 1000, wall)
            try:
                if self._socket is None:
                    family = socket.AF_INET6 if sync.version == 6 else socket.AF_INET
                    self._socket = socket.socket(family, socket.SOCK_DGRAM)
                self._socket.sendto(message.to_bytes(), (sync.address, sync.port))
            except OSError as error:
                self._failed(f"sync message to {sync.address}:{sync.port}: {error}")
            else:
                self._figures = replace(self._figures, syncs=self._figures.syncs + 1)
        if self._first_sync_ns is None and (self._calls is None or self._figures.announced):
            self._first_sync_ns = now

    def _failed(self, why: str) -> None:
        figures = self._figures
        self._figures = replace(figures, errors=figures.errors + 1, last_error=why)
        if figures.errors & (figures.errors + 1) == 0:  # 1, 2, 4, 8, ...
            log.warning("load balancer: %s (%d so far)", why, figures.errors + 1)
