"""A filter for log handlers: entries of one place that come too often are counted instead of shown."""

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from ioc.core.clock import Clock, SystemClock

MOST_PLACES = 4096
"""Places in the code that are remembered."""
Place = tuple[str, str, int]


@dataclass(slots=True)
class _Window:
    began_ns: int
    shown: int = 0
    hidden: int = 0


class Repeats(logging.Filter):
    """Lets `most` entries of one place in the code through in `seconds` s; says how many it held back."""

    def __init__(self, most: int = 20, seconds: float = 5.0, clock: Clock | None = None) -> None:
        super().__init__()
        self._most = most
        self._span_ns = round(seconds * 1e9)
        self._clock = clock or SystemClock()
        self._windows: dict[Place, _Window] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether an entry is to be shown."""
        place = record.name, record.pathname, record.lineno
        now = self._clock.monotonic_ns()
        with self._lock:
            window = self._windows.get(place)
            if window is None or now - window.began_ns >= self._span_ns:
                if len(self._windows) >= MOST_PLACES:
                    self._windows.clear()
                hidden = window.hidden if window is not None else 0
                self._windows[place] = window = _Window(now)
                if hidden:
                    record.msg, record.args = f"{record.getMessage()} ({_words(hidden)})", ()
            if window.shown < self._most:
                window.shown += 1
                return True
            window.hidden += 1
            return False

    def overdue(self) -> Iterator[str]:
        """Yield a sentence for each place that held entries back and has been quiet since; each is told once."""
        now = self._clock.monotonic_ns()
        with self._lock:
            over = [place for place, one in self._windows.items() if now - one.began_ns >= 2 * self._span_ns]
            told = [(place, self._windows.pop(place).hidden) for place in over]
        for (name, path, line), hidden in told:
            if hidden:
                yield f"{name} ({path}, line {line}): {_words(hidden)}"


def _words(hidden: int) -> str:
    return f"{hidden} more like this were not shown"
