"""Frames in HDF5 files: the only module that knows h5py. It reads a data set as one stream of frames.

And it makes the content of small files whole, in memory, for whoever writes them.
"""

import contextlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ioc.core.errors import InputError, mismatch
from ioc.core.frame import DataType

SHAPES = "3 dimensions [frame, y, x] or 4 [frame, y, x, 3]"
COLOURS = 3
MOST_LISTED = 12
"""Data sets that a message lists at most."""


class FrameFile:
    """A data set of an HDF5 file, read frame by frame; other byte orders are converted to the native one."""

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        """Open `dataset` of the file, or the only data set that is shaped like frames.

        Raises:
            InputError: says what about the file, the data set, its shape or its type does not fit.
        """
        self.path = path
        self._file = _open(path)
        try:
            self._dataset = _named(self._file, path, dataset) if dataset else _only(self._file, path)
            self.dataset = str(self._dataset.name)
            where = f"{path}: data set {self.dataset}"
            check_shape(self._dataset.shape, where)
            self.dtype = native_type(self._dataset.dtype, where)
            _check_filters(self._dataset, where)
            _check_virtual(self._dataset, path, where)
        except BaseException:
            self._file.close()
            raise
        self.frames = int(self._dataset.shape[0])
        self.shape: tuple[int, ...] = tuple(int(length) for length in self._dataset.shape[1:])
        # one selection made once and moved: making h5py's high-level one for each frame takes longer than reading
        self._id = self._dataset.id
        self._selected = self._id.get_space()
        self._memory = h5py.h5s.create_simple(self.shape)
        self._block = (1, *self.shape)
        self._corner = (0,) * len(self.shape)

    def read_into(self, index: int, out: NDArray) -> None:
        """Read frame `index` (from 0) straight into `out`, a C-ordered array of `shape` and `dtype`.

        Raises:
            InputError: the file cannot be read any more.
        """
        self._selected.select_hyperslab((index, *self._corner), self._block)
        try:
            self._id.read(self._memory, self._selected, out)
        except OSError as error:
            where = f"{self.path}: data set {self.dataset}, frame {index}"
            hint = f"cannot be read, the file may be damaged: {error}; rayfan repair {self.path} tells"
            raise InputError(f"{where}: {hint}") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def content_of_file(images: NDArray, columns: Mapping[str, NDArray]) -> memoryview:
    """Return the bytes of a file with `/entry/data/data[n, y, x]` and, beside it, columns `[n]`.

    Groups have the classes of NeXus, whose readers find the signal by them.
    """
    with h5py.File("content.h5", "w", driver="core", backing_store=False) as file:
        group = file.create_group("entry/data")
        file["entry"].attrs["NX_class"] = "NXentry"
        group.attrs.update({"NX_class": "NXdata", "signal": "data"})
        for name, values in {"data": images, **columns}.items():
            group.create_dataset(name, data=values)
        file.flush()
        return memoryview(file.id.get_file_image())


def check_file(path: Path) -> None:
    """Refuse what is not a file that may be read.

    Raises:
        InputError: nothing is there, or something else, or it may not be read.
    """
    if not path.exists():
        raise InputError(mismatch(str(path), "a file", "nothing there", "check the path"))
    if not path.is_file():
        raise InputError(mismatch(str(path), "a file", "a folder or device"))
    if not os.access(path, os.R_OK):
        raise InputError(mismatch(str(path), "a file that may be read", "no permission"))


def check_shape(shape: tuple[int, ...] | None, where: str) -> None:
    """Refuse a shape that is not one or more frames.

    Raises:
        InputError: names `where`, the shapes that are frames, and the one found.
    """
    if not _like_frames(shape):
        raise InputError(mismatch(where, SHAPES, shape))
    if 0 in (shape or ()):
        raise InputError(mismatch(where, "at least one frame of at least one pixel", shape))


def native_type(dtype: np.dtype, where: str) -> np.dtype:
    """Return the native type of the pixels.

    Raises:
        InputError: areaDetector has no such type.
    """
    try:
        return DataType.of(dtype).dtype
    except ValueError:
        known = ", ".join(member.value for member in DataType)
        raise InputError(mismatch(where, f"pixels of type {known}", str(dtype))) from None


def _open(path: Path) -> h5py.File:
    check_file(path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: expected an HDF5 file, found one that cannot be opened: {error}") from None


def _named(file: h5py.File, path: Path, dataset: str) -> h5py.Dataset:
    try:
        found = file[dataset]
    except (KeyError, ValueError, OSError):
        listed = _listed(_datasets(file))
        raise InputError(mismatch(str(path), f"a data set of the file ({listed})", dataset)) from None
    if not isinstance(found, h5py.Dataset):
        listed = _listed(_datasets(file))
        raise InputError(mismatch(f"{path}: {dataset}", f"a data set ({listed})", "a group or type"))
    return found


def _only(file: h5py.File, path: Path) -> h5py.Dataset:
    datasets = _datasets(file)
    candidates = [one for one in datasets if _like_frames(one.shape)]
    if not candidates:
        raise InputError(
            mismatch(
                str(path),
                f"a data set with {SHAPES}",
                _listed(datasets),
                "links are not searched: name the data set with the key 'dataset' if it is behind one",
            )
        )
    if len(candidates) > 1:
        raise InputError(
            mismatch(
                str(path),
                "one data set shaped like frames",
                _listed(candidates),
                "name one of them with the key 'dataset'",
            )
        )
    return candidates[0]


def _datasets(file: h5py.File) -> list[h5py.Dataset]:
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


def _listed(datasets: list[h5py.Dataset]) -> str:
    names = [f"{one.name} {one.shape}" for one in datasets[:MOST_LISTED]]
    more = [f"and {len(datasets) - MOST_LISTED} more"] if len(datasets) > MOST_LISTED else []
    return ", ".join(names + more) or "no data set"


def _like_frames(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and (len(shape) == 3 or (len(shape) == 4 and shape[3] == COLOURS))


def _check_filters(dataset: h5py.Dataset, where: str) -> None:
    if missing := _missing_filters(dataset):
        with contextlib.suppress(ImportError):
            importlib.import_module("hdf5plugin")  # brings its filters with it
        missing = _missing_filters(dataset)
    if missing:
        raise InputError(
            mismatch(
                where,
                "compression that this machine can undo",
                ", ".join(missing),
                "install the package 'hdf5plugin', which brings the usual filters",
            )
        )


def _missing_filters(dataset: h5py.Dataset) -> list[str]:
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(position) for position in range(creation.get_nfilters())]
    return [
        f"filter {code} {name.decode(errors='replace')}".strip()
        for code, _, _, name in filters
        if not h5py.h5z.filter_avail(code)
    ]


def _check_virtual(dataset: h5py.Dataset, path: Path, where: str) -> None:
    """Refuse a virtual data set whose files are not there: HDF5 would give zeros for their frames and no error."""
    if not dataset.is_virtual:
        return
    names = {source.file_name for source in dataset.virtual_sources()} - {"."}
    # '%b' stands for a block number; HDF5 looks in the file's folder, then in the working folder
    missing = [
        one for one in sorted(names) if "%" not in one and not ((path.parent / one).exists() or Path(one).exists())
    ]
    if missing:
        raise InputError(
            mismatch(
                where, "the files that the virtual data set is made of", f"no file {', '.join(missing[:MOST_LISTED])}"
            )
        )
