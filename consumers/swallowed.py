"""The frames that a processor swallowed: it has processed them and put nothing out, which the end marker says by id."""

from collections.abc import Sequence
from dataclasses import replace

from ioc.core.frame import EndOfSeries, Frame
from ioc.core.sequence import Ranges


class Swallowed:
    """The ids of one series at a time."""

    def __init__(self) -> None:
        self._ids = Ranges()
        self._series = 0

    def note(self, frames: Sequence[Frame], put_out: Sequence[Frame]) -> None:
        """Take what was processed and what came out of it."""
        left = {frame.unique_id for frame in put_out}
        if frames and frames[0].series != self._series:
            self._series, self._ids = frames[0].series, Ranges()
        for frame in frames:
            if frame.unique_id not in left:
                self._ids.add(frame.unique_id, frame.unique_id)

    def marked(self, marker: EndOfSeries) -> EndOfSeries:
        """Return the end marker of a series with the ids that were swallowed here, and begin anew."""
        if not self._ids or marker.series != self._series:
            return marker
        for first, last in marker.filtered:
            self._ids.add(first, last)
        marked = replace(marker, filtered=tuple(self._ids))
        self._ids = Ranges()
        return marked
