"""Frames as a channel gives them, for tests of processors."""

import numpy as np
from numpy.typing import NDArray

from consumers.processor import Processor, Value, checked_settings, frames_of
from ioc.core.frame import Frame


def frame(data: NDArray, unique_id: int = 1, series: int = 7) -> Frame:
    """Return a frame whose pixels are read-only."""
    data = np.ascontiguousarray(data).view()
    data.flags.writeable = False
    return Frame(series, unique_id, 123, data, {"Energy": 12.4})


def configured(kind: type[Processor], **settings: Value) -> Processor:
    """Return a processor as the consumer makes it."""
    processor = kind()
    processor.configure(checked_settings(kind.declared_settings, settings))
    return processor


def one_of(processor: Processor, data: NDArray) -> NDArray:
    """Return the pixels of the one frame that a processor makes of an image; its identity is checked."""
    given = frame(data)
    (found,) = frames_of(processor.process(given, {}))
    assert (found.series, found.unique_id, found.timestamp_ns) == (given.series, given.unique_id, given.timestamp_ns)
    assert found.attributes["Energy"] == 12.4
    assert found.data.flags.c_contiguous
    return found.data


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray:
    """Return pixels of a type, evenly over what it can be (floats: -1000 to 1000)."""
    random, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind.kind == "f":
        return random.uniform(-1000, 1000, shape).astype(kind)
    limits = np.iinfo(kind)
    return random.integers(limits.min, limits.max, shape, kind, endpoint=True)
