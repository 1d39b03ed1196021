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

LINGER_SECONDS = 0.5
"""s without an event or an ask after which nothing more is expected to be asked for ..."""
LONGEST_LINGER_SECONDS = 5.0
"""... but no longer than this, whoever asks."""


class Resend:
    """What a publisher keeps and offers; the server opens when the publisher's own address is known."""

    def __init__(self, data_id: int, limits: KeepLimits, port: int, budget: Budget | None = None) -> None:
        self._clock = SystemClock()
        self.events = SentEvents(data_id, limits, self._clock, budget)
        self._limits = limits
        self._port = port
        self._server: ResendServer | None = None
        self._text: str | None = None
        self._sent_ns = 0
        self.error = ""
        """Why nothing is offered."""

    def offer(self, addresses: Sequence[str]) -> str | None:
        """Return what events are to offer; None while no address of ours is known, or the port is taken."""
        if self._server is None and addresses and not self.error:
            try:
                self._server = ResendServer.open(addresses[0], self._port, self.events, self._clock)
                self._text = self._server.offer.to_text()
            except ConfigError as error:  # the stream goes on without
                self.error = str(error)
                log.error("nothing is sent again: %s", error)
        return self._text

    def keep(self, number: int, pieces: Sequence[Piece]) -> None:
        """Keep an event that is about to be sent."""
        self._sent_ns = self._clock.monotonic_ns()
        self.events.keep(number, pieces)

    def figures(self) -> ResendFigures:
        """Return what was asked for and sent again."""
        return self._server.figures if self._server is not None else ResendFigures()

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, when nothing was sent or asked for during a while."""
        if self._server is None:
            return
        quiet, end = threading.Event(), self._clock.monotonic_ns() + round(LONGEST_LINGER_SECONDS * 1e9)
        while drain and self.figures().clients and self._clock.monotonic_ns() < end:
            rest = self._rest_ns(self._server)
            if not rest:
                break
            quiet.wait(rest / 1e9)
        self._server.close()
        self.events.clear()

    def _rest_ns(self, server: ResendServer) -> int:
        last = max(self._sent_ns, server.last_ns)
        wait = min(LINGER_SECONDS, self._limits.seconds)
        return max(0, last + round(wait * 1e9) - self._clock.monotonic_ns())
