"""What a publisher does so that lost packets can be sent again: keeps its events, offers them, waits at its end."""

import logging
import threading
from collections.abc import Sequence

from ioc.channels.ejfat_payload import Piece
from ioc.channels.ejfat_resend_server import ResendFigures, ResendServer
from ioc.channels.ejfat_resend_store import Budget, KeepLimits, SentEvents
from ioc.core.clock import SystemClock
from ioc.core.errors import ConfigError

log = logging.getLogger(__name__)

LONGEST_LINGER_SECONDS = 5.0
"""s that the end waits for those who still miss something."""
LOOK_SECONDS = 0.01


class Resend:
    """What a publisher keeps and offers; the server opens when the publisher's own address is known."""

    def __init__(self, data_id: int, limits: KeepLimits, port: int, budget: Budget | None = None) -> None:
        self._clock = SystemClock()
        self.events = SentEvents(data_id, limits, self._clock, budget)
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
                self._server = ResendServer.open(addresses[0], self._port, self.events)
                self._text = self._server.offer.to_text()
            except ConfigError as error:  # the stream goes on without
                self.error = str(error)
                log.error("nothing is sent again: %s", error)
        return self._text

    def keep(self, number: int, pieces: Sequence[Piece]) -> None:
        """Keep an event that is about to be sent."""
        self._last = number
        self.events.keep(number, pieces)

    def figures(self) -> ResendFigures:
        """Return what was asked for and sent again."""
        return self._server.figures if self._server is not None else ResendFigures()

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, when all who are connected have what they miss."""
        if self._server is None:
            return
        if drain:
            self._server.finish(self._last)
            pause, end_ns = threading.Event(), self._clock.monotonic_ns() + round(LONGEST_LINGER_SECONDS * 1e9)
            while self._server.figures.clients and self._clock.monotonic_ns() < end_ns:
                pause.wait(LOOK_SECONDS)
        self._server.close()
        self.events.clear()
