"""Files of killed writers: what was flushed is there, is readable, and becomes a whole file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ioc.channels import hdf5_layout as layout
from ioc.channels.hdf5_repair import UNIQUE_IDS, Repaired, repair
from ioc.core.errors import InputError
from tests.unit.test_hdf5_writer import frame, opened, written

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from ioc.channels.hdf5_filters import Compression
from ioc.channels.hdf5_writer import FileSettings, Hdf5Writer
from tests.unit.test_hdf5_writer import frame
flushed, unflushed, compression = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
settings = FileSettings(compression=Compression(compression))
writer = Hdf5Writer(Path(sys.argv[1]), settings)
for number in range(1, flushed + 1):
    writer.write(frame(number, Name="gold"))
writer.flush()
for number in range(flushed + 1, flushed + unflushed + 1):
    writer.write(frame(number, Name="lead"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(path: Path, flushed: int, unflushed: int, compression: str = "None") -> None:
    command = [sys.executable, "-c", KILLED, str(path), str(flushed), str(unflushed), compression]
    assert subprocess.run(command, timeout=60, check=False, cwd=ROOT).returncode == -9


@pytest.mark.parametrize(("flushed", "unflushed", "compression"), [(3, 0, "None"), (20, 7, "None"), (20, 7, "Blosc")])
def test_a_killed_writer_leaves_what_was_flushed_and_repair_finishes_it(
    tmp_path: Path, flushed: int, unflushed: int, compression: str
) -> None:
    path = tmp_path / "a.h5"
    killed(path, flushed, unflushed, compression)
    with opened(path, "r", swmr=True, libver="latest") as file:
        assert list(file[UNIQUE_IDS]) == list(range(1, flushed + 1))
    assert repair(path) == Repaired(True, flushed, 1, flushed)
    with opened(path, "r") as file:
        data = file[layout.PLOTTED][:]
        np.testing.assert_array_equal(data, [frame(n).data for n in range(1, flushed + 1)])
        assert list(file[f"{layout.ATTRIBUTES}/Name"]) == [b"gold"] * flushed
        assert file[layout.SERIES][:].tolist() == [(7, flushed, 1, flushed, 0, 0)]
        assert file[layout.DATA].attrs["signal"] == 1 and file.attrs[layout.COMPLETE] == 1
        assert file["/entry/data"].attrs["NX_class"] == "NXdata"
    assert repair(path) == Repaired(False, flushed, 1, flushed), "a file that is whole stays as it is"
    assert [one.name for one in tmp_path.iterdir()] == ["a.h5"]


def test_a_whole_file_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", [frame(4), frame(5)])
    before = path.read_bytes()
    assert repair(path) == Repaired(False, 2, 4, 5)
    assert path.read_bytes() == before


def test_what_is_no_file_of_ours_is_refused_and_untouched(tmp_path: Path) -> None:
    text, other = tmp_path / "text.h5", tmp_path / "other.h5"
    text.write_text("no HDF5")
    with opened(other, "w") as file:
        file["x"] = [1, 2]
    for path, message in ((text, "cannot be repaired"), (other, "expected the data sets"), (tmp_path / "no", "a file")):
        with pytest.raises(InputError, match=message):
            repair(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other.h5", "text.h5"]
