"""Frames that arrive compressed: written as they are, read by h5py with hdf5plugin as what they were."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ioc.channels import hdf5_chunks
from ioc.channels import hdf5_layout as layout
from ioc.channels.compression import Options, compress
from ioc.channels.hdf5_filters import Compression
from ioc.channels.hdf5_repair import repair
from ioc.channels.hdf5_writer import FileSettings, Hdf5Writer, WriteError
from ioc.core.compressed import packed
from ioc.core.frame import Frame
from tests.unit.test_hdf5_writer import frame, ids, opened, written

FILTERS = {"lz4": "32004", "bslz4": "32008", "blosc": "32001", "zlib": "gzip", "lz4hdf5": "32004", "zstd": "32015"}


def small(number: int, codec: str, shape: tuple[int, ...] = (40, 64), dtype: str = "uint16", **options: Any) -> Frame:
    """Return a frame, compressed."""
    whole = frame(number, shape, dtype)
    return packed(whole, codec, compress(codec, whole.data, Options(**options)))


@pytest.mark.parametrize("codec", list(FILTERS))
@pytest.mark.parametrize(("shape", "dtype"), [((40, 64), "uint16"), ((33, 35), "uint8"), ((24, 40, 3), "float64")])
def test_what_arrives_compressed_is_read_as_it_was(
    tmp_path: Path, codec: str, shape: tuple[int, ...], dtype: str
) -> None:
    frames = [small(number, codec, shape, dtype) for number in range(1, 4)]
    settings = FileSettings(frames_per_chunk=4, chunk=(8, 8), compression=Compression("zlib"))
    with opened(written(tmp_path / "a.h5", frames, settings)) as file:
        data = file[layout.DATA]
        assert (data.chunks, data.dtype, list(data._filters)) == ((1, *shape), np.dtype(dtype), [FILTERS[codec]])
        np.testing.assert_array_equal(data[:], [frame(number, shape, dtype).data for number in range(1, 4)])
        assert ids(file) == [1, 2, 3]
        assert list(file[f"{layout.DETECTOR_ATTRIBUTES}/ColorMode"]) == [2 if len(shape) == 3 else 0] * 3
        assert not [name for name in file[layout.ATTRIBUTES] if name.startswith("Rayfan")]


@pytest.mark.parametrize("inner", ["blosclz", "lz4", "lz4hc", "zlib", "zstd"])
@pytest.mark.parametrize("shuffle", ["none", "byte", "bit"])
def test_every_compressor_and_shuffle_of_blosc_is_read(tmp_path: Path, inner: str, shuffle: str) -> None:
    one = small(1, "blosc", compressor=inner, shuffle=shuffle, level=3)
    with opened(written(tmp_path / "a.h5", [one])) as file:
        np.testing.assert_array_equal(file[layout.DATA][0], frame(1, (40, 64)).data)


@pytest.mark.parametrize("codec", list(FILTERS))
def test_the_bytes_go_in_as_they_are(tmp_path: Path, codec: str) -> None:
    """Nothing undoes them on the way: what lies in the file ends with what came."""
    one = small(1, codec)
    with opened(written(tmp_path / "a.h5", [one])) as file:
        _, chunk = file[layout.DATA].id.read_direct_chunk((0, 0, 0))
    assert chunk.endswith(one.data.tobytes())
    assert len(chunk) - one.data.nbytes == {"lz4": 16, "bslz4": 12}.get(codec, 0)


def test_bytes_that_are_not_of_their_codec_are_refused_and_the_others_go_on(tmp_path: Path) -> None:
    writer = Hdf5Writer(tmp_path / "a.h5", FileSettings())
    for codec in ("blosc", "bslz4", "zstd"):
        torn = small(1, codec)
        torn = replace(torn, data=torn.data[:, : torn.data.size // 2].copy())
        if codec == "zstd":
            torn.data[0, 0] ^= 1
        with pytest.raises(WriteError, match=f"compressed frame, {codec}"):
            writer.write(torn)
    writer.write(small(2, "bslz4"))
    for other in (small(3, "lz4"), frame(3, (40, 64)), small(3, "bslz4", dtype="uint8")):
        with pytest.raises(WriteError, match=r"expected \(40, 64\) uint16, bslz4"):
            writer.write(other)
    writer.write(small(4, "bslz4"))
    writer.close()
    with opened(tmp_path / "a.h5") as file:
        assert ids(file) == [2, 4]
        np.testing.assert_array_equal(file[layout.DATA][1], frame(4, (40, 64)).data)


def test_an_lz4_block_as_long_as_its_pixels_is_refused() -> None:
    """The filter takes such a block for the pixels themselves."""
    whole = frame(1, (4, 6))
    with pytest.raises(hdf5_chunks.ProtocolError, match="other than 48 bytes"):
        hdf5_chunks.chunk_of(packed(whole, "lz4", np.zeros(48, np.uint8)))


def test_a_file_of_compressed_frames_is_repaired(tmp_path: Path) -> None:
    writer = Hdf5Writer(tmp_path / "a.h5", FileSettings())
    for number in range(1, 6):
        writer.write(small(number, "bslz4"))
    writer.flush()
    (tmp_path / "killed.h5").write_bytes((tmp_path / "a.h5").read_bytes())
    writer.close()
    assert repair(tmp_path / "killed.h5").frames == 5
    with opened(tmp_path / "killed.h5") as file:
        np.testing.assert_array_equal(file[layout.DATA][4], frame(5, (40, 64)).data)
