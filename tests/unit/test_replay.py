"""Replay of HDF5, .npy and .raw files: what is read, and one clear error for each file that cannot be."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from detector_sim.source import Source, open_source
from ioc.channels import hdf5
from ioc.channels.hdf5 import FrameFile
from ioc.core.config_detector import DetectorConfig
from ioc.core.errors import ConfigError, InputError, RayfanBug
from ioc.core.frame import DataType

FRAMES = np.arange(5 * 4 * 6, dtype=np.uint16).reshape(5, 4, 6)


def replay(path: Path, **more: object) -> Source:
    """Open the source that replays `path`."""
    detector = {key: more.pop(key) for key in ("size", "data_type") if key in more}
    return open_source(DetectorConfig.model_validate({**detector, "source": {"kind": "replay", "path": path, **more}}))


def image(source: Source, index: int) -> NDArray:
    """Return one image in a fresh array."""
    out = np.empty(source.shape, source.dtype)
    source.fill(index, out)
    return out


def hdf5_file(path: Path, **datasets: object) -> Path:
    """Write data sets; `__` in a name stands for a group."""
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name.replace("__", "/")] = data
    return path


def write(path: Path, frames: NDArray) -> Path:
    """Write frames in the format of the suffix."""
    if path.suffix == ".npy":
        np.save(path, frames)
    elif path.suffix == ".raw":
        frames.tofile(path)
    else:
        hdf5_file(path, entry__data=frames)
    return path


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".nxs", ".hdf", ".H5", ".npy"])
@pytest.mark.parametrize("data_type", [member.value for member in DataType])
def test_frames_come_back_as_written(tmp_path: Path, suffix: str, data_type: str) -> None:
    frames = FRAMES.astype(data_type.lower())
    source = replay(write(tmp_path / f"frames{suffix}", frames))
    assert (source.shape, source.dtype) == ((4, 6), frames.dtype)
    for index in range(5):
        np.testing.assert_array_equal(image(source, index), frames[index])
    source.close()


@pytest.mark.parametrize("data_type", [member.value for member in DataType])
def test_raw_files_are_little_endian_with_the_configured_size_and_type(tmp_path: Path, data_type: str) -> None:
    frames = FRAMES.astype(np.dtype(data_type.lower()).newbyteorder("<"))
    source = replay(write(tmp_path / "frames.raw", frames), size=(6, 4), data_type=data_type)
    assert source.dtype == np.dtype(data_type.lower())
    np.testing.assert_array_equal(image(source, 3), FRAMES[3].astype(data_type.lower()))
    source.close()


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f8"])
def test_big_endian_pixels_are_converted(tmp_path: Path, suffix: str, dtype: str) -> None:
    source = replay(write(tmp_path / f"frames{suffix}", FRAMES.astype(dtype)))
    assert source.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(image(source, 2), FRAMES[2])
    source.close()


@pytest.mark.parametrize("suffix", [".h5", ".npy"])
def test_four_dimensions_with_three_at_the_end_are_colours(tmp_path: Path, suffix: str) -> None:
    frames = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    source = replay(write(tmp_path / f"frames{suffix}", frames))
    assert source.shape == (4, 5, 3)
    np.testing.assert_array_equal(image(source, 1), frames[1])
    source.close()


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".raw"])
def test_looping_and_showing_once(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"frames{suffix}", FRAMES)
    raw = {"size": (6, 4), "data_type": "UInt16"}
    endless, once = replay(path, **raw), replay(path, **raw, loop=False)
    assert (endless.period, endless.count) == (5, None)
    assert (once.period, once.count) == (None, 5)
    assert "again and again" in endless.describe()
    assert str(path) in once.describe()
    np.testing.assert_array_equal(image(endless, 12), FRAMES[2])
    np.testing.assert_array_equal(image(once, 4), FRAMES[4])
    with pytest.raises(RayfanBug, match="expected an image below 5, found 5"):
        image(once, 5)
    endless.close()
    once.close()


def test_the_only_data_set_like_frames_is_found(tmp_path: Path) -> None:
    path = hdf5_file(tmp_path / "a.h5", entry__data=FRAMES, entry__theta=np.zeros(5), entry__mask=np.zeros((4, 6)))
    file = FrameFile(path)
    assert (file.dataset, file.frames) == ("/entry/data", 5)
    file.close()


def test_chunked_and_compressed_data(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("d", data=FRAMES, chunks=(2, 3, 4), compression="gzip", shuffle=True)
    source = replay(tmp_path / "a.h5")
    np.testing.assert_array_equal(image(source, 3), FRAMES[3])
    source.close()


def test_links_and_virtual_data_sets_are_followed_when_named(tmp_path: Path) -> None:
    hdf5_file(tmp_path / "part.h5", d=FRAMES)
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    layout[:] = h5py.VirtualSource("part.h5", "d", FRAMES.shape)
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        file["link"] = h5py.ExternalLink("part.h5", "d")
    for name in ("virtual", "link"):
        source = replay(tmp_path / "master.h5", dataset=name)
        np.testing.assert_array_equal(image(source, 4), FRAMES[4])
        source.close()
    (tmp_path / "part.h5").unlink()
    with pytest.raises(InputError, match=r"virtual.*expected the files .* found 'no file part\.h5'"):
        replay(tmp_path / "master.h5", dataset="virtual")
    with pytest.raises(InputError, match="found 'link'"):
        replay(tmp_path / "master.h5", dataset="link")


def unknown_filter(path: Path) -> None:
    """Write a data set with a filter that nobody has; HDF5 allows it as an optional one."""
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((1, 4, 6))
        creation.set_filter(32699, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(file.id, b"d", h5py.h5t.NATIVE_UINT16, h5py.h5s.create_simple((5, 4, 6)), creation)


def damaged(path: Path) -> None:
    """Write an HDF5 file and cut it short."""
    hdf5_file(path, d=np.zeros((5, 100, 100)))
    path.write_bytes(path.read_bytes()[:3000])


BAD_HDF5: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "expected a file, found 'nothing there'; check the path"),
    "folder": (lambda path: path.mkdir(), "expected a file, found 'a folder or device'"),
    "text": (lambda path: path.write_text("not HDF5"), "expected an HDF5 file, found one that cannot be opened"),
    "no bytes": (lambda path: path.write_bytes(b""), "expected an HDF5 file, found one that cannot be opened"),
    "damaged": (damaged, "expected an HDF5 file, found one that cannot be opened"),
    "nothing inside": (lambda path: hdf5_file(path), "expected a data set with 3 dimensions .* found 'no data set'"),
    "rank 2": (lambda path: hdf5_file(path, a=FRAMES[0]), r"expected .* 3 dimensions .* found '/a \(4, 6\)'"),
    "rank 5": (lambda path: hdf5_file(path, a=FRAMES[None, None]), r"found '/a \(1, 1, 5, 4, 6\)'"),
    "scalar": (lambda path: hdf5_file(path, a=1), r"found '/a \(\)'"),
    "null": (lambda path: hdf5_file(path, a=h5py.Empty("f4")), "found '/a None'"),
    "4 colours": (lambda path: hdf5_file(path, a=np.zeros((2, 3, 3, 4))), r"4 \[frame, y, x, 3\], found"),
    "several": (lambda path: hdf5_file(path, a=FRAMES, b=FRAMES), r"found '/a \(5, 4, 6\), /b \(5, 4, 6\)'; name one"),
    "no frames": (lambda path: hdf5_file(path, a=FRAMES[:0]), r"/a: expected at least one frame .* \(0, 4, 6\)"),
    "no pixels": (lambda path: hdf5_file(path, a=FRAMES[:, :0]), r"/a: expected at least one frame .* \(5, 0, 6\)"),
    "bool": (lambda path: hdf5_file(path, a=FRAMES > 3), "/a: expected pixels of type Int8, .*, found 'bool'"),
    "complex": (lambda path: hdf5_file(path, a=FRAMES * 1j), "expected pixels of type .* found 'complex128'"),
    "float16": (lambda path: hdf5_file(path, a=FRAMES.astype("f2")), "expected pixels of type .* found 'float16'"),
    "compound": (lambda path: hdf5_file(path, a=np.zeros((2, 3, 4), "u1,f4")), "expected pixels of type .* found"),
    "text pixels": (
        lambda path: hdf5_file(path, a=np.full((2, 3, 4), b"x")),
        r"expected pixels of type .* found '\|S1'",
    ),
    "filter": (unknown_filter, "/d: expected compression that this machine can undo, found 'filter 32699'.*hdf5plugin"),
}


@pytest.mark.parametrize("name", BAD_HDF5)
def test_an_hdf5_file_that_is_not_frames_is_one_clear_error(tmp_path: Path, name: str) -> None:
    make, message = BAD_HDF5[name]
    path = tmp_path / "bad.h5"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        replay(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("/entry/nothing", r"expected a data set of the file \(/entry/data \(5, 4, 6\)\), found '/entry/nothing'"),
        ("entry", "entry: expected a data set .* found 'a group or type'"),
        ("/entry/data/deeper", "expected a data set of the file"),
    ],
)
def test_a_data_set_that_is_not_there(tmp_path: Path, dataset: str, message: str) -> None:
    path = hdf5_file(tmp_path / "a.h5", entry__data=FRAMES)
    with pytest.raises(InputError, match=message):
        replay(path, dataset=dataset)


def test_many_data_sets_are_not_all_listed(tmp_path: Path) -> None:
    path = hdf5_file(tmp_path / "a.h5", **{f"d{number:02}": FRAMES for number in range(40)})
    with pytest.raises(InputError, match=r"/d11 .* and 28 more") as caught:
        replay(path)
    assert "/d12" not in str(caught.value)


def test_a_frame_that_is_damaged_inside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "d", data=np.arange(4 * 50 * 50).reshape(4, 50, 50), chunks=(1, 50, 50), fletcher32=True
        )
        place = data.id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 100] ^= 0xFF
    path.write_bytes(content)
    source = replay(path)
    image(source, 1)
    with pytest.raises(InputError, match=r"data set /d, frame 2: cannot be read, the file may be damaged"):
        image(source, 2)
    source.close()


BAD_NPY: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "expected a file, found 'nothing there'"),
    "text": (lambda path: path.write_text("not an array"), "expected an array in NumPy's .npy format, found"),
    "empty": (lambda path: path.write_bytes(b""), "expected an array in NumPy's .npy format, found"),
    "objects": (lambda path: np.save(path, np.array([{}, {}]), allow_pickle=True), "NumPy's .npy format, found"),
    "rank 2": (lambda path: np.save(path, FRAMES[0]), r"expected 3 dimensions .* found \(4, 6\)"),
    "no frames": (lambda path: np.save(path, FRAMES[:0]), r"expected at least one frame .* found \(0, 4, 6\)"),
    "bool": (lambda path: np.save(path, FRAMES > 3), "expected pixels of type .* found 'bool'"),
}


@pytest.mark.parametrize("name", BAD_NPY)
def test_an_npy_file_that_is_not_frames_is_one_clear_error(tmp_path: Path, name: str) -> None:
    make, message = BAD_NPY[name]
    path = tmp_path / "bad.npy"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        replay(path)
    assert str(path) in str(caught.value)


def test_an_npy_file_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npy", FRAMES)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"expected an array in NumPy's .npy format, found"):
        replay(path)


@pytest.mark.parametrize("suffix", [".npy", ".raw"])
def test_a_file_that_is_cut_short_while_it_is_shown(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", FRAMES)
    source = replay(path, **({"size": (6, 4), "data_type": "UInt16"} if suffix == ".raw" else {}))
    os.truncate(path, path.stat().st_size - 10)
    image(source, 0)
    with pytest.raises(InputError, match=rf"frame {len(FRAMES) - 1}: expected .* cut short"):
        image(source, len(FRAMES) - 1)
    source.close()


def test_an_array_in_fortran_order_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(FRAMES))
    with pytest.raises(InputError, match="expected an array in C order"):
        replay(tmp_path / "a.npy")


@pytest.mark.parametrize("size", [0, 47, 49])
def test_a_raw_file_that_is_not_whole_frames(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(size))
    expected = rf"a multiple of 48 bytes \(6 x 4 pixels of UInt16\), found '{size} bytes'; set detector\.size"
    with pytest.raises(InputError, match=expected):
        replay(path, size=(6, 4), data_type="UInt16")


def test_an_unknown_suffix_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a file ending in \.h5, .*\.raw, found '\.tiff'"):
        replay(tmp_path / "a.tiff")


def test_a_data_set_of_a_file_that_has_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"detector\.source\.dataset: expected no value for a \.npy file"):
        replay(write(tmp_path / "a.npy", FRAMES), dataset="/entry/data")


def test_a_failed_open_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[h5py.File] = []
    original = hdf5._open
    monkeypatch.setattr(hdf5, "_open", lambda path: opened.append(original(path)) or opened[-1])
    with pytest.raises(InputError):
        replay(hdf5_file(tmp_path / "a.h5", a=FRAMES > 3))
    assert opened
    assert not opened[0]
