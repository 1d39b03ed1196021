"""pvAccess messages in a stream of bytes: headers, segments, control messages.

Rules. A header is 8 bytes: 0xCA, version, flags, command, size of the payload (for a control message: its value). The
flags tell the byte order of that message, who sent it, and which part of a segmented message it is. Segments of one
message follow each other; only control messages may come between. What breaks a rule is a ProtocolError, after which
the stream means nothing any more. Source: pvAccess protocol specification, "Message header".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from ioc.core.errors import ProtocolError, mismatch

MAGIC = 0xCA
VERSION = 2
HEADER_BYTES = 8
LONGEST_MESSAGE = 1 << 18
"""Bytes of a payload, segments together, from a client: it asks, it sends no images."""

_CONTROL = 0x01
_FIRST, _LAST, _MIDDLE = 0x10, 0x20, 0x30
SEGMENT = 0x30
_SERVER = 0x40
_BIG = 0x80
_HEADER = struct.Struct("<BBBBI")


class Command(IntEnum):
    """Application messages that this server knows."""

    BEACON = 0
    VALIDATION = 1
    ECHO = 2
    SEARCH = 3
    SEARCH_RESPONSE = 4
    CREATE_CHANNEL = 7
    DESTROY_CHANNEL = 8
    VALIDATED = 9
    GET = 10
    PUT = 11
    PUT_GET = 12
    MONITOR = 13
    ARRAY = 14
    DESTROY_REQUEST = 15
    PROCESS = 16
    GET_FIELD = 17
    RPC = 20
    CANCEL_REQUEST = 21
    ORIGIN_TAG = 22


class Control(IntEnum):
    """Control messages that this server knows."""

    SET_BYTE_ORDER = 2
    ECHO_REQUEST = 3
    ECHO_RESPONSE = 4


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message; a control message has no body but a `value`. `big`: its numbers are big-endian."""

    command: int
    body: bytes
    big: bool
    control: bool = False
    value: int = 0


def header(command: int, payload_bytes: int) -> bytes:
    """Return the header of a server's message, little-endian."""
    return _HEADER.pack(MAGIC, VERSION, _SERVER, command, payload_bytes)


def message(command: int, payload: bytes) -> bytes:
    """Return a server's whole message, little-endian."""
    return header(command, len(payload)) + payload


def control(command: int, value: int) -> bytes:
    """Return a server's control message, little-endian."""
    return _HEADER.pack(MAGIC, VERSION, _SERVER | _CONTROL, command, value)


def datagram(command: int, payload: bytes) -> bytes:
    """Return a message as a client sends it, little-endian: what is forwarded is still the client's."""
    return _HEADER.pack(MAGIC, VERSION, 0, command, len(payload)) + payload


class Splitter:
    """Cuts what arrives from one side of a connection into messages."""

    def __init__(self, from_server: bool = False, longest: int = LONGEST_MESSAGE) -> None:
        """Expect messages of a client, or of a server; `longest` payload in bytes."""
        self._direction = _SERVER if from_server else 0
        self._longest = longest
        self._rest = bytearray()
        self._segments: list[bytes] = []
        self._segmented: int | None = None

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes.

        Raises:
            ProtocolError: the bytes break a rule; nothing more can be read.
        """
        rest = self._rest
        rest += data
        while len(rest) >= HEADER_BYTES:
            flags, command = rest[2], rest[3]
            length = self._length(rest)
            if flags & _CONTROL:
                del rest[:HEADER_BYTES]
                yield Message(command, b"", bool(flags & _BIG), True, length)
                continue
            if len(rest) < HEADER_BYTES + length:
                return
            body = bytes(rest[HEADER_BYTES : HEADER_BYTES + length])
            del rest[: HEADER_BYTES + length]
            whole = self._join(flags & SEGMENT, command, body)
            if whole is not None:
                yield Message(command, whole, bool(flags & _BIG))

    @property
    def held(self) -> int:
        """Return the bytes that wait for the rest of their message."""
        return len(self._rest) + sum(map(len, self._segments))

    def _length(self, rest: bytearray) -> int:
        """Return the size of the payload, or the value of a control message, that a header tells."""
        magic, version, flags = rest[0], rest[1], rest[2]
        if magic != MAGIC or version == 0:
            raise ProtocolError(mismatch("pvAccess header", f"{MAGIC:#x} and a version", bytes(rest[:2]).hex()))
        if flags & _SERVER != self._direction:
            raise ProtocolError(
                mismatch("pvAccess header, direction", f"{self._direction:#x}", f"{flags & _SERVER:#x}")
            )
        length = int.from_bytes(rest[4:8], "big" if flags & _BIG else "little")
        if not flags & _CONTROL and length + sum(map(len, self._segments)) > self._longest:
            raise ProtocolError(mismatch("pvAccess message", f"at most {self._longest} bytes", length))
        return length

    def _join(self, segment: int, command: int, body: bytes) -> bytes | None:
        """Return a whole payload, None while segments of it are missing."""
        inside = self._segmented is not None
        if inside != (segment in (_MIDDLE, _LAST)) or (inside and command != self._segmented):
            expected = f"a further segment of command {self._segmented}" if inside else "a first or only segment"
            raise ProtocolError(mismatch("pvAccess message", expected, f"flags {segment:#x}, command {command}"))
        if not segment:
            return body
        self._segments.append(body)
        if len(self._segments) > MOST_SEGMENTS:
            raise ProtocolError(mismatch("pvAccess message", f"at most {MOST_SEGMENTS} segments", "more"))
        self._segmented = command
        if segment != _LAST:
            return None
        whole = b"".join(self._segments)
        self._segments.clear()
        self._segmented = None
        return whole


MOST_SEGMENTS = 1024
"""Empty segments cost nothing on the wire but something to keep."""
