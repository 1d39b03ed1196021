"""A pvAccess client on a bare socket, which reads, acknowledges and misbehaves exactly as a test tells it to."""

import fcntl
import select
import socket
import struct
import sys
import termios
import time
from collections import deque
from types import TracebackType
from typing import Self

from ioc.channels.pva_wire_buffer import Reader
from ioc.channels.pva_wire_framing import HEADER_BYTES, Command, Message, Splitter
from tests.support.pva_client import Sender, Tree

DEADLINE = 40.0
SMALL_BUFFER = 4096
"""Bytes of the kernel that a client asks for which is to stall early."""


class RawClient:
    """One connection to a server on loopback."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.sender = Sender()
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", port))
        self.heard_bytes = 0
        """Where the last message that was heard ends in the bytes of the connection."""
        self._received_bytes = 0
        self._splitter = Splitter(from_server=True, longest=1 << 26)
        self._read: deque[Message] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def hear(self, command: int) -> Reader:
        """Return the body of the next message of a kind; others are passed over."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            while self._read:
                message = self._read.popleft()
                self.heard_bytes += HEADER_BYTES + (0 if message.control else len(message.body))
                if message.command == command and not message.control:
                    return Reader(message.body)
            data = self.socket.recv(1 << 16)
            assert data, f"the server closed the connection; expected a message {command}"
            self._received_bytes += len(data)
            self._read.extend(self._splitter.feed(data))
        raise AssertionError(f"no message {command} within {DEADLINE} s")

    def arrived_bytes(self) -> int:
        """Return how many bytes of the connection have reached this host."""
        waiting = fcntl.ioctl(self.socket.fileno(), termios.FIONREAD, bytes(4))
        return self._received_bytes + int.from_bytes(waiting, sys.byteorder)

    def reset(self) -> None:
        """End as a client does that is killed while bytes wait for it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def quiet(self, seconds: float = 0.1) -> bool:
        """Return whether nothing comes for a while."""
        return not self._read and not select.select([self.socket], [], [], seconds)[0]

    def ended(self) -> bool:
        """Return, once that is clear, whether the server cut the connection."""
        try:
            while self.socket.recv(1 << 16):
                continue
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    def open(self, name: str) -> None:
        """Say who this is and open one channel, which is number 1 on both sides."""
        self.say(self.sender.validation() + self.sender.create(1, name))
        answer = self.hear(Command.CREATE_CHANNEL)
        assert (answer.number("I"), answer.number("I"), answer.number("B")) == (1, 1, 0xFF)

    def monitor(self, tree: Tree, ioid: int = 5, window: int | None = None) -> None:
        """Open and start a monitor on the channel."""
        self.say(self.sender.operation(Command.MONITOR, (1, ioid), tree, window))
        assert self.hear(Command.MONITOR).take(6)[-2:] == b"\x08\xff"
        self.say(self.sender.step(Command.MONITOR, (1, ioid), 0x44))

    def acknowledge(self, count: int, ioid: int = 5) -> None:
        """Say that there is room for more updates."""
        self.say(self.sender.step(Command.MONITOR, (1, ioid), 0x80, count))

    def update(self) -> tuple[int, bool]:
        """Return uniqueId and overrun of the next update of a monitor that selected only `uniqueId`."""
        reader = self.hear(Command.MONITOR)
        reader.take(5)
        reader.take(reader.size() or 0)
        unique_id = reader.number("i")
        return unique_id, reader.take(reader.size() or 0) != b""
