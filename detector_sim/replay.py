"""Replay of a file: HDF5, NumPy's .npy, or .raw (pixels and nothing else, little-endian)."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detector_sim.source import Source
from ioc.channels.hdf5 import FrameFile, check_file, check_shape, native_type
from ioc.core.config import DetectorConfig
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


class MappedFile:
    """An array in a file, mapped into memory; frames are copied, and converted to native byte order, on the way out."""

    def __init__(self, array: NDArray, where: str) -> None:
        """Take frames `[frame, y, x]` or `[frame, y, x, 3]`.

        Raises:
            InputError: the shape or the type is not that of frames.
        """
        check_shape(array.shape, where)
        self.dtype = native_type(array.dtype, where)
        self.shape = array.shape[1:]
        self.frames = array.shape[0]
        self._array: NDArray | None = array

    def read_into(self, index: int, out: NDArray) -> None:
        if self._array is None:
            raise RayfanBug(f"frame {index} was asked for after the file was closed")
        np.copyto(out, self._array[index])

    def close(self) -> None:
        self._array = None


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
    array = _open_npy(path) if suffix == ".npy" else _open_raw(path, config)
    return Replay(MappedFile(array, str(path)), config.source.loop, str(path))


def _open_npy(path: Path) -> NDArray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: expected an array in NumPy's .npy format, found: {error}") from None


def _open_raw(path: Path, config: DetectorConfig) -> NDArray:
    width, height = config.size
    dtype = config.data_type.dtype.newbyteorder("<")
    frame_bytes = height * width * dtype.itemsize
    size = path.stat().st_size
    if size == 0 or size % frame_bytes:
        expected = f"a multiple of {frame_bytes} bytes ({width} x {height} pixels of {config.data_type.value})"
        raise InputError(
            mismatch(str(path), expected, f"{size} bytes", "set detector.size [x, y] and detector.data_type")
        )
    try:
        return np.memmap(path, dtype, "r", shape=(size // frame_bytes, height, width))
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be mapped, found: {error}") from None
