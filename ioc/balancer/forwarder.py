"""The data plane: takes packets, finds their worker by the LB header, strips that and sends them on.

How it works: one thread blocks in the kernel. A call brings up to 64 KiB of datagrams of one size (UDP_GRO); packets
of one event follow each other, so the headers are compared as one piece of memory, the payload behind them is copied
once, and a call sends them on (UDP_SEGMENT). With faults switched on, packets are handled one by one.
"""

import ipaddress
import logging
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ioc.balancer.faults import LEAST_HOLD, Faults, FaultyPath
from ioc.balancer.reservation import Target
from ioc.balancer.routes import Routes, port
from ioc.channels import ejfat_socket
from ioc.channels.ejfat_socket import PacketSender
from ioc.channels.ejfat_wire import LB_BYTES, SYNC_BYTES, SyncMessage, parse_lb, parse_sync
from ioc.core.clock import Clock, SystemClock
from ioc.core.errors import ProtocolError

log = logging.getLogger(__name__)

BUFFER_BYTES = 1 << 17
LOOK_SECONDS = 0.05
JOIN_SECONDS = 5.0
SEND_BUFFER = 8 << 20
LEAVE_SECONDS = 1.0
"""s at most in which what waits of a sender that was shut out is still taken."""
MOST_SYNCS = 64
"""Sync messages read at a look; more wait."""


class Packet(NamedTuple):
    """A packet on a faulty path: its bytes as the worker gets them, and where they go."""

    data: bytes
    worker: int
    target: Target
    port: int


@dataclass(slots=True)
class ForwardFigures:
    """Packets `received` and sent on by worker; dropped because they were no EJFAT (`malformed`), from an address that
    is no sender (`strangers`), or for a slot that is nobody's (`nobody`). `kernel_drops` found the socket full.
    `waiting` packets are held back on purpose now.
    """

    received: int = 0
    malformed: int = 0
    strangers: int = 0
    nobody: int = 0
    send_errors: int = 0
    kernel_drops: int = 0
    lost: int = 0
    doubled: int = 0
    held_back: int = 0
    waiting: int = 0
    syncs: int = 0
    bad_syncs: int = 0
    forwarded: Counter[int] = field(default_factory=Counter)
    bytes: Counter[int] = field(default_factory=Counter)


class Forwarder:
    """The data and sync sockets of one load balancer. Make it, `start` it, `route` it, `close` it."""

    def __init__(
        self, data: socket.socket, sync: socket.socket, faults: Faults | None = None, clock: Clock | None = None
    ) -> None:
        self._data = data
        self._sync = sync
        self.port: int = data.getsockname()[1]
        """The UDP port that takes data."""
        self.receive_buffer: int = data.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        """Bytes that the kernel gave for data."""
        self.sync_port: int = sync.getsockname()[1]
        """The UDP port that takes sync messages."""
        self._clock = clock or SystemClock()
        self._path: FaultyPath[Packet] = FaultyPath(faults or Faults())
        self._wanted = self._path.faults
        self._routes = Routes()
        self._leaving: frozenset[str] = frozenset()
        """Senders that were shut out while packets waited, which may be theirs: E2SAR's withdraws before it is done."""
        self._leave_ns = 0
        self._senders: dict[int, PacketSender] = {}
        self._past_errors = 0
        self._buffer = np.empty(BUFFER_BYTES, np.uint8)
        self._out = np.empty(BUFFER_BYTES, np.uint8)
        self._heard: list[SyncMessage] = []
        self._lock = threading.Lock()
        self._look_ns = 0
        self._counted = ForwardFigures()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ejfat-lb-{self.port}", daemon=True)

    def start(self) -> None:
        """Begin to forward."""
        ejfat_socket.coalesce(self._data)
        self._be_punctual()
        self._sync.setblocking(False)
        self._thread.start()

    def route(self, routes: Routes) -> None:
        """Use these routes from the next packet on; what waits of senders that are shut out is still taken."""
        gone = self._routes.senders - routes.senders
        if gone and ejfat_socket.waiting_bytes(self._data):
            self._leave_ns = self._clock.monotonic_ns() + round(LEAVE_SECONDS * 1e9)
            self._leaving |= gone
        self._routes = routes

    @property
    def faults(self) -> Faults:
        """What is done to packets on purpose."""
        return self._wanted

    def hurt(self, faults: Faults) -> None:
        """Do this to packets, at the latest `LOOK_SECONDS` from now on."""
        self._wanted = faults

    def syncs(self) -> list[SyncMessage]:
        """Return the sync messages that came since the last call."""
        with self._lock:
            heard, self._heard = self._heard, []
        return heard

    def figures(self) -> ForwardFigures:
        """Return all that is counted; the kernel's drops are up to 50 ms old."""
        counted = self._counted
        counted.send_errors = self._past_errors + sum(sender.errors for sender in list(self._senders.values()))
        counted.waiting = len(self._path)
        counted.lost, counted.doubled, counted.held_back = self._path.lost, self._path.doubled, self._path.held_back
        return counted

    def close(self) -> None:
        """Send on what has arrived and is held, then stop."""
        self._stopping.set()
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            log.error("the data plane at port %d did not stop within %g s", self.port, JOIN_SECONDS)
        for sock in (self._data, self._sync):
            sock.close()
        for sender in self._senders.values():
            sender.close()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
            self._data.setblocking(False)
            most = self._counted.received + (1 << 20)  # a sender may go on for ever
            while self._counted.received < most and self._step():
                pass
            for packet in self._path.rest():
                self._send(packet)
        except Exception:  # thread boundary: the data plane is gone, the control plane says so in its log
            log.exception("the data plane failed")
            raise

    def _step(self) -> bool:
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._look_ns:
            self._look(now_ns)
        if self._leaving and (now_ns >= self._leave_ns or not ejfat_socket.waiting_bytes(self._data)):
            self._leaving = frozenset()
        for packet in self._path.due(now_ns):
            self._send(packet)
        try:
            size, ancillary, _, source = self._data.recvmsg_into([self._buffer.data], ejfat_socket.ANCILLARY_BYTES)
        except BlockingIOError:
            return False
        self._take(self._buffer[:size], ejfat_socket.segment_size(ancillary, size), _plain(source[0]))
        return True

    def _be_punctual(self) -> None:
        """Wake as often as what packets wait for calls for."""
        ejfat_socket.set_receive_timeout(self._data, LEAST_HOLD if self._faulty else LOOK_SECONDS)

    @property
    def _faulty(self) -> bool:
        return self._path.faults.any or len(self._path) > 0

    def _look(self, now_ns: int) -> None:
        if self._path.faults is not self._wanted:
            self._path.change(self._wanted)
        self._be_punctual()
        self._look_ns = now_ns + round(LOOK_SECONDS * 1e9)
        self._counted.kernel_drops = ejfat_socket.kernel_drops(self._data)
        for worker in self._senders.keys() - self._routes.targets.keys():
            sender = self._senders.pop(worker)
            self._past_errors += sender.errors
            sender.close()
        for _ in range(MOST_SYNCS):
            try:
                data, source = self._sync.recvfrom(SYNC_BYTES + 1)
            except BlockingIOError:
                return
            self._take_sync(data, _plain(source[0]))

    def _take_sync(self, data: bytes, source: str) -> None:
        try:
            message = parse_sync(data)
        except ProtocolError:
            self._counted.bad_syncs += 1
            return
        if source not in self._routes.senders:
            self._counted.bad_syncs += 1
            return
        self._counted.syncs += 1
        with self._lock:
            self._heard.append(message)
            del self._heard[:-MOST_SYNCS]

    def _take(self, batch: NDArray[np.uint8], step: int, source: str) -> None:
        count = -(-len(batch) // step) if step else 1
        self._counted.received += count
        if source not in self._routes.senders and source not in self._leaving:
            self._counted.strangers += count
            return
        if step <= LB_BYTES:
            self._counted.malformed += count
            return
        whole = len(batch) // step
        rows = batch[: whole * step].reshape(whole, step)
        at = 0
        while at < whole:
            alike = _alike(rows[at:])
            end = (at + alike) * step
            tail = batch[end:] if at + alike == whole else batch[:0]
            same = len(tail) > LB_BYTES and bytes(tail[:LB_BYTES]) == bytes(rows[at, :LB_BYTES])
            self._forward(rows[at : at + alike], tail if same else tail[:0])
            at += alike
            if len(tail) and not same:
                self._forward(tail.reshape(1, -1), tail[:0])

    def _forward(self, rows: NDArray[np.uint8], tail: NDArray[np.uint8]) -> None:
        """Send packets of one event on: `rows` of one size, and perhaps a shorter one behind them."""
        count = len(rows) + bool(len(tail))
        try:
            header = parse_lb(rows[0, :LB_BYTES].tobytes())
        except ProtocolError:
            self._counted.malformed += count
            return
        routes = self._routes
        worker = routes.worker(header)
        if worker is None:
            self._counted.nobody += count
            return
        target = routes.targets[worker]
        skip = 0 if target.keep_lb_header else LB_BYTES
        where = port(target, header.entropy)
        if self._faulty:  # what is still held goes first
            now_ns = self._clock.monotonic_ns()
            for row in (*rows, tail) if len(tail) else rows:
                self._path.enter(Packet(row[skip:].tobytes(), worker, target, where), now_ns)
            return
        packet = rows.shape[1] - skip
        body = len(rows) * packet
        self._out[:body].reshape(len(rows), packet)[:] = rows[:, skip:]  # the one copy: takes the headers out
        size = body + max(0, len(tail) - skip)
        self._out[body:size] = tail[skip:]
        self._deliver(self._out[:size].data, packet, worker, (target.address, where))
        self._counted.forwarded[worker] += count
        self._counted.bytes[worker] += size

    def _send(self, packet: Packet) -> None:
        address = packet.target.address, packet.port
        self._deliver(memoryview(packet.data), len(packet.data), packet.worker, address)
        self._counted.forwarded[packet.worker] += 1
        self._counted.bytes[packet.worker] += len(packet.data)

    def _deliver(self, data: memoryview, packet: int, worker: int, address: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        sender = self._senders.get(worker)
        if sender is None:  # one a worker: what one of them refuses is not held against the others
            sender = self._senders[worker] = PacketSender(ejfat_socket.unconnected(family, SEND_BUFFER), offload=True)
        step = sender.batch_bytes(packet)
        for at in range(0, len(data), step):
            sender.send(data[at : at + step], packet, address)


def _alike(rows: NDArray[np.uint8]) -> int:
    """Return how many rows, from the first on, have the first one's LB header."""
    heads = rows[:, :LB_BYTES]
    if heads.tobytes() == heads[0].tobytes() * len(rows):  # nearly always
        return len(rows)
    return int((heads != heads[0]).any(axis=1).argmax())


def _plain(address: str) -> str:
    """Return an address as the sender list has it: without zone, IPv4 in IPv6 as IPv4."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address.partition("%")[0])
    return str(parsed.ipv4_mapped or parsed)
