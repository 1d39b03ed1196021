"""`ROI1:`, `Trans1:` and `image1:` against NumPy done the plain way, and ADCore's rules pixel by pixel."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from numpy.typing import NDArray

from consumers.plugins.casting import cast
from consumers.plugins.sizes import Sizes
from consumers.plugins.transform import TYPES
from ioc.core.frame import DataType
from tests.support.frames import noise
from tests.support.plugin_rig import Rig, image

DTYPES = [member.value.lower() for member in DataType]


def put_out(name: str, data: NDArray, **chosen: Any) -> tuple[NDArray, dict[str, Any]]:
    """Return what a plug-in makes of an image, and what its records show then."""
    rig = Rig()
    rig.add(name, **chosen)
    rig.feed(image(data))
    (found,) = rig.out(name)
    assert found.flags.c_contiguous
    return found, dict(rig.see(name))


def plain_region(data: NDArray, spans: dict[str, tuple[int, int, int]], reverse: set[str]) -> NDArray:
    """Return a region pixel by pixel: per axis first, size and bin (NDArrayPool.cpp, convertDim)."""
    (x0, width, bin_x), (y0, height, bin_y) = spans["X"], spans["Y"]
    found = np.zeros((height // bin_y, width // bin_x), np.float64 if data.dtype.kind == "f" else object)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            block = data[y0 + row * bin_y :, x0 + column * bin_x :][:bin_y, :bin_x]
            found[row, column] = sum(block.reshape(-1).tolist())
    found = found[:, ::-1] if "X" in reverse else found
    return found[::-1] if "Y" in reverse else found


@settings(max_examples=40)
@given(
    st.sampled_from(["uint8", "int16", "uint32", "float64"]),
    st.tuples(*[st.integers(-3, 14)] * 2),
    st.tuples(*[st.integers(0, 14)] * 2),
    st.tuples(*[st.integers(0, 5)] * 2),
    st.sets(st.sampled_from("XY")),
)
def test_a_region_is_cut_binned_and_reversed(
    dtype: str, first: tuple[int, int], size: tuple[int, int], bins: tuple[int, int], reverse: set[str]
) -> None:
    data = noise((9, 11), dtype)
    chosen: dict[str, Any] = {}
    spans: dict[str, tuple[int, int, int]] = {}
    for axis, at, length in (("X", 0, 11), ("Y", 1, 9)):
        chosen |= {f"Min{axis}": first[at], f"Size{axis}": size[at], f"Bin{axis}": bins[at]}
        chosen[f"Reverse{axis}"] = axis in reverse
        begin = min(max(first[at], 0), length - 1)
        many = min(max(size[at], 1), length - begin)
        spans[axis] = begin, many, min(max(bins[at], 1), many)
    found, seen = put_out("ROI1", data, **chosen)
    expected = plain_region(data, spans, reverse)
    if data.dtype.kind == "f":
        np.testing.assert_allclose(found, expected)
    else:
        wrapped = [[int(value) % (1 << 8 * data.dtype.itemsize) for value in row] for row in expected]
        assert (found.astype(object) % (1 << 8 * data.dtype.itemsize)).tolist() == wrapped
    assert found.dtype == data.dtype
    for axis, (begin, many, step) in spans.items():
        assert [seen[f"{what}{axis}_RBV"] for what in ("Min", "Size", "Bin")] == [begin, many, step]
    assert (seen["ArraySizeY_RBV"], seen["ArraySizeX_RBV"], seen["ArraySizeZ_RBV"]) == (*found.shape, 0)
    assert (seen["MaxSizeX_RBV"], seen["MaxSizeY_RBV"], seen["MaxSizeZ_RBV"]) == (11, 9, 0)
    assert (seen["ArraySize0_RBV"], seen["ArraySize1_RBV"]) == (11, 9), "of what came in"


def test_a_region_that_is_not_enabled_along_an_axis_has_all_of_it() -> None:
    data = noise((5, 6), "uint8")
    found, _ = put_out("ROI1", data, MinX=2, SizeX=3, EnableX=False, ReverseX=True, BinX=2, MinY=1, SizeY=2)
    np.testing.assert_array_equal(found, data[1:3])
    found, seen = put_out("ROI1", data, MinX=2, SizeX=1, AutoSizeX=True)
    np.testing.assert_array_equal(found, data[:, 2:])
    assert seen["SizeX_RBV"] == 4


def test_scale_divides_before_the_type_is_made() -> None:
    data = np.full((3, 3), 200, np.uint8)
    assert put_out("ROI1", data, BinX=3, BinY=3)[0].tolist() == [[1800 % 256]]
    assert put_out("ROI1", data, BinX=3, BinY=3, EnableScale=True, Scale=9.0)[0].tolist() == [[200]]
    assert put_out("ROI1", data, EnableScale=True, Scale=0.0)[0].tolist() == data.tolist()
    found, seen = put_out("ROI1", data, BinX=3, BinY=3, DataTypeOut="Float32")
    assert (found.tolist(), found.dtype) == ([[1800.0]], np.float32)
    assert seen["DataType_RBV"] == "UInt8", "of what came in"


def test_a_region_of_colours() -> None:
    data = noise((4, 5, 3), "uint8")
    found, seen = put_out("ROI1", data, MinX=1, SizeX=2)
    np.testing.assert_array_equal(found, data[:, 1:3])
    assert (seen["ArraySizeZ_RBV"], seen["MaxSizeZ_RBV"]) == (3, 3)
    np.testing.assert_array_equal(put_out("ROI1", data, MinZ=2, SizeZ=1)[0], data[..., 2])
    np.testing.assert_array_equal(put_out("ROI1", data, ReverseZ=True)[0], data[..., ::-1])
    summed, seen = put_out("ROI1", data, BinZ=3, DataTypeOut="UInt16")
    np.testing.assert_array_equal(summed, data.sum(axis=2))
    assert seen["ColorMode_RBV"] == "RGB1" and summed.ndim == 2
    rig = Rig()
    plugin = rig.add("ROI1", SizeZ=2)
    rig.feed(image(data))
    assert plugin.account.failed == 1 and rig.out("ROI1") == []


def plain_transform(data: NDArray, kind: str) -> NDArray:
    """Return an image moved pixel by pixel (NDPluginTransform.cpp, transformNDArray)."""
    height, width = data.shape[:2]
    place = {
        "None": lambda x, y: (y, x),
        "Rot90": lambda x, y: (x, height - 1 - y),
        "Rot180": lambda x, y: (height - 1 - y, width - 1 - x),
        "Rot270": lambda x, y: (width - 1 - x, y),
        "Mirror": lambda x, y: (y, width - 1 - x),
        "Rot90Mirror": lambda x, y: (x, y),
        "Rot180Mirror": lambda x, y: (height - 1 - y, x),
        "Rot270Mirror": lambda x, y: (width - 1 - x, height - 1 - y),
    }[kind]
    turned = kind.startswith(("Rot90", "Rot270"))
    found = np.zeros((width, height, *data.shape[2:]) if turned else data.shape, data.dtype)
    for y in range(height):
        for x in range(width):
            found[place(x, y)] = data[y, x]
    return found


@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3)], ids=str)
@pytest.mark.parametrize("kind", TYPES)
def test_the_eight_transformations(kind: str, shape: tuple[int, ...]) -> None:
    data = noise(shape, "int16")
    np.testing.assert_array_equal(put_out("Trans1", data, Type=kind)[0], plain_transform(data, kind))


@pytest.mark.parametrize("element", list(DataType), ids=lambda one: one.value)
def test_array_data_has_the_type_of_its_record(element: DataType) -> None:
    data = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rig = Rig(sizes=Sizes(4, 3, 12, element))
    rig.add("image1")
    assert "ArrayData" not in rig.see("image1")
    rig.feed(image(data))
    row = rig.see("image1")["ArrayData"]
    assert (row.dtype, row.tolist()) == (element.dtype, list(range(12)))
    assert rig.published["image1"][0].data.tolist() == data.tolist(), "the frame goes on as it came"


@settings(max_examples=40)
@given(hn.arrays(np.float64, 20, elements={"allow_nan": True, "allow_infinity": True}), st.sampled_from(DTYPES))
def test_real_numbers_are_cut_off_and_saturate(values: NDArray, dtype: str) -> None:
    found = cast(values, np.dtype(dtype))
    assert found.dtype == dtype
    if found.dtype.kind == "f":
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, values.astype(dtype))
        return
    ends = np.iinfo(found.dtype)
    for value, pixel in zip(values.tolist(), found.tolist(), strict=True):
        if value != value:
            assert pixel == 0
        else:
            clamped = ends.max if value > ends.max else ends.min if value < ends.min else int(value)
            assert pixel == clamped, (value, pixel)


@settings(max_examples=40)
@given(hn.arrays(np.int64, 20), st.sampled_from([one for one in DTYPES if "int" in one]))
def test_integers_wrap_around(values: NDArray, dtype: str) -> None:
    size = np.dtype(dtype).itemsize * 8
    found = cast(values, np.dtype(dtype)).tolist()
    assert [value % (1 << size) for value in values.tolist()] == [value % (1 << size) for value in found]
