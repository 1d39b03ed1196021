"""A stream of frames from outside, and what its frames are called there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ioc.core.errors import ProtocolError, mismatch
from ioc.core.frame import Frame

MOST_ID = 1 << 62
"""Ids beyond are not believed: counters of others are 32 or 64 bits wide."""


@dataclass(slots=True)
class Arrival:
    """A frame as it came; `stream` names the connection that numbers its frames by itself.

    Its id is that of the source. `settle` tells the sender what became of the frame, with an error or None; it may be
    called from any thread, once.
    """

    stream: str
    frame: Frame
    settle: Callable[[str | None], None] = field(default=lambda _: None)


@dataclass(frozen=True, slots=True)
class Reconnected:
    """A stream is connected anew: it may show its newest frame again."""

    stream: str


Event = Arrival | Reconnected


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How a stream is taken in: what may wait, how its frames are numbered, what is asked for.

    `id_field` empty: frames are numbered as they come. `first_id` is what the source calls its first frame.
    """

    queue_size: int = 64
    queue_bytes: int | None = None
    id_field: str = "uniqueId"
    first_id: int = 1
    fields: tuple[str, ...] = ()
    skip_initial: int = 0
    pipeline: bool = False
    pvapy: bool = True
    """Whether a channel of ours has PvaPy's structure, else areaDetector's."""
    fastest: bool = False
    """Whether to look for a faster way than pvAccess to a channel that is monitored."""


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """What a stream says of itself.

    `connected`: servers or senders that are there. `errors`: updates that could not be used; `last_error`: why the
    last was not. `refused`: frames for which there was no room, as their senders were told. `way`: how frames come,
    and why not by a faster way; empty where there is only one.
    """

    connected: int = 0
    disconnects: int = 0
    errors: int = 0
    refused: int = 0
    last_error: str = ""
    way: str = ""


class Stream(Protocol):
    """Frames from outside: taken from it without waiting; `arrived` is set when there is something to take."""

    def take(self, most: int) -> Sequence[Event]:
        """Return up to `most` events in order, at once.

        Raises:
            PeerError: the stream is over and does not come back by itself.
        """
        ...

    def figures(self) -> StreamFigures:
        """Return what it says of itself."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        ...

    def stop(self) -> None:
        """Let nothing more in; what has come can still be taken."""
        ...

    def close(self) -> None:
        """Let go of everything; senders that wait are told."""
        ...


class Numbering:
    """Gives frames the id that the source has for them, counted from 1."""

    def __init__(self, settings: StreamSettings) -> None:
        self._own = not settings.id_field
        self._first = settings.first_id
        self._count = 0

    def number(self, found: object) -> int:
        """Return the id for what was found in the field.

        Raises:
            ProtocolError: it is no number, or one before the first.
        """
        if self._own:
            self._count += 1
            return self._count
        if isinstance(found, bool) or not isinstance(found, int):
            raise ProtocolError(mismatch("id of a frame", "an integer", found, "set id_field"))
        number = found - self._first + 1
        if not 1 <= number <= MOST_ID:
            todo = "set first_id to the id of the source's first frame"
            raise ProtocolError(mismatch("id of a frame", f"{self._first} or more", found, todo))
        return number
