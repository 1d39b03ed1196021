"""A pvAccess server on a bare socket, in either byte order, that says exactly what a test tells it to; asked by TCP."""

import socket
import threading
from collections.abc import Iterator, Sequence

from ioc.channels.pva_wire_buffer import Reader
from ioc.channels.pva_wire_framing import Command, Message, Splitter
from ioc.channels.pva_wire_ntscalar import TYPE
from ioc.channels.pva_wire_search import read_search
from tests.support.pva_teller import Teller

DEADLINE = 40.0
SID = 17


class ScriptedServer:
    """Has every channel that it is asked for; `then` follows the updates, which are (value, id) with stamps of id s."""

    def __init__(self, teller: Teller, updates: Sequence[tuple[float, int]], then: bytes = b"") -> None:
        """Listen; it answers no echo as long as `echoes` is not set."""
        self.connections = 0
        self.wishes = 0
        self.echoes = False
        self._teller = teller
        self._updates = updates
        self._then = then
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, name="scripted server", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._listener.getsockname()[1]

    def close(self) -> None:
        """Let go; the thread ends with its client."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"the scripted server still serves after {DEADLINE} s"

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(DEADLINE)
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.sendall(self._teller.greeting())
        splitter = Splitter()
        try:
            while data := connection.recv(1 << 16):
                for one in splitter.feed(data):
                    connection.sendall(b"".join(self._answers(one)))
        except (ConnectionError, BrokenPipeError):
            return

    def _answers(self, one: Message) -> Iterator[bytes]:
        reader, teller = Reader(one.body, one.big), self._teller
        if one.command == Command.VALIDATION:
            yield teller.accepted()
        elif one.command == Command.ECHO and self.echoes:
            yield teller.message(Command.ECHO, b"")
        elif one.command == Command.SEARCH:
            search = read_search(reader)
            yield teller.found(search.number, self.port, [number for number, _ in search.names])
        elif one.command == Command.CREATE_CHANNEL:
            self.wishes += 1
            reader.number("H")
            yield teller.made(reader.number("I"), SID)
        elif one.command == Command.MONITOR:
            assert reader.number("I") == SID
            ioid, bits = reader.number("I"), reader.number("B")
            if bits & 0x08:
                yield teller.opened(ioid, TYPE)
            elif bits == 0x44:
                for value, number in self._updates:
                    yield teller.update(ioid, TYPE, {1: value, 7: number, 8: 5, 9: number})
                yield self._then
