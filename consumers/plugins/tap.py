"""The ways out of the graph for file writers: the frames of the port that a writer's NDArrayPort names.

    a plug-in's thread --frame--> copied into shared memory, the writer's seat --tap's thread--> the writer's process

Rules: a writer is there while it is connected, and says in its first message whose frames it wants; it comes anew to
have those of another port. Its seat has the queue and the policy of its table in the configuration. Where nothing may
be dropped the plug-in waits, and what comes for that plug-in meanwhile waits, or is dropped, in its queue. What the
writer had in its hands when it died is booked as dropped.
One lock for all taps; frames come by the threads of plug-ins.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from consumers.plugins.graph import Graph
from consumers.plugins.ledger import PluginLedger
from consumers.plugins.ports import port_of
from ioc.channels.local import LocalLink, LocalServer
from ioc.channels.local_pool import PooledFrame
from ioc.channels.local_store import FEWEST_SLOTS, FrameStore
from ioc.core.config_writer import WriterConfig
from ioc.core.frame import Frame
from ioc.core.ledger import Reason
from ioc.core.overflow import WIDEST_WINDOW, Limits
from ioc.distributor.seat import Seat
from ioc.records.areadetector import CAMERA_PORT

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.1
BUSY_SECONDS = 0.005
"""s after which it is looked what a writer has finished with."""
JOIN_SECONDS = 5.0


class Tap:
    """One writer's way out; implements graph.Taker."""

    def __init__(self, seat: Seat, store: FrameStore, taps: "Taps") -> None:
        self.port = port_of(seat.name)
        self.source = CAMERA_PORT
        self.seat = seat
        self.store = store
        self._taps = taps

    @property
    def enabled(self) -> bool:
        """Whether its writer is there, and wants more."""
        return self.seat.present

    @property
    def waiting(self) -> int:
        """Frames that the writer has not finished with."""
        return self.seat.queue.frames + self.seat.frames_on_way

    def admits(self, frame: Frame) -> bool:
        """Return True: what does not fit is dropped from the seat, by its policy."""
        return True

    def take(self, frame: Frame) -> None:
        """Copy a frame and give it to the writer."""
        self._taps.give(self, frame)

    def lose(self, frames: int) -> None:
        """Do nothing: what never came here is in the account of who dropped it."""

    def refuse(self, frame: Frame, reason: Reason) -> None:
        """Count a frame that it was to be given, and cannot be."""
        self._taps.refuse(self, frame, reason)

    def settle(self, seconds: float) -> bool:
        """Wait until the writer has finished with all, for `seconds` at most; return whether it has."""
        return self._taps.settle(self, seconds)


class Taps:
    """All ways out, and the thread that serves them; made, started and closed by the process of the plug-ins."""

    def __init__(self, server: LocalServer, graph: Graph, ledger: PluginLedger, writers: "Writers") -> None:
        """Serve `writers` at `server`."""
        self._server = server
        self._graph = graph
        self._ledger = ledger
        self._writers = writers
        self._taps: dict[str, Tap] = {}
        self._changed = threading.Condition()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="taps", daemon=True)

    def start(self) -> None:
        """Let writers come."""
        self._thread.start()

    def give(self, tap: Tap, frame: Frame) -> None:
        """Put a frame on a seat; waits where nothing may be dropped and there is no room."""
        too_large = FEWEST_SLOTS * frame.data.nbytes > self._writers.memory
        with self._changed:
            while tap.enabled and not self._closing:
                may_drop = tap.seat.queue.limits.policy.may_drop
                room = not too_large and (may_drop or bool(tap.seat.room(frame.data.nbytes)))
                pooled = tap.store.place(frame) if room else None
                if pooled is not None:
                    self._seat(tap.seat, pooled)
                    return
                if too_large or may_drop:
                    self.refuse(tap, frame, Reason.SHED)
                    return
                self._changed.wait(IDLE_SECONDS)

    def refuse(self, tap: Tap, frame: Frame, reason: Reason) -> None:
        """Book a frame as dropped in front of a seat."""
        with self._changed, self._ledger.guard:
            tap.seat.assigned += 1
            tap.seat.dropped[reason] += 1
            tap.seat.account.came.add(frame.series, frame.unique_id)
            tap.seat.account.drop(frame.series, frame.unique_id, reason)
            self._ledger.commit()

    def settle(self, tap: Tap, seconds: float) -> bool:
        """Wait until nothing waits for a writer, or it is gone; return whether that came within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: tap.seat.idle or tap.seat.link is None, seconds)

    def close(self) -> None:
        """Say goodbye to all writers and end the thread; what waits is dropped."""
        with self._changed:
            self._closing = True
            os.eventfd_write(self._wake, 1)
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)
        with self._changed:
            for tap in self._taps.values():
                self._stand_up(tap)
                tap.store.close()
        self._server.close()
        os.close(self._wake)

    def _seat(self, seat: Seat, pooled: PooledFrame) -> None:
        with self._ledger.guard:
            seat.assign([pooled])
            self._ledger.commit()
        assert pooled.slot is not None
        pooled.slot.drop()
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._step()
            except Exception:  # stage boundary: what goes wrong with one writer must not end the way of the others
                log.exception("taps: failed")
                time.sleep(IDLE_SECONDS)

    def _step(self) -> None:
        with self._changed:
            for link in self._server.accept():
                self._welcome(link)
            for tap in self._taps.values():
                self._pump(tap)
            self._changed.notify_all()
            links = [tap.seat.link for tap in self._taps.values() if tap.seat.link is not None]
            busy = any(not tap.seat.idle for tap in self._taps.values())
        by_descriptor = {link.fileno(): link for link in links}
        listened = [self._wake, *self._server.filenos(), *by_descriptor]
        ready = select.select(listened, [], [], BUSY_SECONDS if busy else IDLE_SECONDS)[0]
        if self._wake in ready:
            os.eventfd_read(self._wake)
        with self._changed:
            for descriptor in ready:
                if descriptor in by_descriptor:
                    by_descriptor[descriptor].refresh()

    def _welcome(self, link: LocalLink) -> None:
        name, port = link.who.name, link.who.group
        config = self._writers.tables.get(name)
        if config is None or port not in self._graph.ports:
            log.warning("%s may not have the frames of %s", name, port)
            link.close(drain=True)
            return
        tap = self._taps.get(name)
        if tap is None:
            tap = self._taps[name] = self._made(name, config)
            self._graph.let_out(tap)
        with self._ledger.guard:
            tap.seat.sit(link)
            self._ledger.commit()
        tap.source = port
        self._graph.rewire()
        log.info("%s has the frames of %s", name, port)

    def _made(self, name: str, config: WriterConfig) -> Tap:
        limits = Limits(config.policy, config.queue_size, config.queue_bytes)
        seat = Seat(name, 1, limits, False, self._ledger.account(name))
        return Tap(seat, FrameStore(self._writers.memory, limits.frames + WIDEST_WINDOW + 1), self)

    def _pump(self, tap: Tap) -> None:
        seat, link = tap.seat, tap.seat.link
        if link is None:
            return
        with self._ledger.guard:
            seat.pump()
            self._ledger.commit()
        for segment in tap.store.unused():
            if isinstance(link, LocalLink):
                link.retire(segment)
            segment.close()
        if not link.alive() or seat.may_leave():
            self._stand_up(tap)
            self._graph.rewire()

    def _stand_up(self, tap: Tap) -> None:
        with self._ledger.guard:
            tap.seat.vacate(politely=True)
            tap.seat.abandon()
            self._ledger.commit()


@dataclass(frozen=True, slots=True)
class Writers:
    """The tables of the writers by the names of their processes, and the bytes that may wait for each of them."""

    tables: Mapping[str, WriterConfig]
    memory: int
