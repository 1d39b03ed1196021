"""The messages of a pvAccess client that monitors channels: pure functions to bytes, little-endian.

Source: pvAccess protocol specification, "Application messages".
"""

import struct
from collections.abc import Iterable, Sequence

from ioc.channels.pva_wire_buffer import size, string
from ioc.channels.pva_wire_framing import Command, datagram
from ioc.channels.pva_wire_search import ADDRESS_BYTES, PROTOCOL, UNICAST
from ioc.channels.pva_wire_types import NULL, STRING, Type, encode, structure
from ioc.core.errors import ProtocolError, mismatch

RECEIVE_BUFFER = 1 << 16
REGISTRY_SIZE = 0x7FFF
INIT, START = 0x08, 0x44
LARGEST_SEARCH = 1400
"""Bytes of names in one search, so that its datagram is not cut into fragments."""
_NOBODY = "anonymous"
_ACCOUNT = structure("", ("user", Type(STRING)), ("host", Type(STRING)))


def introduction(methods: Sequence[str], user: str, host: str) -> bytes:
    """Return the answer to a server's greeting: who this is, by its own account if the server wants to know.

    Raises:
        ProtocolError: the server offers no method that this client has.
    """
    head = struct.pack("<IHH", RECEIVE_BUFFER, REGISTRY_SIZE, 0)
    if "ca" in methods:
        account = encode(_ACCOUNT) + string(user) + string(host)
        return datagram(Command.VALIDATION, head + string("ca") + account)
    if methods and _NOBODY not in methods:
        raise ProtocolError(mismatch("pvAccess greeting", "ca or anonymous among the methods", ", ".join(methods)))
    return datagram(Command.VALIDATION, head + string(_NOBODY) + bytes((NULL,)))


def search(number: int, names: Iterable[tuple[int, str]], reply_port: int = 0, unicast: bool = False) -> bytes:
    """Return the question where channels are; `names` with this client's numbers, `reply_port` 0: the one it is from.

    `unicast`: only one of several servers of a host gets it, and has to tell the others.
    """
    listed = list(names)
    payload = (
        struct.pack("<IB", number, UNICAST if unicast else 0)
        + bytes(3 + ADDRESS_BYTES)
        + struct.pack("<H", reply_port)
        + size(1)
        + string(PROTOCOL)
        + struct.pack("<H", len(listed))
        + b"".join(struct.pack("<I", cid) + string(name) for cid, name in listed)
    )
    return datagram(Command.SEARCH, payload)


def portions(names: Iterable[tuple[int, str]]) -> Iterable[list[tuple[int, str]]]:
    """Yield names in portions that fit into one datagram each."""
    portion: list[tuple[int, str]] = []
    used = 0
    for one in names:
        needed = 4 + len(string(one[1]))
        if portion and used + needed > LARGEST_SEARCH:
            yield portion
            portion, used = [], 0
        portion.append(one)
        used += needed
    if portion:
        yield portion


def create(cid: int, name: str) -> bytes:
    """Return the wish for a channel."""
    return datagram(Command.CREATE_CHANNEL, struct.pack("<HI", 1, cid) + string(name))


def destroy(sid: int, cid: int) -> bytes:
    """Return that a channel, with all that goes on with it, is not needed any more."""
    return datagram(Command.DESTROY_CHANNEL, struct.pack("<II", sid, cid))


def monitor(sid: int, ioid: int, fields: Iterable[str], queue_size: int) -> bytes:
    """Return the wish to monitor top-level fields, with a queue of so many updates at the server.

    Without `pipeline`, which pvAccessCPP's database (PvaPy) answers with values that nobody put; TCP holds back, too.
    """
    options = structure("", ("queueSize", Type(STRING)))
    record = structure("", ("_options", options))
    selection = structure("", *((name, structure("")) for name in fields))
    kind = structure("", ("record", record), ("field", selection))
    asked = encode(kind) + string(str(queue_size))
    return datagram(Command.MONITOR, struct.pack("<IIB", sid, ioid, INIT) + asked)


def start(sid: int, ioid: int) -> bytes:
    """Return that the updates of a monitor may come."""
    return datagram(Command.MONITOR, struct.pack("<IIB", sid, ioid, START))


def echo() -> bytes:
    """Return the question whether the server lives."""
    return datagram(Command.ECHO, b"")
