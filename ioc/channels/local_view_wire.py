"""What an image server's door and a viewer on the same host say to each other, as bytes: pure, no sockets.

One message is one SEQPACKET record; its first byte says what it is. Frames are described as for local members
(local_wire): where they lie, not what is in them. The frames of a connection are numbered as they come, from 0.

    viewer -> server   HELLO json   FREE number number ...      of frames that the viewer does not look at any more
    server -> viewer   WELCOME link   SEGMENT number size (+ descriptor)   RETIRE number   BYE text
                       ROOM frames                              that it may have at a time from now on
                       ITEMS missed frame frame ...             missed: frames there was no room for, so far
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ioc.core.errors import ProtocolError, mismatch

VERSION = 1
HELLO, FREE, BYE, ROOM = b"h", b"F", b"B", b"N"
LARGEST_WORD = 4096
MOST_FREED = 256
"""Numbers in one message."""
MOST_FRAMES = 64
"""Frames that one viewer may look at at a time."""
LONGEST_NAME = 256
_ROOM = struct.Struct("<cI")


@dataclass(frozen=True, slots=True)
class Wish:
    """Which channel a viewer wants to see, and how many of its frames it wants to have at a time."""

    channel: str
    frames: int


def hello(wish: Wish) -> bytes:
    """Return the first message of a viewer."""
    said = {"version": VERSION, "channel": wish.channel, "frames": wish.frames}
    return HELLO + json.dumps(said).encode()


def parse_hello(message: bytes) -> Wish:
    """Return what a viewer wants.

    Raises:
        ProtocolError: not a hello, or of another version.
    """
    if message[:1] != HELLO or len(message) > LARGEST_WORD:
        raise ProtocolError(mismatch("first message of a viewer", "HELLO", message[:16]))
    try:
        said = json.loads(message[1:])
        version, channel, frames = said["version"], said["channel"], said["frames"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(f"first message of a viewer: {type(error).__name__}: {error}") from None
    if version != VERSION:
        raise ProtocolError(mismatch("a viewer's version", str(VERSION), version))
    if not isinstance(channel, str) or len(channel) > LONGEST_NAME or type(frames) is not int or frames < 1:
        raise ProtocolError(mismatch("a viewer's channel and frames", "a name, 1 or more", str(said)[:80]))
    return Wish(channel, min(frames, MOST_FRAMES))


def free(numbers: Sequence[int]) -> bytes:
    """Return that the viewer does not look at some frames any more, `MOST_FREED` at most."""
    return FREE + struct.pack(f"<{len(numbers)}Q", *numbers)


def parse_free(message: bytes) -> tuple[int, ...]:
    """Return the numbers of frames that are free.

    Raises:
        ProtocolError: not such a message.
    """
    count, rest = divmod(len(message) - 1, 8)
    if message[:1] != FREE or rest or not 1 <= count <= MOST_FREED:
        raise ProtocolError(mismatch("message of a viewer", f"FREE with 1 to {MOST_FREED} numbers", message[:16]))
    return struct.unpack(f"<{count}Q", message[1:])


def room(frames: int) -> bytes:
    """Return how many frames the viewer may have at a time from now on."""
    return _ROOM.pack(ROOM, frames)


def parse_room(message: bytes) -> int:
    """Return how many frames the viewer may have at a time.

    Raises:
        ProtocolError: of another length.
    """
    if len(message) != _ROOM.size:
        raise ProtocolError(mismatch("ROOM message", f"{_ROOM.size} bytes", len(message)))
    return _ROOM.unpack(message)[1]


def bye(reason: str) -> bytes:
    """Return that nothing more comes, and why."""
    return BYE + reason.encode()[: LARGEST_WORD - 1]


def parse_bye(message: bytes) -> str:
    """Return why nothing more comes."""
    return message[1:LARGEST_WORD].decode(errors="replace")
