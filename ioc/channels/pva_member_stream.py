"""Frames of a member's channel of another Rayfan, under policy Acknowledged: each is acknowledged when it is dealt out.

Rules. A frame that is not settled is not acknowledged: when the connection breaks, or this process ends, its giver
deals it out again. What came before comes again after a break, and is acknowledged without being taken twice. Frames
are acknowledged in the order in which they came.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ioc.channels.pva_membership import MemberReceiver
from ioc.channels.stream import Arrival, Event, Numbering, Reconnected, StreamFigures, StreamSettings
from ioc.core.errors import ProtocolError
from ioc.core.frame import Frame
from ioc.core.once import Once
from ioc.core.overflow import WIDEST_WINDOW

log = logging.getLogger(__name__)

WAY = "pvAccess: a member that acknowledges"


@dataclass(slots=True)
class _Taken:
    """One frame that came; `settled`: it was dealt out, or is none of use."""

    settled: bool = False


class MemberStream:
    """A membership that acknowledges; implements stream.Stream. `take` and settling are for one thread."""

    def __init__(self, channel: str, settings: StreamSettings) -> None:
        """Join by the channel `...:Image` of a member; as many frames are in hand as the queue holds."""
        self.name = channel
        self._numbering = Numbering(settings)
        self._member = MemberReceiver(channel, min(settings.queue_size, WIDEST_WINDOW), compressed=True)
        self._once = Once()
        self._line: deque[_Taken] = deque()
        self._connections = 0
        self._errors = 0
        self._last_error = ""
        self._stopped = False

    def take(self, most: int) -> Sequence[Event]:
        if self._stopped:
            return ()
        items = self._member.receive(most, 0.0)
        events: list[Event] = []
        if self._member.disconnects > self._connections:
            self._connections = self._member.disconnects
            events.append(Reconnected(self.name))
        for frame in items:
            assert isinstance(frame, Frame), "a member's channel has no end marker"
            events += self._arrived(frame)
        self._acknowledge()
        return events

    def figures(self) -> StreamFigures:
        member = self._member
        return StreamFigures(int(member.greeted), member.disconnects, self._errors, 0, self._last_error, WAY)

    @property
    def ended(self) -> bool:
        return False

    def stop(self) -> None:
        """Let nothing more in: what is not here yet stays with its giver."""
        self._stopped = True

    def close(self) -> None:
        self._acknowledge()
        self._member.close(drain=True)

    def _arrived(self, frame: Frame) -> list[Event]:
        taken = _Taken()
        self._line.append(taken)
        if not self._once.passes(frame.series, frame.unique_id):
            taken.settled = True
            return []
        try:
            frame.unique_id = self._numbering.number(frame.unique_id)
        except ProtocolError as error:
            self._errors += 1
            self._last_error = str(error)
            taken.settled = True
            return []

        def settle(error: str | None) -> None:
            taken.settled = error is None
            self._acknowledge()

        return [Arrival(self.name, frame, settle)]

    def _acknowledge(self) -> None:
        count = 0
        while self._line and self._line[0].settled:
            self._line.popleft()
            count += 1
        if count:
            self._member.release(count)
