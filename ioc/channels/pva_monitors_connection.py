"""One connection of a client that monitors: made, heard and kept alive by whoever polls it; never waits.

Rules. Nothing is asked before the server has accepted who this is. A server that says nothing is asked for an echo, and
given up when it does not answer. What cannot be sent at once is kept, bounded, and sent later.
"""

import errno
import logging
import os
import pwd
import socket
import time
from collections.abc import Iterator

from ioc.channels import pva_wire_asking as asking
from ioc.channels.pva_images_addresses import Target
from ioc.channels.pva_wire_hearing import Accepted, Event, Greeted, Hearing
from ioc.core.errors import PeerError

log = logging.getLogger(__name__)

RECEIVE_BYTES = 1 << 18
MOST_READS = 16
"""Reads in one poll, before others get their turn."""
CONNECT_SECONDS = 10.0
"""s until a server that does not accept is given up."""
ECHOES = 4
"""Echoes that are asked for within the time after which a silent server is given up."""
MOST_UNSENT = 1 << 20


class ServerConnection:
    """A TCP connection to one server."""

    def __init__(self, server: Target, timeout: float) -> None:
        """Begin to connect; `timeout` s without a word from the server end it."""
        self.server = server
        self.ready = False
        self.hearing = Hearing()
        self._timeout = timeout
        self._unsent = bytearray()
        self._begun = self._heard = self._asked = time.monotonic()
        family = socket.AF_INET6 if server[0].version == 6 else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex((str(server[0]), server[1]))  # how it went is heard when it is polled

    @property
    def name(self) -> str:
        """The server's address, for messages."""
        return f"{self.server[0]}:{self.server[1]}"

    def fileno(self) -> int:
        """Return the descriptor, -1 when it is closed."""
        return self._socket.fileno()

    def poll(self) -> Iterator[Event]:
        """Yield what has come.

        Raises:
            PeerError: the connection is over, or the server broke the protocol.
        """
        for _ in range(MOST_READS):
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno == errno.ENOTCONN and not self.ready:
                    break  # the connection is still being made
                raise PeerError(f"{self.name}: {error}") from None
            if not data:
                raise PeerError(f"{self.name}: the server closed the connection")
            self._heard = time.monotonic()
            for event in self.hearing.feed(data):
                yield from self._take(event)
            if len(data) < RECEIVE_BYTES // 2:
                break
        self._flush()
        self._look_for_life()

    def say(self, data: bytes) -> None:
        """Have bytes sent with the next poll."""
        self._unsent += data

    def close(self) -> None:
        """Let go."""
        self._socket.close()

    def _take(self, event: Event) -> Iterator[Event]:
        if isinstance(event, Greeted):
            self.say(asking.introduction(event.methods, _account(), socket.gethostname()))
            return
        if isinstance(event, Accepted):
            self.ready = True
        yield event

    def _flush(self) -> None:
        if not self._unsent:
            return
        try:
            count = self._socket.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            raise PeerError(f"{self.name}: {error}") from None
        del self._unsent[:count]
        if len(self._unsent) > MOST_UNSENT:
            raise PeerError(f"{self.name}: the server does not read what it is told")

    def _look_for_life(self) -> None:
        now = time.monotonic()
        if not self.ready:
            if now - self._begun > CONNECT_SECONDS:
                raise PeerError(f"{self.name}: no pvAccess server accepts this client within {CONNECT_SECONDS:g} s")
        elif now - self._heard > self._timeout:
            raise PeerError(f"{self.name}: nothing was heard of the server for {self._timeout:g} s")
        elif now - self._asked > self._timeout / ECHOES:
            self._asked = now
            self.say(asking.echo())


def _account() -> str:
    """Return the name of the user of this process, its number if it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
