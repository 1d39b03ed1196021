"""A module `e2sar_py` for PvaPy's EJFAT classes, which need E2SAR's: only what they call, moving bytes over UDP.

Written from the published headers, with `struct` and nothing of Rayfan's, so that both sides of the wire are not the
same code: LB header version 2 and RE header, segments in order, no control plane.
"""

import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

LB, RE = struct.Struct(">2sBBHHQ"), struct.Struct(">BBHIIQ")
SEGMENT = 1436
Value = TypeVar("Value")


class Result(Generic[Value]):
    """E2SAR's results have a value."""

    def __init__(self, value: Value) -> None:
        self._value = value

    def value(self) -> Value:
        return self._value


class EjfatURI:
    """The data address of a URI."""

    TokenType = SimpleNamespace(instance=1)

    def __init__(self, uri: str, tt: int) -> None:
        parts = urlsplit(uri)
        self._token = parts.username
        host, _, port = parse_qs(parts.query)["data"][0].partition(":")
        self._data = host, int(port or 0)

    def get_data_addr_v4(self) -> Result[tuple[str, int]]:
        return Result(self._data)

    def get_instance_token(self) -> Result[str | None]:
        return Result(self._token)


class IPAddress:
    """An address as text."""

    @staticmethod
    def from_string(text: str) -> str:
        return text


class Segmenter:
    """Cuts events and sends them."""

    class SegmenterFlags:
        mtu = 1500

    def __init__(self, uri: EjfatURI, data_id: int, source: int, flags: object) -> None:
        self._address = uri.get_data_addr_v4().value()
        self._data_id = data_id
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def OpenAndStart(self) -> None: ...  # noqa: N802

    def sendEvent(self, buffer: bytes, length: int, number: int) -> None:  # noqa: N802
        tick = time.time_ns() // 1000
        for at in range(0, length, SEGMENT):
            head = LB.pack(b"LB", 2, 1, 0, 0, tick) + RE.pack(0x10, 0, self._data_id, at, length, number)
            self._socket.sendto(head + buffer[at : min(at + SEGMENT, length)], self._address)

    def addToSendQueue(  # noqa: N802
        self,
        buffer: bytes,
        length: int,
        number: int,
        callback: Callable[[int], None],
        cbArg: int,  # noqa: N803
    ) -> None:
        self.sendEvent(buffer, length, number)
        callback(cbArg)

    def getSendStats(self) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(lastErrno=0)


class Reassembler:
    """Puts events together from segments that come in order."""

    class ReassemblerFlags:
        portRange = 0  # noqa: N815
        withLBHeader = False  # noqa: N815

    def __init__(self, uri: EjfatURI, address: str, port: int, threads: int, flags: object) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self.port = self._socket.getsockname()[1]
        self._events: dict[tuple[int, int], bytearray] = {}
        self._whole: deque[tuple[int, bytes, int, int]] = deque()

    def OpenAndStart(self) -> None:  # noqa: N802
        threading.Thread(target=self._run, name="stand-in", daemon=True).start()

    def getEventBytes(self) -> tuple[int, bytes, int, int]:  # noqa: N802
        return self._whole.popleft() if self._whole else (0, b"", 0, 0)

    def _run(self) -> None:
        while True:
            data = self._socket.recv(65536)
            assert LB.unpack_from(data)[:3] == (b"LB", 2, 1)
            _, _, data_id, offset, length, number = RE.unpack_from(data, LB.size)
            event = self._events.setdefault((data_id, number), bytearray())
            assert offset == len(event)
            event += data[LB.size + RE.size :]
            if len(event) == length:
                del self._events[data_id, number]
                self._whole.append((length, bytes(event), number, data_id))


DataPlane = SimpleNamespace(Segmenter=Segmenter, Reassembler=Reassembler)
