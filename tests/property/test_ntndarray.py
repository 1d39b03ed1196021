"""NTNDArray: what goes in comes out, and no structure breaks the parser."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from p4p import Value

from ioc.channels.ntndarray import TYPE, from_value, to_value
from ioc.core.compressed import NAME, SHAPE
from ioc.core.compressed import TYPE as PIXEL_TYPE
from ioc.core.errors import ProtocolError
from ioc.core.frame import DataType, Frame

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = text.filter(lambda name: name not in ("ColorMode", "Series", NAME, SHAPE, PIXEL_TYPE))
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
scalars = st.booleans() | int64 | st.floats(allow_nan=False) | text
shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.booleans()).map(
    lambda sizes: (*sizes[:2], 3) if sizes[2] else sizes[:2]
)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Draw a frame of any data type, mono or RGB1."""
    shape = draw(shapes)
    dtype = draw(st.sampled_from(DataType)).dtype
    count = int(np.prod(shape))
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return Frame(
        series=draw(int64),
        unique_id=draw(st.integers(-(1 << 31), (1 << 31) - 1)),
        timestamp_ns=draw(st.integers(-(1 << 62), (1 << 62) - 1)),
        data=np.frombuffer(raw, dtype).reshape(shape),
        attributes=draw(st.dictionaries(names, scalars, max_size=5)),
    )


@given(frames())
@settings(deadline=None)
def test_round_trip(frame: Frame) -> None:
    back = from_value(to_value(frame))
    assert (back.series, back.unique_id, back.timestamp_ns) == (frame.series, frame.unique_id, frame.timestamp_ns)
    assert back.data.dtype == frame.data.dtype
    assert back.data.shape == frame.data.shape
    assert back.data.tobytes() == frame.data.tobytes()
    assert back.attributes == frame.attributes
    assert {name: type(value) for name, value in back.attributes.items()} == {
        name: type(value) for name, value in frame.attributes.items()
    }


@given(
    sizes=st.lists(st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-1, 4), max_size=5),
    pixels=st.integers(0, 36),
    mode=st.none() | st.integers(-1, 8) | st.floats() | text,
    codec=st.sampled_from(["", "", "jpeg", "lz4"]),
    claimed=st.integers(-3, 100),
)
@settings(deadline=None, max_examples=300)
def test_an_odd_structure_is_a_frame_or_a_protocol_error(
    sizes: list[int], pixels: int, mode: object, codec: str, claimed: int
) -> None:
    value = Value(
        TYPE,
        {
            "value": ("ubyteValue", np.zeros(pixels, np.uint8)),
            "codec": {"name": codec},
            "compressedSize": claimed,
            "dimension": [{"size": size} for size in sizes],
            "attribute": [] if mode is None else [{"name": "ColorMode", "value": mode}],
        },
    )
    try:
        frame = from_value(value)
    except ProtocolError:
        return
    assert frame.data.size == pixels
    assert frame.data.ndim == 2 or frame.data.shape[2] == 3
    assert codec == ""
