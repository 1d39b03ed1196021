"""A batch: the frames that `process_batch` is given, and all their pixels as one array.

Frames that lie in one piece of shared memory at equal distances, forwards or backwards, are one array as they are; the
others are copied into one, and the batch says so. The array is made when it is asked for.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ioc.core.errors import UserError, mismatch
from ioc.core.frame import Frame


class Batch(Sequence[Frame]):
    """Frames of one series, in order; as `array`, their pixels `[n, y, x]` or `[n, y, x, 3]`, not to be written to."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self._array: NDArray | None = None
        self.copied = False
        """Whether `array` was asked for and had to be put together by a copy."""

    @property
    def array(self) -> NDArray:
        """Return the pixels of all frames `[n, y, x]` or `[n, y, x, 3]`.

        Raises:
            UserError: the frames are not all of one shape and type.
        """
        if self._array is None:
            self._array, self.copied = stacked(self._frames)
        return self._array

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        return self._frames[index]


def stacked(frames: Sequence[Frame]) -> tuple[NDArray, bool]:
    """Return the pixels of frames as one read-only array, and whether they had to be copied into one.

    Raises:
        UserError: the frames are not all of one shape and type.
    """
    first = frames[0].data
    for frame in frames:
        if (frame.data.shape, frame.data.dtype) != (first.shape, first.dtype):
            expected = f"frames of {first.shape} {first.dtype} in one batch"
            raise UserError(mismatch(f"frame {frame.unique_id}", expected, f"{frame.data.shape} {frame.data.dtype}"))
    step = _distance([frame.data for frame in frames])
    if step is None:
        array, copied = np.stack([frame.data for frame in frames]), True
    else:
        # every row is the memory of a frame that is there: nothing beyond them is reached
        strides = (step, *first.strides)
        array, copied = np.lib.stride_tricks.as_strided(first, (len(frames), *first.shape), strides), False
    array.flags.writeable = False
    return array, copied


def _distance(images: Sequence[NDArray]) -> int | None:
    """Return the bytes from one image to the next if they are C-ordered, in one piece of memory, evenly apart.

    They are negative where later images lie before earlier ones: slots that became free last are used first.
    """
    if len(images) == 1:
        return images[0].nbytes if images[0].flags.c_contiguous else None
    starts = [image.__array_interface__["data"][0] for image in images]
    step = starts[1] - starts[0]
    even = all(later - earlier == step for earlier, later in pairwise(starts))
    if not even or abs(step) < images[0].nbytes:
        return None
    owner = _owner(images[0])
    together = all(_owner(image) is owner and image.flags.c_contiguous for image in images)
    return step if together else None


def _owner(image: NDArray) -> object:
    """Return the object whose memory an image is, or is a view of."""
    owner: object = image
    while True:
        if isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        elif isinstance(owner, memoryview):
            owner = owner.obj
        else:
            return owner
