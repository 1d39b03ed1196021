"""Replay of a file: HDF5, NumPy's .npy, or .raw (pixels and nothing else, little-endian)."""

import io
import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector_sim.source import Source
from ioc.channels.hdf5 import FrameFile, check_file, check_shape, native_type
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import ConfigError, InputError, RayfanBug, mismatch

HDF5_SUFFIXES = (".h5", ".hdf5", ".nxs", ".hdf")
SUFFIXES = (*HDF5_SUFFIXES, ".npy", ".raw")


class Reader(Protocol):
    """Frames of one file, by number."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one frame, `(y, x)` or `(y, x, 3)`."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Return the type of a pixel, native byte order."""
        ...

    @property
    def frames(self) -> int:
        """Return how many frames the file holds."""
        ...

    def read_into(self, index: int, out: NDArray) -> None:
        """Write frame `index` (from 0) into `out`."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class PlainFile:
    """Frames one after the other in a file, read anew each time: mapped, a file cut short would be a deadly signal."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Read frames `shape`, `[frame, y, x]` or `[frame, y, x, 3]`, in C order, from byte `offset` on.

        Raises:
            InputError: the shape or the type is not that of frames, or the file cannot be opened.
        """
        check_shape(shape, str(path))
        self.dtype = native_type(dtype, str(path))
        self.shape = shape[1:]
        self.frames = shape[0]
        self._path = path
        self._offset = offset
        self._swapped = not dtype.isnative
        try:
            self._file: io.FileIO | None = io.FileIO(path)
        except OSError as error:
            raise InputError(f"{path}: expected a file that can be read, found: {error}") from None

    def read_into(self, index: int, out: NDArray) -> None:
        if self._file is None:
            raise RayfanBug(f"frame {index} was asked for after the file was closed")
        at = self._offset + index * out.nbytes
        got = 0
        view = out.data.cast("B") if out.nbytes else memoryview(b"")
        while got < out.nbytes:
            try:
                count = os.preadv(self._file.fileno(), [view[got:]], at + got)
            except OSError as error:
                raise InputError(
                    f"{self._path}: frame {index} cannot be read: {error}; is its disk still there?"
                ) from None
            if count == 0:
                expected, found = f"{out.nbytes} bytes from byte {at} on", f"{got}: the file was cut short"
                raise InputError(mismatch(f"{self._path}: frame {index}", expected, found))
            got += count
        if self._swapped:
            out.byteswap(inplace=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


class Replay:
    """Shows the frames of a file in order, again and again or once."""

    anew = True

    def __init__(self, reader: Reader, loop: bool, name: str) -> None:
        self.shape = reader.shape
        self.dtype = reader.dtype
        self.period = reader.frames if loop else None
        self.count = None if loop else reader.frames
        self._reader = reader
        self._name = name

    def fill(self, index: int, out: NDArray) -> None:
        if self.count is not None and index >= self.count:
            raise RayfanBug(mismatch(self.describe(), f"an image below {self.count}", index))
        self._reader.read_into(index % self._reader.frames, out)

    def describe(self) -> str:
        turns = "again and again" if self.count is None else "once"
        return f"{self._reader.frames} frames of {self._name}, {self.shape} {self.dtype}, {turns}"

    def close(self) -> None:
        self._reader.close()


def open_replay(config: DetectorConfig) -> Source:
    """Return the source that replays the configured file.

    Raises:
        ConfigError: a key does not suit the kind of file.
        InputError: the file is missing, unreadable or holds no frames.
    """
    if config.source.path is None:
        raise RayfanBug("a replay without a path passed the validation of the configuration")
    path, dataset = config.source.path.expanduser(), config.source.dataset
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(mismatch(f"detector.source.path: {path}", f"a file ending in {', '.join(SUFFIXES)}", suffix))
    if suffix in HDF5_SUFFIXES:
        file = FrameFile(path, dataset)
        return Replay(file, config.source.loop, f"{path} {file.dataset}")
    if dataset is not None:
        raise ConfigError(mismatch("detector.source.dataset", f"no value for a {suffix} file", dataset, "leave it out"))
    check_file(path)
    file = _open_npy(path) if suffix == ".npy" else _open_raw(path, config)
    return Replay(file, config.source.loop, str(path))


def _open_npy(path: Path) -> PlainFile:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected an array in NumPy's .npy format, found: {error}") from None
    if not isinstance(array, np.memmap):
        raise InputError(mismatch(str(path), "one array", f"a {type(array).__name__}"))
    if not array.flags.c_contiguous:
        raise InputError(
            mismatch(str(path), "an array in C order", "Fortran order", "np.save(..., np.ascontiguousarray(a))")
        )
    return PlainFile(path, array.offset, array.shape, array.dtype)


def _open_raw(path: Path, config: DetectorConfig) -> PlainFile:
    width, height = config.size
    dtype = config.data_type.dtype.newbyteorder("<")
    frame_bytes = height * width * dtype.itemsize
    size = path.stat().st_size
    if size == 0 or size % frame_bytes:
        expected = f"a multiple of {frame_bytes} bytes ({width} x {height} pixels of {config.data_type.value})"
        raise InputError(
            mismatch(str(path), expected, f"{size} bytes", "set detector.size [x, y] and detector.data_type")
        )
    return PlainFile(path, 0, (size // frame_bytes, height, width), dtype)
