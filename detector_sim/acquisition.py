"""The acquisition state machine: areaDetector's words and rules, without records, threads or frames.

    Idle/Aborted --start--> Acquire --last image--> Idle
                               |----stop---------> Aborted (Single, Multiple) or Idle (Continuous)

Rules: a start while acquiring is ignored. Every start begins a new series; ids count from 1 in it. `ArrayCounter`
counts on over series until it is written to. The first frame comes when it has been exposed, `NumExposures` times
`AcquireTime` after the start; the next ones each `AcquirePeriod`, but never faster than that.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

from ioc.core.clock import Clock, Pacer
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import EndOfSeries


class DetectorState(IntEnum):
    """ADBase's DetectorState; the number is that of the enum record."""

    IDLE = 0
    ACQUIRE = 1
    ERROR = 6
    WAITING = 7
    INITIALIZING = 8
    ABORTED = 10


class ImageMode(Enum):
    """ADBase's ImageMode."""

    SINGLE = "Single"
    MULTIPLE = "Multiple"
    CONTINUOUS = "Continuous"


@dataclass(slots=True)
class Identity:
    """Who the next frame is."""

    series: int
    unique_id: int


class Acquisition:
    """Parameters, state and counters of one detector."""

    def __init__(self, config: DetectorConfig, clock: Clock) -> None:
        self._clock = clock
        self.image_mode = ImageMode(config.image_mode)
        self.num_images = config.num_images
        self.acquire_time = config.acquire_time
        self.acquire_period = 1.0 / config.frame_rate
        self.num_exposures = 1
        self.state = DetectorState.IDLE
        self.message = "Waiting for acquisition"
        self.acquiring = False
        self.array_counter = 0
        self.images_counter = 0
        self.published = 0
        self.series = 0
        self._pacer = Pacer(self._period_ns(), 0)

    @property
    def frame_rate(self) -> float:
        """Hz; 0 when AcquirePeriod is 0, which means as fast as possible."""
        return 1.0 / self.acquire_period if self.acquire_period > 0 else 0.0

    @property
    def wanted(self) -> int | None:
        """Return how many images this acquisition takes, None for endless."""
        if self.image_mode is ImageMode.CONTINUOUS:
            return None
        return 1 if self.image_mode is ImageMode.SINGLE else self.num_images

    def start(self) -> bool:
        """Begin a series; return False if one is running already."""
        if self.acquiring:
            return False
        # microseconds since 1970: unique over restarts of the process, and never the same twice
        self.series = max(self.series + 1, self._clock.wall_ns() // 1000)
        self.images_counter = self.published = 0
        self.acquiring = True
        self.state = DetectorState.ACQUIRE
        self.message = "Acquiring data"
        self._pacer = Pacer(self._period_ns(), self._clock.monotonic_ns() + self._exposure_ns())
        return True

    def next_due_ns(self) -> int | None:
        """Return when the next frame is due, on the monotonic clock; None when idle."""
        return self._pacer.next_ns if self.acquiring else None

    def due(self) -> bool:
        """Return whether a frame is due now."""
        return self.acquiring and self._pacer.due(self._clock.monotonic_ns())

    def due_count(self, most: int) -> int:
        """Return how many frames are due now and still wanted, `most` at most."""
        if not self.acquiring:
            return 0
        if self.wanted is not None:
            most = min(
                most, max(1, self.wanted - self.images_counter)
            )  # 1: NumImages was lowered, the next is the last
        return self._pacer.due_count(self._clock.monotonic_ns(), most)

    def identity(self) -> Identity:
        """Return who the next frame will be."""
        return Identity(self.series, self.published + 1)

    def taken(self, published: bool, images: int = 1) -> EndOfSeries | None:
        """Book images, `published` or not (ArrayCallbacks); return the end marker if the series' last is among them."""
        self.published += images if published else 0
        self.images_counter += images
        self.array_counter += images
        self._pacer.advance(self._clock.monotonic_ns(), images)
        wanted = self.wanted
        if wanted is not None and self.images_counter >= wanted:
            return self._end(DetectorState.IDLE, "Waiting for acquisition")
        return None

    def exhausted(self) -> EndOfSeries:
        """Book that the source has no more images."""
        return self._end(DetectorState.IDLE, "End of the source")

    def stop(self) -> EndOfSeries | None:
        """End the series at once; None if there is none."""
        if not self.acquiring:
            return None
        continuous = self.image_mode is ImageMode.CONTINUOUS
        return self._end(DetectorState.IDLE if continuous else DetectorState.ABORTED, "Acquisition stopped")

    def fail(self, message: str) -> EndOfSeries | None:
        """End the series because of an error."""
        if not self.acquiring:
            self.state, self.message = DetectorState.ERROR, message
            return None
        return self._end(DetectorState.ERROR, message)

    def set_period(self, seconds: float) -> None:
        """Change AcquirePeriod, also while frames flow; 0 means as fast as AcquireTime allows.

        Raises:
            RefusedError: negative.
        """
        if not 0 <= seconds <= 1e6:
            raise RefusedError(mismatch("cam1:AcquirePeriod", "0 to 1e6 s", seconds))
        self.acquire_period = seconds
        self._repace()

    def set_frame_rate(self, hertz: float) -> None:
        """Change the frame rate; an AcquireTime that does not fit is shortened.

        Raises:
            RefusedError: not positive.
        """
        if not 0 < hertz <= 1e6:
            raise RefusedError(mismatch("cam1:FrameRate", "more than 0 and at most 1e6 Hz", hertz))
        self.acquire_period = 1.0 / hertz
        self.acquire_time = min(self.acquire_time, self.acquire_period)
        self._repace()

    def set_time(self, seconds: float) -> None:
        """Change AcquireTime.

        Raises:
            RefusedError: negative.
        """
        if not 0 <= seconds <= 1e6:
            raise RefusedError(mismatch("cam1:AcquireTime", "0 to 1e6 s", seconds))
        self.acquire_time = seconds
        self._repace()

    def set_exposures(self, number: int) -> None:
        """Change NumExposures: a frame takes at least so many times AcquireTime."""
        self.num_exposures = number
        self._repace()

    def time_remaining(self) -> float:
        """Return how many seconds the acquisition still takes; 0 if it is endless or there is none."""
        wanted = self.wanted
        if not self.acquiring or wanted is None:
            return 0.0
        left = (wanted - self.images_counter - 1) * self._period_ns()
        return max(0, left + self._pacer.next_ns - self._clock.monotonic_ns()) / 1e9

    def _exposure_ns(self) -> int:
        return round(self.acquire_time * self.num_exposures * 1e9)

    def _period_ns(self) -> int:
        return max(round(self.acquire_period * 1e9), self._exposure_ns())

    def _repace(self) -> None:
        self._pacer.change(self._period_ns(), self._clock.monotonic_ns())

    def _end(self, state: DetectorState, message: str) -> EndOfSeries:
        self.acquiring = False
        self.state = state
        self.message = message
        return EndOfSeries(self.series, self.published)
