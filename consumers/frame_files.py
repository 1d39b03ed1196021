"""Files of frames: HDF5, TIFF and .npy, each written whole under another name and then renamed.

A reader sees a file of its final name only when it is complete, also after a kill or a full disk. The contents are
made in memory first: all formats share one way to the disk, and its errors are those of the operating system.
"""

import errno
import importlib.util
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from consumers.batch import stacked
from ioc.channels.hdf5 import content_of_file
from ioc.core.errors import RefusedError, UserError, mismatch
from ioc.core.frame import Frame

ENDINGS = (".h5", ".hdf5", ".tif", ".tiff", ".npy")
PART = ".part"
"""What the name of a file ends with while it is written."""


class FileError(UserError):
    """A file of frames could not be written; the frames of it count as failed."""


def content_of(frames: Sequence[Frame], ending: str) -> memoryview:
    """Return the bytes of a file of these frames, which are all of one shape and type.

    An .npy file holds `[y, x]` for one frame, else `[n, y, x]`; a TIFF has a page a frame; HDF5 holds
    `/entry/data/data[n, y, x]` and beside it `unique_id`, `series` and `timestamp_ns` `[n]`.
    """
    if ending in (".h5", ".hdf5"):
        names = ("unique_id", "series", "timestamp_ns")
        columns = {name: np.array([getattr(frame, name) for frame in frames], np.int64) for name in names}
        return content_of_file(stacked(frames)[0], columns)
    data = frames[0].data if len(frames) == 1 else stacked(frames)[0]
    buffer = io.BytesIO()
    if ending == ".npy":
        np.lib.format.write_array(buffer, np.ascontiguousarray(data), allow_pickle=False)
    else:
        import tifffile  # slow to import, and only this format needs it

        colours = "rgb" if frames[0].data.ndim == 3 else "minisblack"
        tifffile.imwrite(buffer, data, photometric=colours)
    return buffer.getbuffer()


def check_format(ending: str) -> None:
    """Refuse a format whose library is not installed.

    Raises:
        RefusedError: says what to install.
    """
    if ending in (".tif", ".tiff") and importlib.util.find_spec("tifffile") is None:
        raise RefusedError(mismatch(f"files {ending}", "the package tifffile", "none", "pip install 'rayfan[tiff]'"))


def write_whole(path: Path, content: memoryview) -> None:
    """Write a file so that it is there whole or not at all; a file of that name is replaced.

    Raises:
        FileError: the disk is full, or the folder cannot be written to.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(content)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise FileError(_sentence(path, len(content), error)) from None


def _sentence(path: Path, size: int, error: OSError) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"file {path}: {error.strerror}; no frame of it is saved"
    free = shutil.disk_usage(path.parent).free if path.parent.exists() else 0
    what = f"expected room for {size} bytes, found {free} free ({error.strerror})"
    return f"file {path}: {what}; make room on the disk or choose another folder; no frame of it is saved"
