"""The link to a worker that has joined with a token: it acknowledges under every policy, and says that it lives.

A worker is gone when its connection is, when it acknowledges none of its frames for too long, or when it reports no
more. What it had then goes where the group's policy says.
"""

import time
from collections.abc import Callable

from ioc.channels.acknowledged import AcknowledgedLink
from ioc.channels.base import ImageLink
from ioc.core.frame import EndOfSeries


class JoinedLink(AcknowledgedLink):
    """The link to one worker; implements base.Link."""

    def __init__(self, inner: ImageLink, wake: Callable[[], None], name: str, patience: float) -> None:
        """Wrap the link of its image channel; it is gone after `patience` seconds without a word."""
        super().__init__(inner, wake)
        self._name = name
        self._patience = patience
        self._heard = time.monotonic()
        self.closed = False
        self.closed_politely = False
        self.expect_acknowledgement(None)

    @property
    def name(self) -> str:
        """The name of the worker, which is that of its seat."""
        return self._name

    def expect_acknowledgement(self, within: float | None) -> None:
        """Expect it in any case: a worker has promised to."""
        super().expect_acknowledgement(self._patience if within is None else within)

    def heard(self) -> None:
        """Take notice that the worker lives; any thread may call."""
        self._heard = time.monotonic()

    def alive(self) -> bool:
        return super().alive() and time.monotonic() - self._heard <= self._patience

    def leave(self) -> None:
        """Give it no more frames; any thread may call."""
        self.leaving = True
        self._wake()

    def ended(self) -> EndOfSeries | None:
        """Return the last end marker before which the worker is done with everything."""
        with self._lock:
            return self._out.ended

    def close(self, drain: bool) -> None:
        self.closed_politely = drain and self.alive()
        self.closed = True
        super().close(drain)
