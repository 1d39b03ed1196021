"""Updates for members that the kernel has taken, until the other host has acknowledged their last byte.

Each is known by the number of the connection's bytes at its end. The kernel counts how many of them the other host has
acknowledged (`tcpi_bytes_acked`, tcp(7)), and still says so when the connection has broken. So what is booked as
received is what reached the client's host, to the frame, however the client ended.
"""

import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from ioc.channels.pva_images_channel import Subscription
from ioc.channels.pva_images_queue import Taken

_BYTES_ACKED = struct.Struct("=120xQ")
"""Where `struct tcp_info` has it (linux/tcp.h)."""


class Unconfirmed:
    """What was sent on one connection and is not acknowledged; used by its writer and the service thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, Subscription, Taken]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, begin: int, subscription: Subscription, taken: Sequence[Taken]) -> None:
        """Expect updates whose bytes begin behind the first `begin` of the connection."""
        with self._lock:
            for one in taken:
                begin += sum(map(len, one.parts))
                self._waiting.append((begin, subscription, one))

    def acknowledged(self) -> int:
        """Return how many bytes of the connection the other host has acknowledged; 0 if the socket is closed."""
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        except OSError:
            return 0
        return _BYTES_ACKED.unpack(info)[0]

    def confirm(self) -> None:
        """Finish with what the other host has acknowledged."""
        with self._lock:  # held while the channel is told: who comes second must find it told
            for subscription, taken in self._runs(self.acknowledged() if self._waiting else 0):
                if subscription.channel is not None:
                    subscription.channel.sent(taken)

    def give_up(self) -> None:
        """Finish with the rest: the connection has broken, and nobody will acknowledge it."""
        with self._lock:
            for subscription, taken in self._runs(None):
                if subscription.channel is not None:
                    subscription.channel.broken(subscription, taken)

    def _runs(self, up_to: int | None) -> Iterator[tuple[Subscription, list[Taken]]]:
        """Remove and yield updates in order, those of one subscription together; None: all that are left."""
        waiting = self._waiting
        while waiting and (up_to is None or waiting[0][0] <= up_to):
            _, subscription, taken = waiting.popleft()
            run = [taken]
            while waiting and waiting[0][1] is subscription and (up_to is None or waiting[0][0] <= up_to):
                run.append(waiting.popleft()[2])
            yield subscription, run
