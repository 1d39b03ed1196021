"""Files that frames are written into: layout, compression, following, a full disk."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters that reading needs
import numpy as np
import pytest

from ioc.channels import hdf5_layout as layout
from ioc.channels.hdf5_filters import COMPRESSIONS, UNSERVED, Compression
from ioc.channels.hdf5_writer import FileSettings, Hdf5Writer, WriteError
from ioc.core.attribute_types import NAME, note, types_of
from ioc.core.errors import RefusedError
from ioc.core.frame import EndOfSeries, Frame

STAMP = (layout.EPICS_EPOCH + 100) * layout.NS + 250_000_000


PLAIN = FileSettings()


def opened(path: Path, *mode: Any, **options: Any) -> Any:
    """Return an open file whose items may be taken for data sets."""
    return h5py.File(path, *mode, **options)


def frame(
    unique_id: int, shape: tuple[int, ...] = (4, 6), dtype: str = "uint16", series: int = 7, **attributes
) -> Frame:
    data = np.arange(np.prod(shape)).reshape(shape).astype(dtype) + np.dtype(dtype).type(unique_id)
    return Frame(series, unique_id, STAMP + unique_id, data, attributes)


def written(path: Path, frames: list[Frame], settings: FileSettings = PLAIN) -> Path:
    writer = Hdf5Writer(path, settings)
    for one in frames:
        writer.write(one)
    writer.close()
    return path


def ids(file: Any) -> list[int]:
    return list(file[f"{layout.ATTRIBUTES}/{layout.UNIQUE_ID}"][:])


@pytest.mark.parametrize("name", [name for name in COMPRESSIONS if name not in UNSERVED])
@pytest.mark.parametrize("shape", [(40, 30), (8, 9, 3)])
def test_what_was_written_is_read(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    frames = [frame(n, shape) for n in range(1, 6)]
    path = written(tmp_path / "a.h5", frames, FileSettings(compression=Compression(name)))
    with opened(path) as file:
        np.testing.assert_array_equal(file[layout.PLOTTED][:], [one.data for one in frames])
        assert file[layout.DATA].chunks == (1, *shape)
        assert ids(file) == [1, 2, 3, 4, 5]
        assert file.attrs[layout.COMPLETE] == 1


@pytest.mark.parametrize("compressor", ["BloscLZ", "LZ4", "ZLIB", "ZSTD"])
def test_blosc_has_its_compressors(tmp_path: Path, compressor: str) -> None:
    chosen = Compression("Blosc", blosc_compressor=compressor, blosc_level=3, blosc_shuffle="Bit")
    path = written(tmp_path / "a.h5", [frame(1, (64, 64))], FileSettings(compression=chosen))
    with opened(path) as file:
        np.testing.assert_array_equal(file[layout.DATA][0], frame(1, (64, 64)).data)


@pytest.mark.parametrize("name", UNSERVED)
def test_compression_that_is_not_served_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="None, zlib, Blosc, BSLZ4, LZ4"):
        Hdf5Writer(tmp_path / "a.h5", FileSettings(compression=Compression(name)))


def test_the_layout_is_areadetectors_and_plots_from_the_root(tmp_path: Path) -> None:
    with opened(written(tmp_path / "a.h5", [frame(1), frame(2)])) as file:
        shown = file[file.attrs["default"]]
        group = shown[shown.attrs["default"]]
        assert group[group.attrs["signal"]] == file[layout.DATA]
        assert file[layout.DATA].attrs["signal"] == 1
        kinds = {path: file[path].attrs["NX_class"] for path in ("/entry", "/entry/instrument/detector", "/entry/data")}
        assert list(kinds.values()) == ["NXentry", "NXdetector", "NXdata"]
        stamps = file[f"{layout.ATTRIBUTES}/NDArrayTimeStamp"][:]
        np.testing.assert_allclose(stamps, 100.25, atol=1e-6)
        assert list(file[f"{layout.ATTRIBUTES}/NDArrayEpicsTSnSec"]) == [250_000_001, 250_000_002]
        assert file[layout.PERFORMANCE].shape == (2, 5)
        assert file[layout.ATTRIBUTES].attrs["hostname"]


def test_attributes_of_frames_are_columns_whatever_becomes_of_them(tmp_path: Path) -> None:
    first = frame(1, Name="gold", Number=3, Value=1.5, Flag=True)
    later = [frame(2, Name="x" * 300, Number="text", Value=2), frame(3)]
    with opened(written(tmp_path / "a.h5", [first, *later])) as file:
        at = file[layout.ATTRIBUTES]
        assert [name.decode() for name in at["Name"]] == ["gold", "x" * 256, ""]
        assert (list(at["Number"]), list(at["Flag"])) == ([3, 0, 0], [1, 0, 0])
        np.testing.assert_array_equal(at["Value"], [1.5, 2.0, np.nan])


def test_attributes_are_of_the_type_that_their_definition_says_also_those_that_are_not_there_yet(
    tmp_path: Path,
) -> None:
    types: dict[str, Any] = note(
        {"Count": "i4", "Small": "i2", "Ratio": "f4", "Late": "f8", "Name": "S", "State": "i4"}
    )
    first = frame(1, **types, Count=3, Small=70_000, Ratio=0.5, Name=5, State="open", Free=2)
    with opened(written(tmp_path / "a.h5", [first, frame(2, **types, Late=1.5), frame(3)])) as file:
        at = file[layout.ATTRIBUTES]
        kinds = {name: at[name].dtype.str for name in (*types_of(types), "Free")}
        assert kinds == {
            "Count": "<i4",
            "Small": "<i2",
            "Ratio": "<f4",
            "Late": "<f8",
            "Name": "|S256",
            "State": "|S256",
            "Free": "<i8",
        }
        assert (list(at["Count"]), list(at["Small"]), list(at["State"])) == (
            [3, 0, 0],
            [32767, 0, 0],
            [b"open", b"", b""],
        )
        np.testing.assert_array_equal(at["Late"], [np.nan, 1.5, np.nan])
        assert list(at["Name"]) == [b"5", b"", b""]


def test_a_name_that_would_be_a_path_is_none(tmp_path: Path) -> None:
    odd: dict[str, Any] = {"a/b": 7}
    with opened(written(tmp_path / "a.h5", [frame(1, **odd)])) as file:
        assert list(file[f"{layout.ATTRIBUTES}/a_b"]) == [7]


@pytest.mark.parametrize("said", ["", "x", "[]", '{"A": 5}', '{"A": "i3"}', "{" * 20_000, 7])
def test_a_note_of_types_that_cannot_be_tells_nothing(said: Any) -> None:
    assert types_of({NAME: said}) == {}


def test_the_file_says_which_frames_of_which_series_it_has_and_lacks(tmp_path: Path) -> None:
    writer = Hdf5Writer(tmp_path / "a.h5", FileSettings())
    for series, unique_id in ((7, 3), (7, 4), (7, 8), (9, 1)):
        writer.write(frame(unique_id, series=series))
        if unique_id == 8:
            writer.end_series(EndOfSeries(7, 10))
    assert writer.missed == 3
    writer.close()
    with opened(tmp_path / "a.h5") as file:
        assert file[layout.SERIES][:].tolist() == [(7, 3, 3, 8, 10, 1), (9, 1, 1, 1, 0, 0)]
        assert file[layout.MISSED][:].tolist() == [(7, 5, 7)]


def test_chunks_may_hold_several_frames_or_parts(tmp_path: Path) -> None:
    frames = [frame(n) for n in range(1, 6)]
    with opened(written(tmp_path / "a.h5", frames, FileSettings(frames_per_chunk=2, chunk=(2, 3), frames=5))) as file:
        assert (file[layout.DATA].chunks, file[layout.DATA].maxshape) == ((2, 2, 3), (5, 4, 6))
        np.testing.assert_array_equal(file[layout.DATA][:], [one.data for one in frames])


def test_a_frame_unlike_the_first_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    writer = Hdf5Writer(tmp_path / "a.h5", FileSettings())
    writer.write(frame(1))
    for other in (frame(2, (4, 7)), frame(2, dtype="uint8")):
        with pytest.raises(WriteError, match=r"expected \(4, 6\) uint16"):
            writer.write(other)
    writer.write(frame(3))
    writer.close()
    with opened(tmp_path / "a.h5") as file:
        assert ids(file) == [1, 3]


def test_a_reader_sees_what_was_flushed_while_the_file_grows(tmp_path: Path) -> None:
    writer = Hdf5Writer(tmp_path / "a.h5", FileSettings())
    writer.write(frame(1))
    assert writer.swmr_active
    writer.flush()
    with opened(tmp_path / "a.h5", swmr=True, libver="latest") as file:
        assert ids(file) == [1]
        writer.write(frame(2))
        writer.flush()
        file[f"{layout.ATTRIBUTES}/{layout.UNIQUE_ID}"].refresh()
        file[layout.DATA].refresh()
        assert ids(file) == [1, 2]
        np.testing.assert_array_equal(file[layout.DATA][1], frame(2).data)
    writer.close()


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"a\.h5: the file cannot be made"):
        Hdf5Writer(tmp_path / "none" / "a.h5", FileSettings())


FULL_DISK = """
import resource, sys
from pathlib import Path
from ioc.channels.hdf5_writer import FileSettings, Hdf5Writer, WriteError
from tests.unit.test_hdf5_writer import frame
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
writer = Hdf5Writer(Path(sys.argv[1]), FileSettings(flush_frames=1, attribute_chunk=64))
written = 0
for number in range(1, 100):
    try:
        writer.write(frame(number, (64, 64)))
        written += 1
    except WriteError as error:
        print(written, error, flush=True)
        break
try:
    writer.close()
except WriteError as error:
    print("close", error, flush=True)
import os
os._exit(0)
"""


def test_a_full_disk_is_an_error_and_what_was_flushed_is_there(tmp_path: Path) -> None:
    """The limit of the size of a file stands for a full disk: the system refuses the write in the same way."""
    path = tmp_path / "a.h5"
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parents[2]
    )
    count, _, message = done.stdout.splitlines()[0].partition(" ")
    assert "cannot be" in message and str(path) in message, done.stdout
    with opened(path, swmr=True, libver="latest") as file:
        assert len(ids(file)) >= int(count) - 1 > 0
        np.testing.assert_array_equal(file[layout.DATA][0], frame(1, (64, 64)).data)
    assert path.stat().st_size <= 200_000
