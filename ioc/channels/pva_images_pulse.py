"""What a client of a pvAccess server sends, and whether it still lives: what its host acknowledges is a sign, too."""

import socket
import time

from ioc.core.errors import PeerError

RECEIVE_BYTES = 1 << 16


class Pulse:
    """Takes the bytes of one connection; `peer` names it in errors."""

    def __init__(self, connection: socket.socket, peer: str) -> None:
        self._socket = connection
        self._peer = peer
        self._since = time.monotonic()
        self._acknowledged = 0

    def receive(self) -> bytes | None:
        """Return what has arrived, None if nothing has; never waits.

        Raises:
            PeerError: the client is gone.
        """
        try:
            data = self._socket.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise PeerError(f"{self._peer}: {error}") from None
        if not data:
            raise PeerError(f"{self._peer}: closed the connection")
        self._since = time.monotonic()
        return data

    def silent(self, acknowledged: int, longest: float) -> bool:
        """Return whether there was no sign for `longest` seconds; its host has `acknowledged` so many bytes by now."""
        if acknowledged > self._acknowledged:
            self._since = time.monotonic()
        self._acknowledged = acknowledged
        return time.monotonic() - self._since > longest
