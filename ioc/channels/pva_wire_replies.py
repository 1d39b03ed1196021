"""The messages of a pvAccess server, but for images: pure functions to bytes, little-endian.

Source: pvAccess protocol specification, "Application messages".
"""

import struct

from ioc.channels import pva_wire_types
from ioc.channels.pva_wire_buffer import size, string
from ioc.channels.pva_wire_framing import Command, Control, control, message
from ioc.channels.pva_wire_types import Type

OK = b"\xff"
"""The status that says nothing but that it went well."""
RECEIVE_BUFFER = 1 << 16
REGISTRY_SIZE = 0x7FFF
METHODS = ("anonymous", "ca")
"""How a client may say who it is; neither proves it."""
INIT = 0x08
FINISH = 0x10
NO_CHANNEL = 0xFFFFFFFF
_ERROR = b"\x02"


def failed(text: str) -> bytes:
    """Return the status of a request that is not served."""
    return _ERROR + string(text) + string("")


def greeting() -> bytes:
    """Return what a server says first: use little-endian, and say who you are."""
    offer = struct.pack("<IH", RECEIVE_BUFFER, REGISTRY_SIZE) + size(len(METHODS))
    methods = b"".join(string(method) for method in METHODS)
    return control(Control.SET_BYTE_ORDER, 0) + message(Command.VALIDATION, offer + methods)


def validated() -> bytes:
    """Return that the client may go on."""
    return message(Command.VALIDATED, OK)


def channel_made(cid: int, sid: int) -> bytes:
    """Return that the client's channel `cid` is the server's `sid`."""
    return message(Command.CREATE_CHANNEL, struct.pack("<II", cid, sid) + OK)


def channel_refused(cid: int, text: str) -> bytes:
    """Return that there is no such channel."""
    return message(Command.CREATE_CHANNEL, struct.pack("<II", cid, NO_CHANNEL) + failed(text))


def channel_gone(sid: int, cid: int) -> bytes:
    """Return that a channel is over, asked for or not."""
    return message(Command.DESTROY_CHANNEL, struct.pack("<II", sid, cid))


def described(ioid: int, kind: Type) -> bytes:
    """Return the type of a channel or of a field of it."""
    return message(Command.GET_FIELD, struct.pack("<I", ioid) + OK + pva_wire_types.encode(kind))


def not_described(ioid: int, text: str) -> bytes:
    """Return that there is no such field."""
    return message(Command.GET_FIELD, struct.pack("<I", ioid) + failed(text))


def opened(command: Command, ioid: int, kind: Type) -> bytes:
    """Return that an operation is open, with the type of what it will give."""
    return message(command, struct.pack("<IB", ioid, INIT) + OK + pva_wire_types.encode(kind))


def refused(command: Command, ioid: int, text: str) -> bytes:
    """Return that an operation is not served."""
    return message(command, struct.pack("<IB", ioid, INIT) + failed(text))


def finished(ioid: int) -> bytes:
    """Return that a subscription gets no more updates."""
    return message(Command.MONITOR, struct.pack("<IB", ioid, FINISH) + OK)
