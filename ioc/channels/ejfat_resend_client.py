"""The receiver's end of the back channel: a connection to each sender that offers to send lost packets again.

A peer has a thread that connects, asks and reads; what comes waits in a bounded queue until the reader of the events
takes it, and while that is full nothing more is read. A connection that fails is made again while the offer stands.
"""

import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ioc.channels import ejfat_resend_wire as wire
from ioc.channels.ejfat_resend_wire import Answer, Ask, Had, Offer, Records, Resent
from ioc.core.errors import ProtocolError

log = logging.getLogger(__name__)

MOST_PEERS = 16
MOST_ASKS = 1024
"""Asks that wait to be sent; more are refused, and asked again later."""
MOST_WAITING = 4 << 20
"""Bytes that were sent again and wait to be taken."""
CONNECT_SECONDS = 2.0
RETRY_SECONDS = 1.0
JOIN_SECONDS = 5.0
READ_BYTES = 1 << 18
MOST_TOLD = 4096
"""Ranges of whole events that are remembered, to be told again when a connection is made anew."""


@dataclass(slots=True)
class _Inbox:
    """What came, and its bytes."""

    records: deque[Answer]
    bytes: int = 0


class Peer:
    """The connection to one sender; `ask`, `tell` and `take` from the reader's thread."""

    def __init__(self, offer: Offer, tells: bool = False) -> None:
        """Keep what is needed; `tells`: as a worker behind a load balancer, which tells what it has."""
        self.offer = offer
        self._tells = tells
        self._told: deque[tuple[int, int]] = deque(maxlen=MOST_TOLD)
        self._untold: deque[tuple[int, int]] = deque(maxlen=MOST_TOLD)
        self._is_to_tell = False
        self.errors = 0
        self.last_error = ""
        self._asks: deque[Ask] = deque()
        self._inbox = _Inbox(deque())
        self._lock = threading.Lock()
        self._woken, self._wake = socket.socketpair()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ejfat-ask-{offer.port}", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    @property
    def arrived(self) -> bool:
        """Whether there is something to take."""
        return bool(self._inbox.records)

    def ask(self, wanted: Ask) -> bool:
        """Ask for a part of an event; return False if too much is asked for already."""
        if len(self._asks) >= MOST_ASKS:
            return False
        self._asks.append(wanted)
        self._nudge()
        return True

    def tell(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Tell which events are whole, by closed ranges of their numbers; of none, that there are no others."""
        self._untold.extend(ranges)
        self._is_to_tell = True
        self._nudge()

    def take(self) -> list[Answer]:
        """Return what came."""
        with self._lock:
            found = list(self._inbox.records)
            self._inbox.records.clear()
            full, self._inbox.bytes = self._inbox.bytes >= MOST_WAITING, 0
        if full:
            self._nudge()
        return found

    def stop(self) -> None:
        """Begin to stop."""
        self._stopping.set()
        self._nudge()

    def close(self) -> None:
        """Stop."""
        self.stop()
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            log.error("%s did not stop within %g s", self._thread.name, JOIN_SECONDS)
            return
        self._wake.close()
        self._woken.close()

    def _nudge(self) -> None:
        self._wake.setblocking(False)
        try:
            self._wake.send(b"\0")
        except BlockingIOError:
            pass  # it will wake up as it is

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with socket.create_connection((self.offer.host, self.offer.port), CONNECT_SECONDS) as sock:
                    self._greet(sock)
                    self._converse(sock)
            except (OSError, ProtocolError) as error:
                self._failed(str(error))
            except Exception as error:  # thread boundary: events go on, without what is lost
                log.exception("the back channel failed")
                self._failed(f"{type(error).__name__}: {error}")
            self._asks.clear()
            self._stopping.wait(RETRY_SECONDS)

    def _greet(self, sock: socket.socket) -> None:
        sock.sendall(wire.hello(self.offer.token))
        data, end = b"", time.monotonic() + CONNECT_SECONDS
        while len(data) < wire.HELLO_BYTES and time.monotonic() < end:
            part = sock.recv(wire.HELLO_BYTES - len(data))
            if not part:
                break
            data += part
        wire.check_hello(data, self.offer.token)

    def _converse(self, sock: socket.socket) -> None:
        """Ask and read until the connection ends.

        Raises:
            OSError, ProtocolError: it failed, or the peer ended it.
        """
        records = Records(asks=False)
        if self._tells:
            sock.sendall(wire.had(list(self._told)))
        with selectors.DefaultSelector() as ready:
            ready.register(self._woken, selectors.EVENT_READ)
            ready.register(sock, selectors.EVENT_READ)
            reading = True
            while not self._stopping.is_set():
                wanted = self._inbox.bytes < MOST_WAITING
                if wanted is not reading:
                    ready.register(sock, selectors.EVENT_READ) if wanted else ready.unregister(sock)
                    reading = wanted
                for key, _ in ready.select():
                    if key.fileobj is self._woken:
                        self._woken.recv(4096)
                    else:
                        self._read(sock, records)
                self._send(sock)

    def _send(self, sock: socket.socket) -> None:
        if self._is_to_tell:
            self._is_to_tell = False
            ranges = [self._untold.popleft() for _ in range(len(self._untold))]
            self._told.extend(ranges)  # before they are sent: they are told again if that fails
            sock.sendall(wire.had(ranges))
        while self._asks:
            sock.sendall(wire.ask(self._asks.popleft()))

    def _read(self, sock: socket.socket, records: Records) -> None:
        data = sock.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("the sender has closed the back channel")
        for record in records.feed(data):
            assert not isinstance(record, Ask | Had)
            size = len(record.datagram) if isinstance(record, Resent) else 0
            with self._lock:
                self._inbox.records.append(record)
                self._inbox.bytes += size + 64

    def _failed(self, why: str) -> None:
        self.errors += 1
        self.last_error = f"back channel {self.offer.host}:{self.offer.port}: {why}"
        if self.errors & (self.errors - 1) == 0:  # 1, 2, 4, 8, ...
            log.warning("%s (%d so far)", self.last_error, self.errors)


class Peers:
    """The peers by data id; an offer that changes replaces a peer, but not more often than each `RETRY_SECONDS`."""

    def __init__(self, tell: bool = False) -> None:
        """With `tell`, peers are told which of their events are whole."""
        self._tell = tell
        self._peers: dict[int, Peer] = {}
        self._texts: dict[int, tuple[str, float]] = {}
        self._gone: deque[Peer] = deque()
        self.refused = 0
        """Offers that cannot be taken: broken, or too many."""
        self.last_error = ""

    @property
    def arrived(self) -> bool:
        """Whether there is something to take."""
        return any(peer.arrived for peer in self._peers.values())

    @property
    def sources(self) -> list[int]:
        """Data ids that something can be asked of."""
        return list(self._peers)

    def offered(self, data_id: int, text: str) -> None:
        """Take note of what an event offers."""
        known = self._texts.get(data_id)
        if known is not None and (known[0] == text or time.monotonic() - known[1] < RETRY_SECONDS):
            return
        if known is None and len(self._texts) >= MOST_PEERS:
            self.refused += 1
            return
        self._texts[data_id] = text, time.monotonic()
        try:
            offer = wire.parse_offer(text)
        except ProtocolError as error:
            self.refused += 1
            self.last_error = str(error)
            return
        self.finish(data_id)
        peer = self._peers[data_id] = Peer(offer, self._tell)
        peer.start()

    def finish(self, data_id: int) -> None:
        """Let a sender go that has ended; it is joined at the end, or when others have gone."""
        if data_id in self._peers:
            while len(self._gone) >= MOST_PEERS:
                self._gone.popleft().close()
            peer = self._peers.pop(data_id)
            peer.stop()
            self._gone.append(peer)

    def ask(self, data_id: int, wanted: Ask) -> bool:
        """Ask the sender of a data id; return False if that cannot be done now."""
        peer = self._peers.get(data_id)
        return peer is not None and peer.ask(wanted)

    def tell(self, data_id: int, ranges: Sequence[tuple[int, int]]) -> None:
        """Tell the sender of a data id, if it takes part, which of its events are whole, if any is."""
        peer = self._peers.get(data_id)
        if peer is not None:
            peer.tell(ranges)

    def take(self) -> list[tuple[int, Answer]]:
        """Return what came, with its data id."""
        return [(data_id, one) for data_id, peer in self._peers.items() for one in peer.take()]

    def close(self) -> None:
        """Let all peers go."""
        for peer in (*self._peers.values(), *self._gone):
            peer.close()
        self._peers.clear()
        self._gone.clear()

    def error(self) -> str:
        """Return what went wrong last."""
        return next((peer.last_error for peer in self._peers.values() if peer.last_error), self.last_error)
