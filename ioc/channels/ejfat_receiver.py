"""Receives EJFAT events over UDP as items: reads, reassembles and decodes.

Whose turn it is to read
- Whoever waits for items reads the sockets himself: nobody is woken, and what was received is still in the caches.
- A thread of its own stands by. It reads when the owner has not done so for a while (as long as the socket's buffer
  surely holds what comes, `STANDBY`), or has not emptied the socket: then two threads are faster than one.
- It hands the turn back when the owner waits for items and gets some.
"""

import logging
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ioc.channels import ejfat_socket
from ioc.channels.base import Counters
from ioc.channels.ejfat_asking import Asking, AskingFigures
from ioc.channels.ejfat_intake import Intake, IntakeSettings
from ioc.channels.ejfat_pacing import Pause
from ioc.channels.ejfat_payload import PayloadReader, RayfanReader
from ioc.channels.ejfat_pool import BufferPool
from ioc.channels.ejfat_reader import Destination, EventReader, Patience
from ioc.channels.ejfat_reassembly import Incomplete, Limits, Reassembler
from ioc.channels.ejfat_recovery import Recovery
from ioc.core.clock import Clock, SystemClock
from ioc.core.errors import RayfanBug
from ioc.core.frame import Item

LONGEST_WAIT = 0.05
"""Seconds that the reader blocks before it looks at time-outs and whether it is to stop."""

STANDBY = (0.001, 0.005)
"""s that the owner may be away before the thread reads: the least, and the most ..."""

FASTEST = 4e9
"""... and between them, as long as half the socket's buffer takes at so many bytes/s."""

JOIN_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """Where to listen and what to hold.

    It listens on 2 to the power `port_range` ports from `port` on; port 0 means free ones. `event_timeout` is s without
    new bytes until an event is given up. `memory` is bytes: as much for unfinished events, and as much for whole ones
    that are queued or handed out; `queue_size` counts items. `verify` compares the pixels with the sender's checksum.
    `receive_buffer` is bytes asked of the kernel. `shared`: a load balancer deals the events out, so that other workers
    have the numbers between, and end markers come more than once. `in_place`: receive events straight into their memory
    where that can be done. `resend_delay` is s after which lost packets are asked for where senders offer it; None:
    never.
    """

    address: str = "127.0.0.1"
    port: int = 0
    event_timeout: float = 0.5
    max_event_bytes: int = 256 << 20
    memory: int = 1 << 30
    queue_size: int = 1024
    verify: bool = True
    receive_buffer: int = 64 << 20
    port_range: int = 0
    shared: bool = False
    in_place: bool = True
    resend_delay: float | None = None


@dataclass(frozen=True, slots=True)
class ReceiverFigures:
    """What arrived and what did not.

    Events: `complete`, `incomplete` (given up), `lost` (gaps in the numbers, nothing whole), `corrupt` (whole, but no
    item or a wrong checksum; of these `refused` for their seal), `dropped` (found the queue full), `shed` (found the
    memory full). Datagrams: `packets`, `bad`, `duplicates`, `repeats` (of events complete already; copies of end
    markers), `late`, `kernel_drops`. `receive_buffer` is bytes granted, `memory_used` bytes of events, whole or not,
    that are here.
    """

    complete: int = 0
    incomplete: int = 0
    lost: int = 0
    corrupt: int = 0
    refused: int = 0
    dropped: int = 0
    shed: int = 0
    memory_used: int = 0
    packets: int = 0
    bytes: int = 0
    bad: int = 0
    duplicates: int = 0
    repeats: int = 0
    late: int = 0
    kernel_drops: int = 0
    unfinished: int = 0
    queued: int = 0
    coalescing: bool = False
    receive_buffer: int = 0
    last_error: str = ""


class EjfatReceiver:
    """A Receiver from UDP. `open` makes one that runs; it never comes to an end by itself."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        settings: ReceiverSettings,
        clock: Clock | None = None,
        reader: PayloadReader | None = None,
    ) -> None:
        """Keep what is needed; `reader` None: events are frames in Rayfan's own format."""
        self._sockets = sockets
        self.port = sockets[0].getsockname()[1]
        """The first UDP port that it listens on."""
        self._settings = settings
        self._clock = clock or SystemClock()
        pool = BufferPool(settings.memory // 4)
        limits = Limits(settings.max_event_bytes, settings.memory, gaps=not settings.shared)
        self._reassembler = Reassembler(limits, settings.event_timeout, pool)
        self._wait = min(LONGEST_WAIT, settings.event_timeout / 4)
        if settings.resend_delay is not None:
            self._wait = min(self._wait, settings.resend_delay / 2)
        self._payloads = reader or RayfanReader(settings.verify)
        delay = settings.resend_delay
        queue = IntakeSettings(settings.queue_size, settings.memory, settings.shared, patient=delay is not None)
        self._asking: Asking | None = None
        if delay is not None:
            recovery = Recovery(self._reassembler, delay, settings.event_timeout)
            self._asking = Asking(self._reassembler, recovery, self._clock, settings.shared)
        waits = self._asking.waits if self._asking is not None else self._reassembler.begun_before
        self._intake = Intake(queue, self._payloads, pool, waits)
        self._pause = Pause()
        to = Destination(self._reassembler, self._intake, self._asking)
        patience = Patience(self._wait, settings.event_timeout)
        self._reader = EventReader(sockets, to, patience, self._clock, self._pause)
        self._turn = threading.Lock()
        """Who holds it reads."""
        self._left_ns = 0
        self._wanted = False
        """Whether the owner waits for items while the thread reads."""
        self._standby = STANDBY[0]
        self._failure: Exception | None = None
        self._drain = False
        self._thread = threading.Thread(target=self._run, name=f"ejfat-reader-{self.port}", daemon=True)

    @classmethod
    def open(cls, settings: ReceiverSettings, reader: PayloadReader | None = None) -> Self:
        """Return a receiver that listens.

        Raises:
            ConfigError: the port is taken, or the address is not one of this host.
        """
        count = 1 << settings.port_range
        sockets = ejfat_socket.listen_range(settings.address, settings.port, count, settings.receive_buffer)
        receiver = cls(sockets, settings, reader=reader)
        receiver.start()
        return receiver

    def start(self) -> None:
        """Begin to read."""
        self._reader.start(self._settings.in_place)
        held = self._reader.looked.receive_buffer / 2 / FASTEST
        self._standby = min(max(held, STANDBY[0]), STANDBY[1])
        self._thread.start()

    def receive(self, max_items: int, timeout: float) -> Sequence[Item]:
        """Return up to `max_items` items in the order in which they became whole; empty if none within `timeout` s.

        Raises:
            RayfanBug: the reader has failed; its error is the cause.
        """
        if not self._intake.queued and not self._intake.ended and not self._pause.ended:
            if self._turn.acquire(blocking=False):
                self._fetch(timeout)
                timeout = 0.0
            else:
                self._wanted = True
        batch = self._intake.receive(max_items, timeout)
        if not batch and self._failure is not None:
            raise RayfanBug("EJFAT reader failed; restart the ingress and report this") from self._failure
        return batch

    def release(self, count: int) -> None:
        """Give the memory of the next `count` items of the batch back, to be used again."""
        self._intake.release(count)

    def fill(self) -> float:
        """Return how full the queue is, 0 to 1: in items or in bytes, whichever is more."""
        return self._intake.fill()

    def is_dealt(self, series: int) -> bool:
        """Return whether ids of this series may be missing although no event is: its sender got only a part."""
        return self._settings.shared or self._payloads.is_dealt(series)

    def counters(self) -> Counters:
        """Return items and pixel bytes handed out, and the errors: bad datagrams, corrupt events."""
        intake = self._intake.tally
        return Counters(intake.items, intake.bytes, self._reassembler.tally.bad + intake.corrupt)

    def figures(self) -> ReceiverFigures:
        """Return all that is counted; `lost` and `kernel_drops` are up to 50 ms old."""
        tally, intake = self._reassembler.tally, self._intake.tally
        looked = self._reader.looked
        return ReceiverFigures(
            lost=looked.lost,
            kernel_drops=looked.kernel_drops,
            coalescing=looked.coalescing,
            receive_buffer=looked.receive_buffer,
            complete=tally.events,
            incomplete=tally.incomplete,
            corrupt=intake.corrupt,
            refused=intake.refused,
            dropped=intake.dropped,
            shed=intake.shed,
            memory_used=self._reassembler.held + self._intake.held_bytes,
            packets=tally.packets,
            bytes=tally.bytes,
            bad=tally.bad,
            duplicates=tally.duplicates,
            repeats=tally.repeats + intake.end_repeats,
            late=tally.late,
            unfinished=self._reassembler.unfinished,
            queued=self._intake.queued,
            last_error=intake.last_error or tally.last_error,
        )

    def incomplete_events(self) -> list[Incomplete]:
        """Return the events given up last, oldest first."""
        return list(self._reader.recent)

    def lost_ranges(self) -> dict[int, list[tuple[int, int]]]:
        """Return by data id the event numbers that are missing, as closed ranges."""
        return self._reader.lost_ranges

    def asking(self) -> AskingFigures:
        """Return what was asked for and sent again."""
        return self._asking.figures() if self._asking is not None else AskingFigures()

    def refused_events(self) -> dict[int, list[tuple[int, int]]]:
        """Return by data id the numbers of events that were refused for their seal, as closed ranges."""
        return {data_id: list(numbers) for data_id, numbers in list(self._intake.tally.refused_ids.items())}

    def close(self, drain: bool) -> None:
        """Stop; with `drain`, what the kernel holds is read and can still be received."""
        self._drain = drain
        self._pause.end()
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            _log.error("EJFAT reader did not stop within %g s", JOIN_SECONDS)
        for sock in self._sockets:
            sock.close()
        if self._asking is not None:
            self._asking.close()
        if not drain:
            self._intake.clear()

    def _fetch(self, seconds: float) -> None:
        """Read in the owner's thread, whose turn it is."""
        try:
            if self._failure is None:
                self._reader.fetch(seconds)
        except Exception as error:  # noqa: BLE001 - the boundary of the reader: `receive` raises it
            self._fail(error)
        finally:
            self._left_ns = self._clock.monotonic_ns()
            self._turn.release()

    def _run(self) -> None:
        try:
            while not self._pause.ended and self._failure is None:
                self._pause.wait(self._standby)
                if self._reader.idle and self._turn.locked():
                    self._doze()
                elif self._is_due() and self._turn.acquire(timeout=self._standby):
                    self._relieve()
            with self._turn:
                if self._drain:
                    self._reader.read_rest()
                self._reader.finish()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        finally:
            self._intake.end()

    def _doze(self) -> None:
        """Sleep while the owner waits for packets and none come."""
        if self._turn.acquire(timeout=self._wait):
            self._turn.release()

    def _is_due(self) -> bool:
        """Return whether the owner is away, or too slow alone."""
        away = self._clock.monotonic_ns() - self._left_ns > self._standby * 1e9
        return (away and not self._turn.locked()) or self._reader.is_behind(self._standby)

    def _relieve(self) -> None:
        """Read in the thread, whose turn it is, until the owner waits for items and gets some."""
        self._wanted = False
        try:
            while not self._pause.ended and not (self._wanted and self._intake.queued):
                self._reader.step()
            self._intake.tell()
        except Exception as error:  # noqa: BLE001 - as above; told before the owner may read
            self._fail(error)
        finally:
            self._turn.release()

    def _fail(self, error: Exception) -> None:
        _log.error("EJFAT reader failed", exc_info=error)
        self._failure = error
