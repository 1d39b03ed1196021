"""What a publisher does so that lost packets can be sent again: keeps its events, offers them, waits at its end."""

import logging
import threading
from collections.abc import Callable, Sequence

from ioc.channels.ejfat_payload import Piece
from ioc.channels.ejfat_resend_server import ResendFigures, ResendServer
from ioc.channels.ejfat_resend_store import Budget, KeepLimits, SentEvents
from ioc.channels.ejfat_unclaimed import Unclaimed
from ioc.core.clock import SystemClock
from ioc.core.errors import ConfigError

log = logging.getLogger(__name__)

LONGEST_LINGER_SECONDS = 5.0
"""s that the end waits for those who still miss something."""
LOOK_SECONDS = 0.01
UNCLAIMED_SECONDS = 0.5
"""s in which a worker tells that it has an event, or asks for what it lacks of it; far more than either takes."""

SETTLE_SECONDS = 1.5
"""s that the end of a series waits at most until workers have told of all its frames."""


class Resend:
    """What a publisher keeps and offers; the server opens when the publisher's own address is known."""

    def __init__(
        self,
        data_id: int,
        limits: KeepLimits,
        port: int,
        budget: Budget | None = None,
        workers: Callable[[], int | None] | None = None,
    ) -> None:
        """Keep what is needed; `workers` says how many workers a load balancer deals to, None: there is none."""
        self._clock = SystemClock()
        self.events = SentEvents(data_id, limits, self._clock, budget)
        self._unclaimed = Unclaimed(UNCLAIMED_SECONDS, workers, self._clock) if workers is not None else None
        self._port = port
        self._server: ResendServer | None = None
        self._text: str | None = None
        self._last = 0
        self.error = ""
        """Why nothing is offered."""

    def offer(self, addresses: Sequence[str]) -> str | None:
        """Return what events are to offer; None while no address of ours is known, or the port is taken."""
        if self._server is None and addresses and not self.error:
            try:
                self._server = ResendServer.open(addresses[0], self._port, self.events, self._unclaimed)
                self._text = self._server.offer.to_text()
            except ConfigError as error:  # the stream goes on without
                self.error = str(error)
                log.error("nothing is sent again: %s", error)
        return self._text

    def keep(self, number: int, pieces: Sequence[Piece]) -> None:
        """Keep an event that is about to be sent."""
        self._last = number
        self.events.keep(number, pieces)
        if self._unclaimed is not None:
            self._unclaimed.sent(number)

    def settle(self) -> None:
        """Wait until workers behind a load balancer have told of all events, if all do; `SETTLE_SECONDS` at most.

        What was lost as a whole is with one of them then, before the end marker is sent.
        """
        unclaimed, server = self._unclaimed, self._server
        if unclaimed is None or server is None:
            return
        pause, end_ns = threading.Event(), self._clock.monotonic_ns() + round(SETTLE_SECONDS * 1e9)
        while not unclaimed.settled and self._clock.monotonic_ns() < end_ns:
            telling = server.figures.telling
            if not telling or unclaimed.hopeless(telling):
                return
            pause.wait(LOOK_SECONDS)

    def figures(self) -> ResendFigures:
        """Return what was asked for and sent again."""
        return self._server.figures if self._server is not None else ResendFigures()

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, when all who are connected have what they miss."""
        if self._server is None:
            return
        if drain:
            self.settle()
            self._server.finish(self._last)
            pause, end_ns = threading.Event(), self._clock.monotonic_ns() + round(LONGEST_LINGER_SECONDS * 1e9)
            while self._server.figures.clients and self._clock.monotonic_ns() < end_ns:
                pause.wait(LOOK_SECONDS)
        self._server.close()
        self.events.clear()
