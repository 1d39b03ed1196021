"""What went wrong with a processor: counted, told once in a while in the log, the last one kept with frame and time."""

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from ioc.core.clock import Clock
from ioc.core.errors import RayfanError
from ioc.core.frame import Frame

log = logging.getLogger(__name__)

QUIET_SECONDS = 5.0
"""s between two log entries."""
LONGEST_TEXT = 1000
"""Characters of an error's own words."""
LONGEST_TRACE = 20_000

USER_FAULTS = (Exception, SystemExit, KeyboardInterrupt)
"""What a user's code may raise; `sys.exit()` in a processor is an error of that frame, not the end of the process."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The last error: `wall_ns` counts from 1970, UTC; series and id of the (first) frame, 0: it was about none."""

    text: str = ""
    wall_ns: int = 0
    series: int = 0
    unique_id: int = 0


class Failures:
    """Takes note of errors; used by one thread, `last` may be read by any."""

    def __init__(self, clock: Clock) -> None:
        self.last = Failure()
        self.count = 0
        self._clock = clock
        self._logged_ns: int | None = None
        self._quiet = 0

    def note(self, error: BaseException, frames: Sequence[Frame] = ()) -> None:
        """Take note of an error with these frames; called inside the `except`, for the traceback."""
        self.count += 1
        series, unique_id = (frames[0].series, frames[0].unique_id) if frames else (0, 0)
        self.last = Failure(words(error), self._clock.wall_ns(), series, unique_id)
        now = self._clock.monotonic_ns()
        if self._logged_ns is not None and now - self._logged_ns < QUIET_SECONDS * 1e9:
            self._quiet += 1
            return
        where = f"{len(frames)} frame(s), series {series}, from id {unique_id} on" if frames else "no frame"
        more = f" ({self._quiet} more since the last entry)" if self._quiet else ""
        log.error("the processor failed, %s%s: %s", where, more, _trace(error))
        self._logged_ns, self._quiet = now, 0

    def recall(self, text: str) -> None:
        """Show how the life before ended, until there is another error."""
        if text:
            self.last = Failure(f"the life before: {text}"[:LONGEST_TEXT], self._clock.wall_ns())

    def clear(self) -> None:
        """Forget the last error."""
        self.last = Failure()


def words(error: BaseException) -> str:
    """Return the type and the words of an error, whatever its `__str__` does."""
    try:
        said = str(error)
    except USER_FAULTS:
        said = "an error whose text cannot be made"
    return f"{type(error).__name__}: {said}"[:LONGEST_TEXT]


def _trace(error: BaseException) -> str:
    if isinstance(error, RayfanError):
        return str(error)
    try:
        return traceback.format_exc()[-LONGEST_TRACE:]
    except USER_FAULTS:
        return words(error)
