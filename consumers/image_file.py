"""An image of a file that a processor needs: a mask, a dark, a flat field. A stack of images becomes their mean."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ioc.channels.hdf5 import FrameFile
from ioc.core.errors import InputError, RefusedError, mismatch

HDF5_ENDINGS = (".h5", ".hdf5", ".hdf", ".nxs")


def read_image(name: str, what: str) -> NDArray[np.float64] | None:
    """Return the image `[y, x]` (or `[y, x, 3]`) of `FILE.npy`, `FILE.h5` or `FILE.h5:DATASET`; None for no name.

    Raises:
        RefusedError: it cannot be read, or is no image; `what` says what it was wanted for.
    """
    if not name:
        return None
    file, _, dataset = name.partition(":")
    path = Path(file).expanduser()
    try:
        images = _hdf5(path, dataset or None) if path.suffix in HDF5_ENDINGS else _npy(path)
    except InputError as error:
        raise RefusedError(f"{what}: {error}") from None
    except (OSError, ValueError) as error:
        raise RefusedError(f"{what}: {path}: {error}; expected an .npy or HDF5 file") from None
    if images.ndim not in (2, 3) or images.size == 0 or images.dtype.kind not in "buif":
        raise RefusedError(mismatch(f"{what}: {path}", "an image [y, x] of numbers", (images.shape, str(images.dtype))))
    return images.astype(np.float64)


def check_fits(image: NDArray | None, shape: tuple[int, ...], what: str) -> None:
    """Refuse an image that is not of a frame's rows and columns.

    Raises:
        InputError: it is of another size.
    """
    if image is not None and image.shape[:2] != shape[:2]:
        raise InputError(mismatch(what, f"an image of {shape[:2]} (y, x), as the frames", image.shape[:2]))


def _npy(path: Path) -> NDArray:
    with path.open("rb") as file:
        images = np.lib.format.read_array(file, allow_pickle=False)
    return images.mean(axis=0) if images.ndim == 3 and images.shape[2] != 3 else images


def _hdf5(path: Path, dataset: str | None) -> NDArray:
    file = FrameFile(path, dataset)
    try:
        total, one = np.zeros(file.shape), np.empty(file.shape, file.dtype)
        for index in range(file.frames):
            file.read_into(index, one)
            total += one
        return total / max(1, file.frames)
    finally:
        file.close()
