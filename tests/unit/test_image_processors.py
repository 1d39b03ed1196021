"""The processors that change images, each against NumPy done the plain way."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.processor import frames_of
from consumers.processors.accumulate import Accumulate
from consumers.processors.bin import Bin
from consumers.processors.correct import Correct
from consumers.processors.flip import Flip
from consumers.processors.histogram import Histogram
from consumers.processors.hot_pixels import HotPixels
from consumers.processors.mask import Mask
from consumers.processors.region import Region
from consumers.processors.rotate import Rotate
from consumers.processors.threshold import Threshold
from ioc.core.errors import InputError, RefusedError
from ioc.core.frame import DataType
from tests.support.frames import configured, frame, noise, one_of

TYPES = [member.value.lower() for member in DataType]
SHAPES = [(9, 14), (7, 5, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_region(dtype: str, shape: tuple[int, ...]) -> None:
    data = noise(shape, dtype)
    region = configured(Region, MinX=1, MinY=2, SizeX=3, SizeY=4)
    np.testing.assert_array_equal(one_of(region, data), data[2:6, 1:4])
    np.testing.assert_array_equal(one_of(configured(Region), data), data)
    np.testing.assert_array_equal(one_of(configured(Region, MinX=2, MinY=3, SizeX=999), data), data[3:, 2:])


@pytest.mark.parametrize("outside", [{"MinX": 14}, {"MinY": 9}])
def test_a_region_outside_the_frame_fails(outside: dict[str, int]) -> None:
    with pytest.raises(InputError, match="region: expected MinX below 14 and MinY below 9"):
        configured(Region, **outside).process(frame(noise((9, 14), "uint8")), {})


def plain_bins(data: NDArray, across: int, down: int) -> NDArray:
    """Return the sums of blocks, in Python."""
    rows, columns = data.shape[0] // down, data.shape[1] // across
    wide = data.astype(object if data.dtype.kind in "ui" else np.float64)
    return np.array(
        [
            [
                wide[y * down : y * down + down, x * across : x * across + across].sum(axis=(0, 1))
                for x in range(columns)
            ]
            for y in range(rows)
        ]
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [one for one in TYPES if not one.endswith("int64")])
def test_bin(dtype: str, shape: tuple[int, ...]) -> None:
    data = noise(shape, dtype)
    expected = plain_bins(data, 2, 3).astype(np.float64)
    sums = one_of(configured(Bin, BinX=2, BinY=3), data)
    assert sums.dtype.itemsize >= 4
    np.testing.assert_allclose(sums.astype(np.float64), expected, rtol=1e-6 if dtype == "float32" else 1e-12)
    means = one_of(configured(Bin, BinX=2, BinY=3, Method="mean"), data)
    np.testing.assert_allclose(means, expected / 6, rtol=1e-6, atol=1e-6)


def test_the_largest_blocks_do_not_overflow() -> None:
    for dtype, value in (("uint8", 255), ("int8", -128), ("uint16", 65535), ("uint32", 2**32 - 1)):
        sums = one_of(configured(Bin, BinX=4096, BinY=64), np.full((64, 4096), value, dtype))
        assert int(sums[0, 0]) == 4096 * 64 * value


def test_bins_larger_than_the_frame_fail() -> None:
    with pytest.raises(InputError, match="bin: expected blocks of at most"):
        configured(Bin, BinX=15).process(frame(noise((9, 14), "uint8")), {})


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rotate_and_flip(shape: tuple[int, ...]) -> None:
    data = noise(shape, "uint16")
    height, width = shape[:2]
    quarter = np.array([[data[height - 1 - x, y] for x in range(height)] for y in range(width)])
    np.testing.assert_array_equal(one_of(configured(Rotate), data), quarter)
    np.testing.assert_array_equal(one_of(configured(Rotate, Angle="0"), data), data)
    np.testing.assert_array_equal(one_of(configured(Rotate, Angle="180"), data), data[::-1, ::-1])
    back = one_of(configured(Rotate, Angle="270"), quarter)
    np.testing.assert_array_equal(back, data)
    np.testing.assert_array_equal(one_of(configured(Flip), data), data[:, ::-1])
    np.testing.assert_array_equal(one_of(configured(Flip, X=False, Y=True), data), data[::-1])
    np.testing.assert_array_equal(one_of(configured(Flip, Y=True), data), data[::-1, ::-1])


@pytest.mark.parametrize("fill", [0.0, -5.0, 1e9])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_mask(dtype: str, fill: float, tmp_path: Path) -> None:
    bad = np.random.default_rng(3).random((9, 14)) < 0.2
    np.save(tmp_path / "bad.npy", bad)
    data = noise((9, 14), dtype)
    mask = configured(Mask, File=str(tmp_path / "bad.npy"), Fill=fill)
    limits = np.iinfo(dtype) if dtype != "float32" else np.finfo(np.float32)
    expected = np.where(bad, np.array(min(max(fill, float(limits.min)), float(limits.max)), dtype), data)
    np.testing.assert_array_equal(one_of(mask, data), expected)
    assert mask.statistics() == {"Masked": int(bad.sum())}
    with pytest.raises(InputError, match=r"mask: expected an image of \(9, 15\)"):
        mask.process(frame(noise((9, 15), dtype)), {})


def test_a_mask_has_to_be_a_file_with_an_image(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "line.npy", np.zeros(5))
    for name in ("", "nothing.npy", "text.npy", "object.npy", "line.npy"):
        with pytest.raises(RefusedError, match=r"setting File: .*expected"):
            configured(Mask, File=str(tmp_path / name) if name else "")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", TYPES)
def test_correct(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    dark = np.random.default_rng(1).uniform(0, 10, shape[:2])
    flats = np.random.default_rng(2).uniform(5, 200, (4, *shape[:2]))
    flats[:, 1, 1] = 0  # a dead pixel
    np.save(tmp_path / "dark.npy", dark)
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["flats"], file["other"] = flats, flats + 1
    data = np.abs(noise(shape, dtype))
    correct = configured(
        Correct, DarkFile=str(tmp_path / "dark.npy"), FlatFile=f"{tmp_path}/flat.h5:/flats", Scale=100.0
    )
    found = one_of(correct, data)
    divisor = flats.mean(axis=0) - dark
    with np.errstate(divide="ignore"):
        gain = np.where(divisor > 0, 1 / divisor, 0)
    many = (slice(None), slice(None), np.newaxis) if len(shape) == 3 else ...
    np.testing.assert_allclose(found, 100 * (data.astype(np.float64) - dark[many]) * gain[many], rtol=2e-5, atol=1e-3)
    assert found[1, 1].max() == 0
    assert found.dtype == (np.float32 if np.dtype(dtype).itemsize <= 2 else np.float64)


def test_correct_needs_images_of_the_frames_size(tmp_path: Path) -> None:
    np.save(tmp_path / "dark.npy", np.zeros((3, 4)))
    correct = configured(Correct, DarkFile=str(tmp_path / "dark.npy"))
    with pytest.raises(InputError, match=r"dark image: expected an image of \(4, 4\)"):
        correct.process(frame(np.zeros((4, 4), np.uint8)), {})
    np.testing.assert_array_equal(one_of(configured(Correct), np.full((2, 2), 7, np.uint8)), np.full((2, 2), 7.0))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_threshold(dtype: str) -> None:
    data = noise((30, 40), dtype)
    low, high = 20.0, 90.0
    inside = np.array([[low <= pixel <= high for pixel in row] for row in data.tolist()])
    zeroed = configured(Threshold, Low=low, High=high)
    np.testing.assert_array_equal(one_of(zeroed, data), np.where(inside, data, 0))
    assert one_of(zeroed, data).dtype == data.dtype
    assert zeroed.statistics() == {"Inside": int(inside.sum())}
    binary = one_of(configured(Threshold, Low=low, High=high, Method="binary"), data)
    np.testing.assert_array_equal(binary, inside.astype(np.uint8))
    clipped = one_of(configured(Threshold, Low=low, High=high, Method="clip"), data)
    np.testing.assert_array_equal(clipped, np.clip(data.astype(np.float64), low, high).astype(dtype))
    untouched = one_of(configured(Threshold, Low=-1e18), data)
    np.testing.assert_array_equal(untouched, data)


def test_pixels_that_are_not_numbers_are_outside() -> None:
    data = np.array([[np.nan, 5.0], [np.inf, -1.0]], np.float32)
    np.testing.assert_array_equal(one_of(configured(Threshold), data), [[0, 5], [0, 0]])


@pytest.mark.parametrize("method", ["sum", "mean"])
@pytest.mark.parametrize("dtype", TYPES)
def test_accumulate(dtype: str, method: str) -> None:
    images = [noise((4, 6), dtype, seed) // 8 for seed in range(7)]
    accumulate = configured(Accumulate, Frames=3, Method=method)
    found = []
    for number, image in enumerate(images, 1):
        shared = image.copy()
        found += frames_of(accumulate.process(frame(shared, number), {}))
        shared[:] = 0  # the memory is used again
    assert accumulate.statistics() == {"Waiting": 1}
    found += frames_of(accumulate.flush())
    assert accumulate.flush() == []
    assert [(one.unique_id, one.attributes["Accumulated"]) for one in found] == [(3, 3), (6, 3), (7, 1)]
    for one, first, count in zip(found, (0, 3, 6), (3, 3, 1), strict=True):
        expected = np.sum([image.astype(object) for image in images[first : first + count]], axis=0)
        expected = expected / count if method == "mean" else expected
        np.testing.assert_allclose(one.data.astype(np.float64), expected.astype(np.float64), rtol=1e-12)


def test_accumulate_begins_anew_where_frames_do_not_go_together() -> None:
    accumulate = configured(Accumulate, Frames=5)
    found = []
    for number, (shape, series) in enumerate([((2, 2), 1), ((2, 2), 1), ((2, 3), 1), ((2, 3), 2)], 1):
        found += frames_of(accumulate.process(frame(np.ones(shape, np.uint8), number, series), {}))
    found += frames_of(accumulate.flush())
    assert [(one.series, one.data.shape, one.attributes["Accumulated"]) for one in found] == [
        (1, (2, 2), 2),
        (1, (2, 3), 1),
        (2, (2, 3), 1),
    ]


def plain_hot(data: NDArray, threshold: float) -> tuple[NDArray, int]:
    """Return an image with its hot pixels replaced, and their number, pixel by pixel."""
    around, clean, hot = np.pad(data, 1, mode="reflect"), data.copy(), 0
    for y, x in np.ndindex(data.shape):
        neighbours = np.delete(around[y : y + 3, x : x + 3].reshape(-1), 4)
        median = np.median(neighbours)
        if float(data[y, x]) - median > threshold:
            clean[y, x], hot = np.array(median).astype(data.dtype), hot + 1
    return clean, hot


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_hot_pixels(dtype: str) -> None:
    random = np.random.default_rng(5)
    data = random.integers(0, 20, (24, 31)).astype(dtype)
    data[random.random(data.shape) < 0.05] = 120
    data[0, 0] = data[23, 30] = data[0, 15] = 127
    processor = configured(HotPixels, Threshold=40.0)
    found = one_of(processor, data)
    expected, hot = plain_hot(data, 40.0)
    np.testing.assert_array_equal(found, expected)
    assert hot > 10
    assert processor.statistics() == {"HotPixels": hot}


def test_hot_pixels_of_colours_and_of_frames_without_any() -> None:
    data = np.random.default_rng(6).integers(0, 20, (9, 8, 3)).astype(np.uint8)
    data[4, 4, 1] = 250
    found = one_of(configured(HotPixels), data)
    for colour in range(3):
        np.testing.assert_array_equal(found[..., colour], plain_hot(data[..., colour], 100.0)[0])
    calm = frame(np.ones((5, 5), np.uint8))
    assert configured(HotPixels).process(calm, {}) is calm
    line = frame(np.array([[1, 255, 1]], np.uint8))
    assert configured(HotPixels).process(line, {}) is line


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [one for one in TYPES if not one.endswith("int64")])
def test_histogram(dtype: str, shape: tuple[int, ...]) -> None:
    data = noise(shape, dtype)
    low, high, bins = -20.0, 180.0, 10
    processor = configured(Histogram, Low=low, High=high, Bins=bins)
    found = one_of(processor, data)
    steps = [0] * bins
    pixels = data.reshape(-1).tolist()
    for pixel in pixels:
        if low <= pixel <= high:
            steps[min(bins - 1, int((pixel - low) / (high - low) * bins))] += 1
    assert found.tolist() == [steps]
    assert found.dtype == np.uint64
    figures = processor.statistics()
    assert figures["Below"] == sum(pixel < low for pixel in pixels)
    assert figures["Above"] == sum(pixel > high for pixel in pixels)
    filled = np.maximum(steps, 1)
    assert figures["Entropy"] == pytest.approx(-float((filled * np.log(filled)).sum()) / len(pixels))


def test_a_histogram_of_what_is_no_number_and_of_nothing() -> None:
    data = np.array([[np.nan, np.inf, -np.inf, 5.0]], np.float32)
    processor = configured(Histogram, Low=0.0, High=10.0, Bins=2)
    assert one_of(processor, data).tolist() == [[0, 1]]
    assert (processor.statistics()["Below"], processor.statistics()["Above"]) == (1, 1)
    with pytest.raises(InputError, match="histogram: expected Low below High"):
        configured(Histogram, Low=5.0, High=5.0).process(frame(data), {})
