"""Frames in files: the three formats read back, names that cannot go wrong, files whole or not there, a full disk."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from consumers.batch import Batch
from consumers.file_pattern import FilePattern
from consumers.frame_files import ENDINGS, FileError, content_of, write_whole
from consumers.processor import Context, Value
from consumers.processors.save import Save
from ioc.channels.hdf5 import FrameFile
from ioc.core.errors import RefusedError, UserError
from ioc.core.frame import DataType
from tests.support.frames import configured, frame, noise


def saver(folder: Path, **settings: Value) -> Save:
    """Return a started processor that writes to a folder of its consumer."""
    processor = configured(Save, **settings)
    processor.start(Context("Cons1", "files", 0, 1, folder))
    assert isinstance(processor, Save)
    return processor


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)], ids=str)
@pytest.mark.parametrize("dtype", [member.value.lower() for member in DataType])
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read_back(ending: str, dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    given = frame(noise(shape, dtype), 12)
    processor = saver(tmp_path, Pattern="{name}_{group}_{series}_{id:06}" + ending)
    assert processor.process(given, {}) == [given]
    path = tmp_path / f"Cons1_files_7_000012{ending}"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    if ending == ".npy":
        found = np.load(path)
    elif ending in (".tif", ".tiff"):
        found = tifffile.imread(path)
    else:
        with h5py.File(path) as file:
            found = np.asarray(file["entry/data/data"])[0]
            assert file["entry/data/unique_id"][0] == 12  # type: ignore[index]
    np.testing.assert_array_equal(found, given.data)
    assert found.dtype == given.data.dtype
    figures = processor.statistics()
    assert figures["FilesSaved"] == figures["FramesSaved"] == 1
    assert figures["BytesSaved"] == path.stat().st_size
    assert figures["LastFile"] == str(path)


def test_readers_that_others_wrote_read_a_tiff(tmp_path: Path) -> None:
    data = noise((5, 7), "uint16")
    saver(tmp_path, Pattern="{series}_{id}.tif").process(frame(data), {})
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "7_1.tif")), data)


@pytest.mark.parametrize("ending", ENDINGS)
def test_several_frames_in_one_file(ending: str, tmp_path: Path) -> None:
    images = [noise((5, 7), "uint16", number) for number in range(3)]
    frames = [frame(image, number) for number, image in enumerate(images, 4)]
    processor = saver(tmp_path, Pattern="run/{series}/{id}-{last}" + ending, FramesPerFile=3)
    assert processor.batch_size == 3
    assert processor.process_batch(Batch(frames), [{}] * 3) == frames
    path = tmp_path / "run" / "7" / f"4-6{ending}"
    if ending == ".npy":
        found = np.load(path)
    elif ending in (".tif", ".tiff"):
        found = tifffile.imread(path)
    else:
        file = FrameFile(path, "/entry/data/data")  # what replay reads
        found = np.empty((file.frames, *file.shape), file.dtype)
        for index in range(file.frames):
            file.read_into(index, found[index])
        file.close()
        with h5py.File(path) as opened:
            assert list(opened["entry/data/unique_id"]) == [4, 5, 6]  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, images)


def test_frames_of_different_sizes_do_not_go_into_one_file(tmp_path: Path) -> None:
    processor = saver(tmp_path, FramesPerFile=2)
    with pytest.raises(UserError, match=r"frame 2: expected frames of \(2, 2\) uint8 in one batch"):
        processor.process_batch(Batch([frame(np.zeros((2, 2), np.uint8)), frame(np.zeros((2, 3)), 2)]), [{}, {}])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "pattern",
    [
        "{series}_{id}",
        "{series}_{id}.jpg",
        "{id}.h5",
        "{series}.h5",
        "/tmp/{series}_{id}.h5",
        "../{series}_{id}.h5",
        "{series}_{id}_{secret}.h5",
        "{series.__class__}_{id}.h5",
        "{series[0]}_{id}.h5",
        "{series!r}_{id}.h5",
        "{series}_{id:99999999}.h5",
        "{series}_{id:{series}}.h5",
        "{series}_{id:>30}.h5",
        "{series}_{id.h5",
        "{}_{series}_{id}.h5",
        "{name:06}_{series}_{id}.h5",
        "{series}_{id}\0.h5",
        "x" * 200 + "{series}_{id}.h5",
    ],
)
def test_a_pattern_that_could_do_harm_is_refused(pattern: str) -> None:
    with pytest.raises(RefusedError, match="setting Pattern"):
        FilePattern(pattern, ENDINGS)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for value in (1, 2):
        write_whole(path, content_of([frame(np.full((2, 2), value))], ".npy"))
        assert np.load(path)[0, 0] == value
    assert [one.name for one in tmp_path.iterdir()] == ["a.npy"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    processor = saver(tmp_path, Folder=str(tmp_path / "file"))
    with pytest.raises(FileError, match=r"file/7_000001\.h5: File exists; no frame of it is saved"):
        processor.process(frame(np.zeros((2, 2))), {})
    assert processor.statistics() == {}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_sentence(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Path, _target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(
        FileError, match=r"a\.npy: expected room for 160 bytes, found \d+ free .*; make room on the disk"
    ):
        write_whole(tmp_path / "a.npy", content_of([frame(np.zeros((2, 2)))], ".npy"))
    assert not list(tmp_path.iterdir())


FILL = """
import sys
from pathlib import Path
import numpy as np
from consumers.frame_files import FileError, content_of, write_whole
from ioc.core.frame import Frame
folder = Path(sys.argv[1])
for number in range(100):
    for ending in (".h5", ".tif", ".npy"):
        try:
            write_whole(folder / f"{number}{ending}", content_of([Frame(1, 1, 1, np.ones((200, 200)))], ending))
        except FileError as error:
            print(error)
            names = sorted(one.name for one in folder.iterdir())
            assert names and not [name for name in names if name.endswith(".part")], names
            assert all((folder / name).stat().st_size > 320_000 for name in names), names
            sys.exit(0)
sys.exit("the disk did not fill up")
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no command `unshare` to mount a small disk with")
    (tmp_path / "disk").mkdir()
    mount = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    tmpfs = f"mount -t tmpfs -o size=1500k none {tmp_path}/disk"
    if subprocess.run([*mount, tmpfs], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk in a namespace of its own")
    script = [*mount, f'{tmpfs} && exec "$0" "$@"', sys.executable, "-c", FILL, str(tmp_path / "disk")]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No space left on device" in done.stdout
    assert "make room on the disk" in done.stdout
