"""Finishes a file whose writer was killed: all that was flushed goes into a new file, which takes the old one's place.

HDF5 opens such a file only as a reader beside a writer (SWMR), because it is still marked as being written to. So
what can be read is copied, chunk by chunk as it lies there, and each data set is cut to the frames that all have.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ioc.channels import hdf5_layout as layout
from ioc.channels.hdf5 import check_file
from ioc.channels.hdf5_writer import finish
from ioc.core.errors import InputError, mismatch

UNIQUE_IDS = f"{layout.ATTRIBUTES}/{layout.UNIQUE_ID}"
SUFFIX = ".repair"
_PER_FRAME = (layout.DATA, f"{layout.ATTRIBUTES}/", f"{layout.DETECTOR_ATTRIBUTES}/")


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of it: whether anything had to be done, the frames that are there, and the first and last id."""

    changed: bool
    frames: int
    first: int | None = None
    last: int | None = None


def repair(path: Path) -> Repaired:
    """Make a file whole that was written by this appliance; one that is whole stays as it is.

    Raises:
        InputError: it is no such file, or nothing of it can be read.
    """
    check_file(path)
    fresh = path.with_name(path.name + SUFFIX)
    try:
        with h5py.File(path, "r", swmr=True, libver="latest") as file:
            ids = _ids(file, path)
            if file.attrs.get(layout.COMPLETE) == 1:
                return _result(False, ids)
            with h5py.File(fresh, "w", libver="latest") as made:
                _copy(file, made, len(ids))
        finish(fresh)
        _sync(fresh)
    except (OSError, RuntimeError) as error:
        fresh.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be repaired: {error}; it is left as it was") from None
    fresh.replace(path)
    return _result(True, ids)


def _ids(file: h5py.File, path: Path) -> np.ndarray:
    ids = file.get(UNIQUE_IDS)
    data = file.get(layout.DATA)
    if not isinstance(ids, h5py.Dataset) or not isinstance(data, h5py.Dataset):
        raise InputError(mismatch(str(path), f"the data sets {layout.DATA} and {UNIQUE_IDS}", "a file without them"))
    return ids[: min(ids.shape[0], data.shape[0])]


def _result(changed: bool, ids: np.ndarray) -> Repaired:
    if not len(ids):
        return Repaired(changed, 0)
    return Repaired(changed, len(ids), int(ids[0]), int(ids[-1]))


def _copy(source: h5py.File, target: h5py.File, frames: int) -> None:
    target.attrs.update(source.attrs)

    def visit(name: str, item: Any) -> None:
        path = f"/{name}"
        if isinstance(item, h5py.Group):
            made: Any = target.require_group(path)
        elif path.startswith(_PER_FRAME):
            made = _cut(item, target, path, frames)
        else:
            made = target.create_dataset(path, data=item[()], dtype=item.dtype)
        made.attrs.update(item.attrs)

    source.visititems(visit)
    if layout.PLOTTED not in target:  # a second name of the frames: it is visited once, under either name
        target[layout.PLOTTED] = target[layout.DATA]
    elif layout.DATA not in target:
        target[layout.DATA] = target[layout.PLOTTED]


def _cut(item: h5py.Dataset, target: h5py.File, path: str, frames: int) -> h5py.Dataset:
    """Copy the first `frames` entries of a data set; whole chunks as they lie in the file."""
    creation = item.id.get_create_plist()
    shape = (frames, *item.shape[1:])
    limits = (h5py.h5s.UNLIMITED, *item.shape[1:])
    space = h5py.h5s.create_simple(shape, limits)
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    made = h5py.Dataset(h5py.h5d.create(target.id, path.encode(), item.id.get_type(), space, creation, links))
    for number in range(item.id.get_num_chunks()):
        where = item.id.get_chunk_info(number).chunk_offset
        if where[0] >= frames:
            continue
        mask, chunk = item.id.read_direct_chunk(where)
        made.id.write_direct_chunk(where, chunk, mask)
    return made


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
