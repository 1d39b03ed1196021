"""Reading every byte of an image, the same way on both sides of a comparison."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = np.dtype(np.uint64)


def sum_of(data: NDArray[Any]) -> int:
    """Return the sum of the 64-bit words (of the pixels where they do not fill words) of a C-ordered array.

    Words, because a sum of bytes is bound by NumPy's conversion and not by the memory.
    """
    flat = data.reshape(-1)
    if flat.nbytes % WORD.itemsize == 0:
        flat = flat.view(WORD)
    return int(np.add.reduce(flat))
