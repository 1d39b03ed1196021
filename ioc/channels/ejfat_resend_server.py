"""The sender's end of the back channel: takes connections, and sends again what is asked for and still kept.

A thread takes connections, each has one that answers, and that gives a worker behind a load balancer what no worker has
told of. Whoever breaks the protocol, does not show the token in time or does not read what was asked for is let go and
counted.
"""

import logging
import os
import socket
import threading
import time
from dataclasses import dataclass

from ioc.channels import ejfat_resend_wire as wire
from ioc.channels.ejfat_resend_store import SentEvents
from ioc.channels.ejfat_resend_wire import WHOLE, Ask, Had, Offer, Records
from ioc.channels.ejfat_unclaimed import Unclaimed
from ioc.core.errors import ConfigError, ProtocolError, mismatch

log = logging.getLogger(__name__)

MOST_CLIENTS = 64
LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 2.0
"""s that a client may take for its hello, or to read what it asked for."""
JOIN_SECONDS = 5.0
READ_BYTES = 1 << 16
FRESH_SECONDS = 0.2
"""s for which a worker that told which events it has is not behind; it tells four times as often."""


@dataclass(slots=True)
class ResendFigures:
    """Asks taken, records sent again and their bytes, events that were `gone`, clients that were let `refused`.

    Of the clients that many are `telling` which events they have; `unclaimed` events were given to one of them unasked.
    """

    clients: int = 0
    telling: int = 0
    unclaimed: int = 0
    asked: int = 0
    sent: int = 0
    bytes: int = 0
    gone: int = 0
    refused: int = 0


class ResendServer:
    """Answers what is asked of `events`; `open` makes one that listens."""

    def __init__(self, sock: socket.socket, events: SentEvents, unclaimed: Unclaimed | None = None) -> None:
        """Keep what is needed; `unclaimed` None: there is no load balancer, whoever misses an event asks for it."""
        host, port = sock.getsockname()[:2]
        self.offer = Offer(host, port, os.urandom(wire.TOKEN_BYTES))
        """What the receivers of events are to know."""
        self.figures = ResendFigures()
        self._socket = sock
        self._events = events
        self._unclaimed = unclaimed
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._last: int | None = None
        self._clients: list[threading.Thread] = []
        self._heard_ns: dict[int, int] = {}
        """When a client, by its thread, last told which events it has."""
        self._thread = threading.Thread(target=self._run, name=f"ejfat-resend-{port}", daemon=True)

    @classmethod
    def open(cls, address: str, port: int, events: SentEvents, unclaimed: Unclaimed | None = None) -> "ResendServer":
        """Return a server that listens on an address of this host; port 0: a free one.

        Raises:
            ConfigError: the port is taken.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(8)
        except OSError as error:
            sock.close()
            where, todo = f"resend_port {address}:{port}", "choose another port, or 0 for any"
            raise ConfigError(mismatch(where, "a free TCP port", error.strerror or str(error), todo)) from None
        server = cls(sock, events, unclaimed)
        server._thread.start()
        return server

    def finish(self, last: int) -> None:
        """Tell all clients that the event `last` was the last one; they go when they have all."""
        self._last = last

    def close(self) -> None:
        """Let all clients go and stop."""
        self._stopping.set()
        self._thread.join(JOIN_SECONDS)
        for client in self._clients:
            client.join(JOIN_SECONDS)
            if client.is_alive():
                log.error("%s did not stop within %g s", client.name, JOIN_SECONDS)
        self._socket.close()

    def _run(self) -> None:
        self._socket.settimeout(LOOK_SECONDS)
        while not self._stopping.is_set():
            try:
                sock, address = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                log.warning("taking a connection on the back channel: %s", error)
                self._stopping.wait(LOOK_SECONDS)
                continue
            self._clients = [client for client in self._clients if client.is_alive()]
            if len(self._clients) >= MOST_CLIENTS:
                self._refuse(f"{address[0]}: {MOST_CLIENTS} are connected already")
                sock.close()
                continue
            client = threading.Thread(target=self._serve, args=(sock, address[0]), name="ejfat-resend", daemon=True)
            self._clients.append(client)
            client.start()

    def _serve(self, sock: socket.socket, address: str) -> None:
        try:
            with sock:
                self._greet(sock)
                self._count(clients=1)
                try:
                    self._answer_all(sock)
                finally:
                    self._count(clients=-1)
        except (ProtocolError, OSError) as error:
            self._refuse(f"{address}: {error}")
        except Exception:  # thread boundary: one client less; the events go on
            log.exception("the back channel to %s failed", address)

    def _greet(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_SECONDS)
        data = b""
        while len(data) < wire.HELLO_BYTES:
            part = sock.recv(wire.HELLO_BYTES - len(data))
            if not part:
                break
            data += part
        wire.check_hello(data, self.offer.token)
        sock.sendall(wire.hello(self.offer.token))

    def _answer_all(self, sock: socket.socket) -> None:
        records, told, telling, me = Records(asks=True), False, False, threading.get_ident()
        try:
            while not self._stopping.is_set():
                if self._last is not None and not told:
                    sock.sendall(wire.ended(self._last))
                    told = True
                if telling and self._unclaimed is not None:
                    self._give(sock, self._unclaimed)
                sock.settimeout(LOOK_SECONDS)
                try:
                    data = sock.recv(READ_BYTES)
                except TimeoutError:
                    continue
                if not data:
                    return
                sock.settimeout(PATIENCE_SECONDS)
                for record in records.feed(data):
                    if isinstance(record, Had):
                        self._count(telling=int(not telling))
                        telling, self._heard_ns[me] = True, time.monotonic_ns()
                    self._take(sock, record)
        finally:
            self._heard_ns.pop(me, None)
            self._count(telling=-int(telling))

    def _take(self, sock: socket.socket, record: wire.Record) -> None:
        if isinstance(record, Ask):
            if self._unclaimed is not None:
                self._unclaimed.asked(record.event)
            self._answer(sock, record)
        elif isinstance(record, Had) and self._unclaimed is not None:
            self._unclaimed.had(record.ranges)

    def _give(self, sock: socket.socket, unclaimed: Unclaimed) -> None:
        """Send whole events that no worker has told of."""
        now = time.monotonic_ns()
        fresh = sum(now - heard < FRESH_SECONDS * 1e9 for heard in list(self._heard_ns.values()))
        for number in unclaimed.due(fresh):
            given = False
            for datagram in self._events.answer(Ask(number, (WHOLE,))):
                sock.settimeout(PATIENCE_SECONDS)
                sock.sendall(wire.segment(datagram))
                given = True
            if given:
                self._count(unclaimed=1)
            else:
                unclaimed.forget(number)

    def _answer(self, sock: socket.socket, wanted: Ask) -> None:
        sent = size = 0
        for datagram in self._events.answer(wanted):
            sock.sendall(wire.segment(datagram))
            sent, size = sent + 1, size + len(datagram)
        if not sent:
            sock.sendall(wire.gone(wanted.event))
        self._count(asked=1, sent=sent, bytes=size, gone=int(not sent))

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                setattr(self.figures, name, getattr(self.figures, name) + count)

    def _refuse(self, why: str) -> None:
        self._count(refused=1)
        if self.figures.refused & (self.figures.refused - 1) == 0:  # 1, 2, 4, 8, ...
            log.warning("back channel, %s (%d so far)", why, self.figures.refused)
