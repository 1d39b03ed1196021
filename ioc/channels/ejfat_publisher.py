"""Sends items as EJFAT events over UDP: every frame and every end marker is one event."""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ioc.channels.base import Accepted, Counters, Refusal
from ioc.channels.ejfat_gather import LEAST_PACKETS, Gatherer
from ioc.channels.ejfat_pacing import LEAST_WAIT_NS, Pause, RatePacer
from ioc.channels.ejfat_path import DataPath, PathSettings
from ioc.channels.ejfat_payload import EventId, PayloadWriter, Piece, RayfanWriter
from ioc.channels.ejfat_resend import Resend
from ioc.channels.ejfat_segmenter import HeaderSheet, Segmenter, Stamp
from ioc.channels.ejfat_wire import IP_BYTES, UDP_BYTES, IpVersion, LbVersion
from ioc.core.clock import Clock, SystemClock
from ioc.core.frame import EndOfSeries, Item

END_GAPS = (0.001, 0.002, 0.004, 0.008)
"""Seconds between the copies of an end marker: a receiver that is full for a moment still gets one of them."""

SLOTS = 512
"""Slots of a load balancer (ESnet's, and the lab's); the low bits of the tick choose one."""

BURST_SECONDS = 0.0005
"""How much of the rate may be made up for at once after a late wake-up or a pause ..."""

BURST_BYTES = (1 << 16, 1 << 20)
"""... but at least one batch, and no more than usual socket buffers hold."""

AT_ONCE_SECONDS = 0.0002
"""How much of the rate goes out with one call, but at least what the kernel takes in one message."""

START_GBPS = 8.0
"""Gbit/s that a sender without a rate begins with, because at first the receiver's memory is new, which makes it
several times slower ..."""

START_NS = 100_000_000
"""... for so many ns ..."""

IDLE_NS = 1_000_000_000
"""... and again after so many without an event."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """Where events go and how.

    `mtu` is bytes of an IP packet, `rate_gbps` Gbit/s of IP packets (None: as fast as they come), `lb_version` None
    leaves the LB header away, `checksum` sends an XXH3 of the pixels, `send_buffer` is bytes asked of the kernel.
    `more` are further destinations, (host, port): events take turns over all of them, each over a socket of its own.
    `balanced`: a load balancer deals the events out, so an end marker goes to every slot. `first_event` is the RE event
    number of the first item.
    """

    host: str
    port: int
    mtu: int = 9000
    rate_gbps: float | None = None
    data_id: int = 1
    lb_version: LbVersion | None = 2
    offload: bool = True
    checksum: bool = True
    send_buffer: int = 8 << 20
    more: tuple[tuple[str, int], ...] = ()
    balanced: bool = False
    first_event: int = 1


@dataclass(frozen=True, slots=True)
class PublisherFigures:
    """What was sent: frames, end markers, bytes of events, packets; and what the network or the frames refused."""

    frames: int
    ends: int
    bytes: int
    packets: int
    errors: int
    offload: bool
    last_error: str
    unsent: int = 0
    paths: int = 1
    send_buffer: int = 0


class EjfatPublisher:
    """A Publisher onto UDP; nothing comes back, so every item counts as taken.

    `publish` returns when the last packet is in the kernel's hands, and with a rate takes as long as the rate says.
    The RE event number counts up by 1: a frame that cannot be sent uses up its number, so that the receiver sees the
    gap.
    """

    def __init__(
        self,
        paths: Sequence[DataPath],
        settings: PublisherSettings,
        clock: Clock | None = None,
        writer: PayloadWriter | None = None,
        resend: Resend | None = None,
    ) -> None:
        """Keep what is needed; `writer` None: frames are sent in Rayfan's own format; `resend` None: never again."""
        self._paths = paths
        self._writer = writer or RayfanWriter(settings.checksum)
        self._resend = resend
        self._data_id = settings.data_id
        self._balanced = settings.balanced
        ip_version: IpVersion = 6 if any(":" in path.host for path in paths) else 4
        self._segmenter = Segmenter(settings.mtu, ip_version, settings.lb_version, settings.data_id)
        sheet = HeaderSheet(settings.mtu, ip_version, settings.lb_version, settings.data_id)
        self._gatherers = {offload: Gatherer(sheet, offload) for offload in (True, False)}
        self._least_gathered = LEAST_PACKETS * self._segmenter.segment_bytes
        self._clock = clock or SystemClock()
        self._packet_overhead = IP_BYTES[ip_version] + UDP_BYTES
        self._pacer: RatePacer | None = None
        self._sent_ns: int | None = None
        self._slow_until_ns = 0
        self.rate_gbps: float | None = None
        self.set_rate(settings.rate_gbps)
        self._entropy = random.Random()
        self._pause = Pause()
        self._event = settings.first_event - 1
        self._frames = self._ends = self._bytes = self._unsendable = 0
        self._last_error = ""

    @classmethod
    def open(
        cls, settings: PublisherSettings, writer: PayloadWriter | None = None, resend: Resend | None = None
    ) -> Self:
        """Return a publisher with sockets of its own; a destination that is not reachable now may be later.

        Raises:
            ConfigError: a destination or the MTU cannot be used.
        """
        open_with, clock = PathSettings(settings.mtu, settings.offload, settings.send_buffer), SystemClock()
        destinations = ((settings.host, settings.port), *settings.more)
        paths = [DataPath(host, port, open_with, clock) for host, port in destinations]
        return cls(paths, settings, clock, writer, resend)

    @property
    def addresses(self) -> list[str]:
        """Our own addresses, as the destinations see them; those that are known."""
        return sorted({path.address for path in self._paths if path.address is not None})

    def publish(self, items: Sequence[Item]) -> Accepted:
        """Send items in order; refused only after `close`."""
        for count, item in enumerate(items):
            if self._pause.ended:
                return Accepted(count, Refusal.GONE)
            self._publish(item)
        return Accepted(len(items))

    def set_rate(self, gbps: float | None) -> None:
        """Pace packets to `gbps` Gbit/s from the next one on, None: not at all; not while another thread publishes."""
        self.rate_gbps = gbps
        self._pacer = _pacer(gbps) if gbps is not None else None
        self._at_once = max(BURST_BYTES[0], round((gbps or 0.0) * 1e9 / 8 * AT_ONCE_SECONDS))

    def counters(self) -> Counters:
        """Return items and bytes sent, and errors of both kinds."""
        errors = sum(path.errors for path in self._paths)
        return Counters(self._frames + self._ends, self._bytes, errors + self._unsendable)

    def figures(self) -> PublisherFigures:
        """Return all that is counted."""
        paths = self._paths
        return PublisherFigures(
            frames=self._frames,
            ends=self._ends,
            bytes=self._bytes,
            packets=sum(path.packets for path in paths),
            errors=sum(path.errors for path in paths) + self._unsendable,
            unsent=sum(path.errors for path in paths),
            offload=all(path.offload for path in paths),
            last_error=next((path.last_error for path in paths if path.last_error), "") or self._last_error,
            paths=len(paths),
            send_buffer=min(path.granted for path in paths),
        )

    def close(self, drain: bool) -> None:
        """Stop; what was accepted has been sent already. With `drain`, when nothing is asked for again."""
        self._pause.end()
        if self._resend is not None:
            self._resend.close(drain)
        for path in self._paths:
            path.close()

    def _begin_slowly(self) -> None:
        """Pace the first events, and those after a pause."""
        now_ns = self._clock.monotonic_ns()
        if self._sent_ns is None or now_ns - self._sent_ns > IDLE_NS:
            self._slow_until_ns = now_ns + START_NS
            self._pacer = _pacer(START_GBPS)
        elif self._pacer is not None and now_ns >= self._slow_until_ns:
            self._pacer = None
        self._sent_ns = now_ns

    def _publish(self, item: Item) -> None:
        if self.rate_gbps is None:
            self._begin_slowly()
        if self._balanced and self._resend is not None and isinstance(item, EndOfSeries):
            self._resend.settle()
        number = self._event + 1
        try:
            pieces = self._write(item, number)
        except ValueError as error:
            self._event = number
            self._count_unsendable(error)
            return
        if not pieces:
            return  # the format has no end markers; the receiver must see no gap
        self._event = number
        stamp = self._stamp(self._clock.wall_ns() // 1000)
        self._send(pieces, stamp)
        self._bytes += sum(map(len, pieces))
        if not isinstance(item, EndOfSeries):
            self._frames += 1
            return
        if self._balanced:
            self._send_to_all_slots(item)
        else:
            for gap in END_GAPS:
                self._pause.wait(gap)
                self._send(pieces, stamp)
        self._ends += 1

    def _write(self, item: Item, number: int) -> Sequence[Piece]:
        offer = self._resend.offer(self.addresses) if self._resend is not None else None
        pieces = self._writer.write(item, EventId(self._data_id, number), offer)
        if self._resend is not None and pieces:
            self._resend.keep(number, pieces)
        return pieces

    def _stamp(self, tick: int) -> Stamp:
        return Stamp(self._event, tick, self._entropy.getrandbits(16))

    def _send_to_all_slots(self, end: EndOfSeries) -> None:
        """Send an end marker as an event for each slot of a load balancer, twice, so that every worker gets it."""
        for _ in range(2):
            tick = self._clock.wall_ns() // 1000
            for slot in range(SLOTS):
                self._event += 1
                pieces = self._write(end, self._event)
                self._send(pieces, self._stamp(tick - tick % SLOTS + slot))
            self._pause.wait(END_GAPS[-1])

    def _send(self, pieces: Sequence[Piece], stamp: Stamp) -> None:
        path = self._paths[stamp.event % len(self._paths)]
        head, pixels = pieces[:2] if len(pieces) == 2 else (b"", b"")  # three pieces are copied together
        if len(pixels) >= self._least_gathered and path.gathers:
            if not self._gather(path, bytes(head), pixels, stamp):
                self._gather(path, bytes(head), pixels, stamp)  # the kernel cuts no packets, which is known from now on
            return
        packets = self._segmenter.lay(pieces, stamp)
        wire, step = packets.wire, path.batch_bytes(packets.size)
        for at in range(0, len(wire), step):
            batch = wire[at : at + step]
            if self._pacer is not None:
                self._pace(self._pacer, len(batch), packets.size)
            if self._pause.ended:
                return
            path.send(batch, packets.size)

    def _gather(self, path: DataPath, head: bytes, pixels: bytes | memoryview, stamp: Stamp) -> bool:
        """Send an event from where it lies; return False if the kernel turned out not to cut packets."""
        laid = self._gatherers[path.offload].lay(head, np.frombuffer(pixels, np.uint8), stamp)
        batch = laid.per_message * laid.packet
        step = len(laid.table) if self._pacer is None else max(1, self._at_once // batch)
        for first in range(0, len(laid.table), step):
            if self._pacer is not None:
                size = min(step * batch, laid.packets * laid.packet - first * batch)
                self._pace(self._pacer, size, laid.packet)
            if self._pause.ended:
                return True
            if not path.send_laid(laid, first, min(step, len(laid.table) - first)):
                return False
        return True

    def _pace(self, pacer: RatePacer, size: int, packet: int) -> None:
        size += -(-size // packet) * self._packet_overhead
        wait_ns = pacer.reserve(size, self._clock.monotonic_ns())
        if wait_ns >= LEAST_WAIT_NS:
            self._pause.wait(wait_ns / 1e9)

    def _count_unsendable(self, error: ValueError) -> None:
        self._unsendable += 1
        self._last_error = str(error)
        if self._unsendable & (self._unsendable - 1) == 0:  # 1, 2, 4, 8, ...
            _log.warning("frame not sent: %s (%d so far)", error, self._unsendable)


def _pacer(gbps: float) -> RatePacer:
    rate = gbps * 1e9 / 8
    return RatePacer(rate, min(max(round(rate * BURST_SECONDS), BURST_BYTES[0]), BURST_BYTES[1]))
