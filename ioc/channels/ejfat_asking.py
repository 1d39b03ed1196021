"""A receiver's side of sending again: what is missing, whom to ask, what came of it; for the reader's thread only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ioc.channels.ejfat_payload import Given
from ioc.channels.ejfat_reassembly import Event, Incomplete, Reassembler
from ioc.channels.ejfat_recovery import Recovery
from ioc.channels.ejfat_resend_client import MOST_PEERS, Peers
from ioc.channels.ejfat_resend_wire import Gone, Resent
from ioc.core.clock import Clock
from ioc.core.sequence import Ranges

TELL_SECONDS = 0.05
"""s after which a worker behind a load balancer tells that it has nothing to tell."""

LAST = (1 << 64) - 1
"""The greatest event number."""


@dataclass(frozen=True, slots=True)
class AskingFigures:
    """Asks made, records that were sent again, events whole by them, events given up; offers refused; last error."""

    asked: int = 0
    resent: int = 0
    recovered: int = 0
    given_up: int = 0
    refused: int = 0
    last_error: str = ""


class Asking:
    """Asks the senders of events that offer it for what is lost."""

    def __init__(self, reassembler: Reassembler, recovery: Recovery, clock: Clock, shared: bool = False) -> None:
        """Keep what is needed; `shared`: behind a load balancer, where the sender is told which events are whole."""
        self._reassembler = reassembler
        self._recovery = recovery
        self._peers = Peers(tell=shared)
        self._shared = shared
        self._whole: dict[int, Ranges] = {}
        self._told_ns = 0
        self._clock = clock
        self._resent = 0
        self._ending: set[int] = set()

    @property
    def arrived(self) -> bool:
        """Whether something was sent again and can be fed."""
        return self._peers.arrived

    def feed(self, now_ns: int) -> list[Event]:
        """Put what was sent again where it belongs; return the events that became whole."""
        events: list[Event] = []
        for data_id, record in self._peers.take():
            if isinstance(record, Resent):
                self._resent += 1
                datagram = np.frombuffer(record.datagram, np.uint8)
                events += self._reassembler.feed(datagram, len(datagram), now_ns)
            elif isinstance(record, Gone):
                self._recovery.gone(data_id, record.event)
                self._reassembler.give_up((data_id, record.event), now_ns)
            else:
                self._reassembler.ends_at(data_id, record.event)
                self._ending.add(data_id)
        return events

    def took(self, event: Event, given: Given | None) -> None:
        """Take note of a whole event and of what it offers."""
        self._recovery.completed(event.data_id, event.number)
        if self._shared and (event.data_id in self._whole or len(self._whole) < MOST_PEERS):
            self._whole.setdefault(event.data_id, Ranges()).add(event.number, event.number)
        if given is not None and given.resend is not None:
            self._peers.offered(event.data_id, given.resend)

    def look(self, given_up: Sequence[Incomplete], now_ns: int) -> None:
        """Ask for what is missing now."""
        self._recovery.lost(given_up)
        for data_id, wanted in self._recovery.look(self._peers.sources, now_ns):
            self._peers.ask(data_id, wanted)
        if self._shared:
            self._tell(now_ns)
        for data_id in [one for one in self._ending if not self.waits(one, LAST + 1)]:
            self._ending.discard(data_id)
            self._peers.finish(data_id)

    def _tell(self, now_ns: int) -> None:
        """Tell senders which events are whole, and now and then that there are no others: we are not behind."""
        beat = now_ns - self._told_ns >= TELL_SECONDS * 1e9
        if beat:
            self._told_ns = now_ns
        for data_id in self._peers.sources if beat else list(self._whole):
            self._peers.tell(data_id, list(self._whole.get(data_id, ())))
        self._whole.clear()

    def waits(self, data_id: int, number: int) -> bool:
        """Return whether an event of a source before this one is still to come."""
        if self._reassembler.begun_before(data_id, number):
            return True
        return self._recovery.waits(data_id, number, self._clock.monotonic_ns())

    @property
    def busy(self) -> bool:
        """Whether anything is asked for, or would be."""
        return self._recovery.busy or bool(self._peers.sources and self._reassembler.unfinished)

    def figures(self) -> AskingFigures:
        """Return what came of it so far."""
        found = self._recovery.figures
        return AskingFigures(
            found.asked, self._resent, found.recovered, found.given_up, self._peers.refused, self._peers.error()
        )

    def close(self) -> None:
        """Let all senders go."""
        self._peers.close()
