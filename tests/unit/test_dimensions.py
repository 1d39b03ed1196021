"""What of a sensor a frame shows: noted by detector and plug-ins, told in NTNDArray's `dimension`, taken from it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.processors.bin import Bin
from consumers.processors.flip import Flip
from consumers.processors.region import Region
from consumers.processors.rotate import Rotate
from detector_sim.images import ImageStore
from detector_sim.ramp import Ramp
from detector_sim.readout import read_out
from ioc.channels.ntndarray import from_value, to_value
from ioc.channels.pva_wire_image import image_of
from ioc.core.camera_config import ReadoutConfig
from ioc.core.compressed import codec_of, packed, unpacked, without_note
from ioc.core.dimensions import NAME, WHOLE, Dimension, dimensions_of, fastest_first, with_dimensions
from ioc.core.frame import DataType, Frame
from tests.support.plugin_rig import Rig, image

numbers = st.integers(0, (1 << 31) - 1)
dimension = st.builds(Dimension, numbers, st.integers(1, 1 << 20), st.booleans())


def noted(shape: tuple[int, ...], *dimensions: Dimension, dtype: str = "uint8") -> Frame:
    """Return a frame that shows this of a sensor."""
    one = image(np.zeros(shape, dtype))
    return replace(one, attributes=with_dimensions({}, shape, dimensions))


def shown(frame: Frame) -> list[tuple[int, int, int, int, bool]]:
    """Return `dimension` as both servers of images tell it."""
    entries = [
        tuple(one[name] for name in ("size", "offset", "fullSize", "binning", "reverse"))
        for one in to_value(frame)["dimension"]
    ]
    image_of(frame)  # the other server encodes what fastest_first says
    again = [
        (size, one.offset, size, one.binning, one.reverse)
        for size, one in fastest_first(frame.attributes, frame.data.shape)
    ]
    assert entries == again
    return again


@given(st.lists(dimension, min_size=2, max_size=2), st.booleans())
def test_a_note_says_what_was_noted(dimensions: list[Dimension], colour: bool) -> None:
    shape = (5, 7, 3) if colour else (5, 7)
    shown = [*dimensions, WHOLE][: len(shape)]
    attributes = with_dimensions({"Name": "gold"}, shape, shown)
    assert dimensions_of(attributes, shape) == tuple(shown)
    assert (NAME in attributes) == any(one != WHOLE for one in shown)
    assert without_note(attributes) == {"Name": "gold"}


@given(dimension, dimension)
def test_parts_of_parts_add_up(one: Dimension, other: Dimension) -> None:
    found = one.part(other.offset, other.binning, other.reverse)
    assert found.offset == min(one.offset + other.offset, (1 << 31) - 1)
    assert found.binning == min(one.binning * other.binning, (1 << 31) - 1)
    assert found.reverse == (one.reverse != other.reverse)


@pytest.mark.parametrize("note", [5, "", "5,7", "5,7;1,1,0", "5,7;1,1,0;1,1,2", "5,8;1,1,0;1,1,0", "5,7;-1,1,0;1,1,0"])
def test_a_note_that_cannot_be_or_is_of_another_shape_tells_nothing(note: object) -> None:
    assert dimensions_of({NAME: note}, (5, 7)) == (WHOLE, WHOLE)  # type: ignore[dict-item]


def test_the_detectors_readout_is_told(tmp_path: object) -> None:
    config = ReadoutConfig(offset=(4, 2), size=(8, 6), binning=(2, 1), reverse=(False, True))
    source, readout = read_out(Ramp((20, 30), DataType.UINT8), config)
    store = ImageStore(source, 1 << 24, 16, readout)
    try:
        found = store.image(0)
        assert found is not None
        frame = Frame(1, 1, 0, found.slot.array, found.attributes)
        assert shown(frame) == [(4, 4, 4, 2, False), (6, 2, 6, 1, True)]
    finally:
        for segment in store.close():
            segment.close()


def test_the_whole_sensor_needs_no_note() -> None:
    source, readout = read_out(Ramp((20, 30), DataType.UINT8), ReadoutConfig())
    store = ImageStore(source, 1 << 24, 16, readout)
    found = store.image(0)
    assert found is not None and not found.attributes
    for segment in store.close():
        segment.close()


def test_a_region_of_a_region_is_told_from_the_sensor_on() -> None:
    rig = Rig()
    rig.add("ROI1", MinX=3, SizeX=4, BinX=2, ReverseY=True, MinY=1, SizeY=2)
    rig.feed(noted((6, 10), Dimension(5, 1, True), Dimension(100, 4, False)))
    (out,) = rig.published["ROI1"]
    assert shown(out) == [(2, 103, 2, 8, False), (2, 6, 2, 1, False)]


def test_a_region_that_turns_colour_to_mono_keeps_rows_and_columns() -> None:
    rig = Rig()
    rig.add("ROI1", MinX=1, SizeZ=1, MinZ=1)
    rig.feed(image(np.zeros((4, 5, 3), np.uint8)))
    (out,) = rig.published["ROI1"]
    assert shown(out) == [(4, 1, 4, 1, False), (4, 0, 4, 1, False)]


def test_processors_tell_what_they_do_and_a_turn_cannot_be_told() -> None:
    frame = image(np.zeros((6, 8), np.uint8))

    def made(processor: object, **settings: object) -> Frame:
        processor.settings = {**processor.settings, **settings}  # type: ignore[attr-defined]
        return processor.process(frame, {})  # type: ignore[attr-defined]

    assert shown(made(Region(), MinX=2, MinY=1)) == [(6, 2, 6, 1, False), (5, 1, 5, 1, False)]
    assert shown(made(Bin(), BinX=2, BinY=3)) == [(4, 0, 4, 2, False), (2, 0, 2, 3, False)]
    frame = made(Flip(), X=True, Y=False)
    assert shown(frame) == [(8, 0, 8, 1, True), (6, 0, 6, 1, False)]
    assert shown(made(Flip(), X=True, Y=False)) == [(8, 0, 8, 1, False), (6, 0, 6, 1, False)]
    assert NAME not in made(Rotate(), Angle="180").attributes


def test_what_a_foreign_server_tells_is_kept() -> None:
    one = noted((4, 6), Dimension(2, 1, True), Dimension(7, 3, False), dtype="uint16")
    found = from_value(to_value(one))
    assert found.attributes[NAME] == one.attributes[NAME]
    value = to_value(image(np.zeros((4, 6), np.uint16)))
    value["dimension"] = [{"size": 6}, {"size": 4}]  # servers that leave all else at 0, which is no binning
    assert NAME not in from_value(value).attributes


def test_colours_of_a_foreign_server_are_put_last() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    value = to_value(image(pixels))
    value["dimension"] = [{"size": 6, "offset": 7}, {"size": 3}, {"size": 4, "offset": 2}]
    value["attribute"] = [{"name": "ColorMode", "value": ("i", 3)}]
    found = from_value(value)
    assert found.data.shape == (4, 6, 3)
    assert dimensions_of(found.attributes, found.data.shape) == (Dimension(2), Dimension(7), WHOLE)


def test_compressed_frames_keep_the_note() -> None:
    whole = noted((4, 6), Dimension(2, 1, True), Dimension(7, 3, False))
    small = packed(whole, "lz4", np.zeros(5, np.uint8))
    assert [one["offset"] for one in to_value(small)["dimension"]] == [7, 2]
    codec = codec_of(small)
    assert codec is not None
    assert unpacked(small, whole.data).attributes == whole.attributes
    found = from_value(to_value(small), compressed=True)
    assert dimensions_of(found.attributes, (4, 6)) == (Dimension(2, 1, True), Dimension(7, 3, False))
