"""Compressed frames: every codec there and back, as stock clients unpack them, and damaged bytes refused."""

import subprocess
import sys

import numpy as np
import pytest

from consumers.processor import frames_of
from consumers.processors.compress import Compress
from consumers.processors.decompress import Decompress
from ioc.channels.compression import BLOSC_COMPRESSORS, Options, compress, decompress
from ioc.channels.ntndarray import from_value, to_value
from ioc.channels.pva_wire_buffer import string
from ioc.channels.pva_wire_image import image_of
from ioc.core.compressed import CODECS, NAME, SHAPE, TYPE, Codec, codec_of
from ioc.core.errors import InputError, ProtocolError
from ioc.core.frame import DataType, Frame
from tests.support.frames import configured, frame, noise

SHAPES = [(1, 1), (1, 7), (33, 129), (64, 64), (7, 11, 3), (130, 260)]


def round_trip(data: np.ndarray, **settings: str | int) -> tuple[Frame, Frame]:
    """Return an image compressed, and that decompressed."""
    (small,) = frames_of(configured(Compress, **settings).process(frame(data), {}))
    (back,) = frames_of(configured(Decompress).process(small, {}))
    return small, back


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [member.value.lower() for member in DataType])
@pytest.mark.parametrize("codec", CODECS)
def test_what_was_compressed_comes_back(codec: str, dtype: str, shape: tuple[int, ...]) -> None:
    data = noise(shape, dtype)
    data[0] = 1  # something to compress
    small, back = round_trip(data, Codec=codec)
    assert (small.data.ndim, small.data.shape[0], small.data.dtype) == (2, 1, np.uint8)
    assert back.data.dtype == data.dtype
    np.testing.assert_array_equal(back.data, data)
    assert back.attributes == {"Energy": 12.4}
    assert (back.series, back.unique_id, back.timestamp_ns) == (7, 1, 123)


@pytest.mark.parametrize("shuffle", ["none", "byte", "bit"])
@pytest.mark.parametrize("compressor", BLOSC_COMPRESSORS)
def test_blosc_with_everything_it_has(compressor: str, shuffle: str) -> None:
    data = (np.arange(10_000, dtype=np.uint16) // 100).reshape(100, 100)
    small, back = round_trip(data, Codec="blosc", Compressor=compressor, Shuffle=shuffle, Level=9)
    np.testing.assert_array_equal(back.data, data)
    assert small.data.size < data.nbytes


@pytest.mark.parametrize("block", [1, 100, 4096, 20_000, 1 << 20])
def test_lz4hdf5_in_blocks_of_any_size(block: int) -> None:
    data = np.concatenate([noise((50, 100), "uint16"), np.zeros((50, 100), np.uint16)])
    content = compress("lz4hdf5", data, Options(block=block))
    np.testing.assert_array_equal(decompress(Codec("lz4hdf5", data.shape, DataType.UINT16), content), data)


def test_the_figures_of_compression() -> None:
    processor = configured(Compress, Codec="zstd")
    small = [frames_of(processor.process(frame(np.zeros((64, 64), np.uint16)), {}))[0] for _ in range(2)]
    figures = processor.statistics()
    assert figures["BytesIn"] == 2 * 8192
    assert figures["BytesOut"] == sum(one.data.nbytes for one in small)
    assert figures["Ratio"] == 8192 / small[0].data.nbytes
    processor.reset()
    assert processor.statistics() == {}


def test_what_is_compressed_is_not_compressed_again_and_pixels_are_passed_on() -> None:
    small, back = round_trip(noise((8, 8), "uint8"))
    with pytest.raises(InputError, match="frame 1: expected pixels, found 'compressed with lz4'"):
        configured(Compress).process(small, {})
    assert configured(Decompress).process(back, {}) is back
    empty = frame(np.zeros((0, 5), np.uint8))
    assert configured(Compress).process(empty, {}) is empty


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_bytes_are_one_error(codec: str) -> None:
    data = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)
    content = compress(codec, data, Options())
    note = Codec(codec, data.shape, DataType.UINT16)
    random = np.random.default_rng(4)
    for _ in range(300):
        broken = content.copy()
        broken[random.integers(0, len(broken), 3)] = random.integers(0, 256, 3)
        broken = broken[: random.integers(0, len(broken) + 1)]
        try:
            pixels = decompress(note, broken)
        except ProtocolError:
            continue
        assert pixels.shape == data.shape  # an LZ4 stream has no checksum: the right size is all that is promised
    for wrong in (Codec(codec, (40, 49), DataType.UINT16), Codec(codec, (40, 51), DataType.UINT16)):
        with pytest.raises(ProtocolError, match="compressed frame"):
            decompress(wrong, content)


def test_a_damaged_frame_is_counted() -> None:
    small, _ = round_trip(np.zeros((8, 8), np.uint8))
    processor = configured(Decompress)
    processor.process(small, {})
    with pytest.raises(ProtocolError):
        processor.process(Frame(1, 1, 1, small.data[:, :-1], small.attributes), {})
    assert processor.statistics() == {"Unpacked": 1, "Damaged": 1}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (NAME, "gzip"),
        (NAME, 5),
        (TYPE, "Complex64"),
        (SHAPE, "8"),
        (SHAPE, "0,8"),
        (SHAPE, "8,8,4"),
        (SHAPE, "-8,8"),
        (SHAPE, "²,8"),
        (SHAPE, "99999999,99999999"),
        (SHAPE, 64),
    ],
)
def test_a_note_that_cannot_be_is_refused(name: str, value: str | int) -> None:
    small, _ = round_trip(np.zeros((8, 8), np.uint8))
    wrong = Frame(1, 1, 1, small.data, {**small.attributes, name: value})
    with pytest.raises(ProtocolError, match=f"attribute {name}"):
        codec_of(wrong)
    with pytest.raises(ValueError, match=f"attribute {name}"):
        to_value(wrong)
    with pytest.raises(ProtocolError):
        codec_of(Frame(1, 1, 1, small.data.reshape(-1, 1), small.attributes))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(9, 14), (7, 5, 3)], ids=str)
def test_as_an_ntndarray_it_is_what_areadetector_writes(codec: str, shape: tuple[int, ...]) -> None:
    data = noise(shape, "uint16")
    small, _ = round_trip(data, Codec=codec)
    value = to_value(small)
    assert value["codec.name"] == codec
    assert value["codec.parameters"] == 6  # pvData's scalar code of ushort
    assert (value["compressedSize"], value["uncompressedSize"]) == (small.data.size, data.nbytes)
    assert tuple(dimension["size"] for dimension in value["dimension"]) == shape[::-1]
    names = {attribute["name"]: attribute["value"] for attribute in value["attribute"]}
    assert names["ColorMode"] == (2 if len(shape) == 3 else 0)
    assert not {NAME, SHAPE, TYPE} & set(names)
    with pytest.raises(ProtocolError, match="codec: expected no compression"):
        from_value(value)
    found = from_value(value, compressed=True)
    np.testing.assert_array_equal(found.data, small.data)
    assert found.attributes == small.attributes
    value["uncompressedSize"] = data.nbytes + 1
    with pytest.raises(ProtocolError, match="uncompressedSize"):
        from_value(value, compressed=True)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(9, 14), (7, 5, 3)], ids=str)
def test_the_server_of_our_own_says_the_same(codec: str, shape: tuple[int, ...]) -> None:
    data = noise(shape, "uint16")
    small, back = round_trip(data, Codec=codec)
    leaves, plain = image_of(small).template.leaves, image_of(back).template.leaves
    assert (leaves["codec.name"], plain["codec.name"]) == (string(codec), string(""))
    assert leaves["compressedSize"] == small.data.size.to_bytes(8, "little")
    for same in ("codec.parameters", "uncompressedSize", "dimension", "attribute"):
        assert leaves[same] == plain[same]
    with pytest.raises(ValueError, match=f"attribute {TYPE}"):
        image_of(Frame(1, 1, 1, small.data, {**small.attributes, TYPE: "Complex64"}))


STOCK = """
import sys
import numpy as np
import pvaccess as pva
from pvapy.utility.adImageUtility import AdImageUtility
codec, height, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
content = np.frombuffer(sys.stdin.buffer.read(), np.uint8)
image = AdImageUtility.generateNtNdArray2D(5, content, width, height, "uint16", codec)
sys.stdout.buffer.write(AdImageUtility.reshapeNtNdArray(image)[1].tobytes())
"""


@pytest.mark.parametrize("codec", ["lz4", "bslz4", "blosc"])
def test_pvapys_utility_unpacks_it(codec: str) -> None:
    data = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50)
    small, _ = round_trip(data, Codec=codec)
    done = subprocess.run(
        [sys.executable, "-c", STOCK, codec, "40", "50"], input=small.data.tobytes(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == data.tobytes()
