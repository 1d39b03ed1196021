"""One HDF5 file that frames are written into, readable while it grows (SWMR) and after a kill.

How it works: the file is opened empty; the first frame says what the data sets are like, then all of them are made
and SWMR is switched on. Frames go in as whole chunks (direct chunk write), those that arrive compressed as they are;
what is to be compressed here goes through HDF5's filters. What is kept of a frame besides its pixels waits in memory
and is written in blocks at each flush: pixels first, the unique ids last, so that a reader who follows the ids never
looks for a frame that is not there yet.
After an error of the disk nothing is written any more and the file is abandoned, not closed: HDF5 (2.0) crashes the
process when a file is closed whose writes have failed.
Only this module and its neighbours `hdf5_*` know h5py.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ioc.channels import hdf5_layout as layout
from ioc.channels.hdf5_chunks import Kind, chunk_of, filters_for, kind_of
from ioc.channels.hdf5_filters import Compression
from ioc.core.errors import ProtocolError, UserError, mismatch
from ioc.core.frame import EndOfSeries, Frame

DEFAULT_ATTRIBUTE_CHUNK = 16_384
"""Values of one attribute that lie together if the number of frames is not known; ADCore's number."""
LONGEST_UNFLUSHED = 1.0
"""s after which frames are flushed in any case."""


UNCOMPRESSED = Compression()


class WriteError(UserError):
    """A frame could not be written, or a file not opened or closed."""


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How a file is written. `frames` is how many it will hold, None: not known. `flush_frames` 0: once a second."""

    frames: int | None = None
    frames_per_chunk: int = 1
    chunk: tuple[int, int] | None = None
    """Rows and columns of a chunk; None: whole frames."""
    flush_frames: int = 0
    attribute_chunk: int = 0
    """Values; 0: as many as there will be frames, or 16384."""
    attributes: bool = True
    performance: bool = True
    swmr: bool = True
    fill: float = 0.0
    compression: Compression = UNCOMPRESSED


_abandoned: list[h5py.File | h5py.Dataset] = []
"""Kept for the life of the process: HDF5 would try again to write them when they are let go."""


class Hdf5Writer:
    """The file at `path`. `write` frames, `flush` now and then, `close` it once."""

    def __init__(self, path: Path, settings: FileSettings) -> None:
        """Make the file; one that is there is written over.

        Raises:
            WriteError: it cannot be made, for the reason that the system gives.
        """
        self.path = path
        self.settings = settings
        self.frames = 0
        self.swmr_active = False
        self._columns: tuple[layout.Column, ...] = ()
        self._rows: list[tuple] = []
        self._times: list[tuple[float, ...]] = []
        self._series: list[list[int]] = []
        self._missed: list[tuple[int, int, int]] = []
        self._missed_written = 0
        self._begun = time.monotonic()
        self._flushed = self._begun
        self._last = self._begun
        self._datasets: dict[str, h5py.Dataset] = {}
        self._fault = ""
        self._kind: Kind | None = None
        try:
            settings.compression.filters()
            self._file = h5py.File(path, "w", libver="latest", rdcc_nbytes=64 << 20)
        except OSError as error:
            raise WriteError(f"{path}: the file cannot be made: {_reason(error)}") from None

    @property
    def broken(self) -> bool:
        """Whether the disk refused a write, so that nothing is written any more."""
        return bool(self._fault)

    @property
    def missed(self) -> int:
        """Frames that are missing between those in the file."""
        return sum(last - first + 1 for _, first, last in self._missed)

    def write(self, frame: Frame) -> None:
        """Append a frame; one that is compressed stays so.

        Raises:
            WriteError: it is unlike the first frame, not of the codec that it names, or the disk did not take it.
        """
        self._check()
        begun = time.monotonic()
        try:
            kind = self._fitting(frame)
            chunk = chunk_of(frame) if kind.codec else None
            filters = filters_for(frame) if kind.codec and self._kind is None else None
        except ProtocolError as error:
            raise WriteError(f"{self.path}: frame {frame.unique_id}: {error}") from None
        try:
            if self._kind is None:
                self._make(frame, kind, filters)
            self._append(frame, chunk)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._abandon(f"frame {frame.unique_id} cannot be written: {_reason(error)}") from None
        self.frames += 1
        self._account(frame)
        self._rows.append(layout.row_of(frame, self._columns))
        self._time(begun, frame.data.nbytes)
        if self._due():
            self.flush()

    def end_series(self, marker: EndOfSeries) -> None:
        """Note how many frames a series had, if some of them are here."""
        for row in self._series:
            if row[0] == marker.series:
                row[4:] = [marker.published, 1]

    def flush(self) -> None:
        """Bring everything to the file, so that readers see it and a kill cannot take it back.

        Raises:
            WriteError: the disk did not take it.
        """
        self._check()
        if not self._datasets:
            return
        try:
            self._datasets[layout.DATA].flush()
            self._write_ledger()
            self._write_rows()
        except (OSError, RuntimeError, ValueError) as error:
            raise self._abandon(f"cannot be flushed: {_reason(error)}") from None
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush, mark the file as whole and close it.

        Raises:
            WriteError: the disk did not take all of it; what was flushed before is there.
        """
        self.flush()
        self._close_file()
        try:
            finish(self.path)
        except OSError as error:
            raise WriteError(f"{self.path}: cannot be finished: {_reason(error)}") from None

    def _close_file(self) -> None:
        try:
            self._file.flush()  # what may fail fails here, where the file can still be abandoned
        except (OSError, RuntimeError) as error:
            raise self._abandon(f"cannot be closed: {_reason(error)}") from None
        self.swmr_active = False
        self._datasets.clear()
        self._file.close()

    def _fitting(self, frame: Frame) -> Kind:
        """Return the kind of a frame, which is that of the first one."""
        kind = kind_of(frame)
        if self._kind is not None and kind != self._kind:
            raise WriteError(mismatch(f"{self.path}: frame", str(self._kind), str(kind)))
        return kind

    def _check(self) -> None:
        if self._fault:
            raise WriteError(self._fault)

    def _abandon(self, why: str) -> WriteError:
        """Let nothing more reach the file, and return the error that says why."""
        self._fault = f"{self.path}: {why}"
        self.swmr_active = False
        _abandoned.extend([self._file, *self._datasets.values()])
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(nowhere, self._file.id.get_vfd_handle(), inheritable=False)
        os.close(nowhere)
        return WriteError(self._fault)

    def _make(self, frame: Frame, kind: Kind, filters: Mapping[str, Any] | None) -> None:
        """Make the data sets; `filters` are those of frames that arrive compressed, each of which is a chunk."""
        file, settings, shape = self._file, self.settings, kind.shape
        layout.make_groups(file, datetime.now(UTC).isoformat(timespec="milliseconds"), len(shape))
        rows, columns = settings.chunk or shape[:2]
        chunk = (settings.frames_per_chunk, min(rows, shape[0]), min(columns, shape[1]), *shape[2:])
        applied = settings.compression.filters() if filters is None else filters
        data = file.create_dataset(
            layout.DATA,
            (0, *shape),
            kind.dtype,
            maxshape=(settings.frames, *shape),
            chunks=chunk if filters is None else (1, *shape),
            fillvalue=kind.dtype.type(settings.fill),
            **applied,
        )
        data.attrs["signal"] = 1
        data.attrs["interpretation"] = "image" if len(shape) == 2 else "rgb-image"
        file[layout.PLOTTED] = data
        self._whole_chunks = not applied and data.chunks == (1, *shape)
        made: dict[str, h5py.Dataset] = {layout.DATA: data}
        self._columns = layout.columns_of(frame, settings.attributes)
        length = settings.attribute_chunk or settings.frames or DEFAULT_ATTRIBUTE_CHUNK
        for column in self._columns:
            one = file.create_dataset(column.path, (0,), column.dtype, maxshape=(settings.frames,), chunks=(length,))
            one.attrs["NDAttrName"], one.attrs["NDAttrDescription"] = column.name, column.description
            one.attrs["NDAttrSourceType"], one.attrs["NDAttrSource"] = "NDAttrSourceDriver", column.source
            made[column.path] = one
        made[layout.PERFORMANCE] = file.create_dataset(
            layout.PERFORMANCE, (0, 5), "f8", maxshape=(None, 5), chunks=(1024, 5)
        )
        for path, dtype in ((layout.SERIES, layout.SERIES_TYPE), (layout.MISSED, layout.MISSED_TYPE)):
            made[path] = file.create_dataset(path, (0,), dtype, maxshape=(None,), chunks=(256,))
        if settings.swmr:
            file.swmr_mode = True
            self.swmr_active = True
        self._datasets, self._kind = made, kind

    def _append(self, frame: Frame, chunk: NDArray[np.uint8] | bytes | None) -> None:
        """Append a frame; as `chunk`, if there is one."""
        data: Any = self._datasets[layout.DATA]
        data.resize(self.frames + 1, axis=0)
        corner = (self.frames, *(0,) * (data.ndim - 1))
        if chunk is not None:
            data.id.write_direct_chunk(corner, chunk)
        elif self._whole_chunks:
            data.id.write_direct_chunk(corner, np.ascontiguousarray(frame.data))
        else:
            data[self.frames] = frame.data

    def _account(self, frame: Frame) -> None:
        last = self._series[-1] if self._series else None
        if last is None or last[0] != frame.series:
            self._series.append([frame.series, 1, frame.unique_id, frame.unique_id, 0, 0])
            return
        if frame.unique_id > last[3] + 1:
            self._missed.append((frame.series, last[3] + 1, frame.unique_id - 1))
        last[1] += 1
        last[3] = max(last[3], frame.unique_id)

    def _time(self, begun: float, size: int) -> None:
        now = time.monotonic()
        run = max(now - self._begun, 1e-9)
        self._times.append((now - begun, now - self._last, run, size / 1e6 / max(now - begun, 1e-9), self.frames / run))
        self._last = now

    def _due(self) -> bool:
        every = self.settings.flush_frames
        if every and self.frames % every == 0:
            return True
        return time.monotonic() - self._flushed >= LONGEST_UNFLUSHED

    def _write_rows(self) -> None:
        if self.settings.performance and self._times:
            self._extend(layout.PERFORMANCE, np.array(self._times))
        self._times.clear()
        if not self._rows:
            return
        for at, column in enumerate(self._columns):  # the unique id is the last column
            self._extend(column.path, np.array([row[at] for row in self._rows], column.dtype))
        self._rows.clear()

    def _write_ledger(self) -> None:
        series: Any = self._datasets[layout.SERIES]
        series.resize(len(self._series), axis=0)
        series[:] = np.array([tuple(row) for row in self._series], layout.SERIES_TYPE)
        series.flush()
        fresh = self._missed[self._missed_written :]
        if fresh:
            self._extend(layout.MISSED, np.array(fresh, layout.MISSED_TYPE))
            self._missed_written = len(self._missed)

    def _extend(self, path: str, values: np.ndarray) -> None:
        one: Any = self._datasets[path]
        before = one.shape[0]
        one.resize(before + len(values), axis=0)
        one[before:] = values
        one.flush()


def finish(path: Path) -> None:
    """Mark a closed file as whole."""
    with h5py.File(path, "r+", libver="latest") as file:
        if "/entry" in file:
            entry: Any = file["/entry"]
            entry["end_time"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        file.attrs[layout.COMPLETE] = 1


def _reason(error: Exception) -> str:
    """Return what the system said, without the lines that HDF5 puts around it."""
    text = str(error).replace("\n", " ")
    return text if len(text) < 200 else f"{text[:200]}..."
