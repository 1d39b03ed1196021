"""Where a detector's images come from: the protocol, and the factory that opens a source from the configuration."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import RayfanBug, mismatch


class Source(Protocol):
    """Gives images by their number; makes no time stamps and knows no series."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one image: `(y, x)`, or `(y, x, 3)` for RGB1."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Return the type of a pixel, native byte order; one of areaDetector's."""
        ...

    @property
    def period(self) -> int | None:
        """Return how many different images are shown in turn; None: every image is different."""
        ...

    @property
    def count(self) -> int | None:
        """Return after how many images the source ends; None: never."""
        ...

    @property
    def anew(self) -> bool:
        """Whether each acquisition begins with image 0; otherwise the images go on."""
        ...

    def fill(self, index: int, out: NDArray) -> None:
        """Write image `index` (from 0, below `count`) into `out`, a C-ordered array of `shape` and `dtype`.

        Raises:
            InputError: the file cannot be read any more.
        """
        ...

    def describe(self) -> str:
        """Return one line for logs and screens."""
        ...

    def close(self) -> None:
        """Let go of files and memory; `fill` must not be called again."""
        ...


def open_source(config: DetectorConfig) -> Source:
    """Return the source that a detector's configuration names.

    Raises:
        ConfigError: a key does not suit the source, or the images take more memory than the machine has.
        InputError: the file to replay is missing, unreadable or holds no frames.
    """
    # here and not above: the modules need h5py or the like only if their kind of source is asked for
    if config.source.kind == "generated":
        from detector_sim.generated import open_generated

        return open_generated(config)
    if config.source.kind == "replay":
        from detector_sim.replay import open_replay

        return open_replay(config)
    raise RayfanBug(mismatch("open_source", "kind 'generated' or 'replay'", config.source.kind))
