"""`Codec1:`: compressed and back again, what is refused, and what becomes of frames that cannot be."""

from dataclasses import replace

import numpy as np
import pytest

from consumers.plugins.codec import BLOSC, COMPRESSORS
from ioc.core.compressed import codec_of, packed
from tests.support.frames import noise
from tests.support.plugin_rig import Rig, image

SERVED = [name for name, codec in COMPRESSORS.items() if codec]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compressor", SERVED)
def test_there_and_back(compressor: str, dtype: str) -> None:
    rig = Rig()
    rig.add("Codec1", Compressor=compressor, BloscShuffle="Byte")
    rig.add("Codec2", NDArrayPort="CODEC1", Mode="Decompress")
    rig.add("Stats1", NDArrayPort="CODEC1")
    data = np.repeat(noise((4, 5), dtype), 50, axis=0)
    rig.feed(image(data, Energy=12.4))
    (small,) = rig.published["Codec1"]
    codec = codec_of(small)
    assert codec is not None and (codec.name, codec.shape) == (COMPRESSORS[compressor], data.shape)
    (whole,) = rig.published["Codec2"]
    np.testing.assert_array_equal(whole.data, data)
    assert whole.data.dtype == dtype and whole.attributes == {"Energy": 12.4}
    for name in ("Codec1", "Codec2"):
        seen = rig.see(name)
        assert seen["CompFactor_RBV"] == pytest.approx(data.nbytes / small.data.nbytes)
        assert (seen["CodecStatus"], seen["CodecError"]) == ("Success", "")
    assert rig.see("Stats1")["DroppedArrays_RBV"] == 1, "it cannot take compressed frames"


@pytest.mark.parametrize("inner", [name for name, known in BLOSC.items() if known])
def test_the_compressors_of_blosc(inner: str) -> None:
    rig = Rig()
    rig.add("Codec1", Compressor="Blosc", BloscCompressor=inner, BloscShuffle="Bit", BloscCLevel=5)
    rig.add("Codec2", NDArrayPort="CODEC1", Mode="Decompress")
    data = np.zeros((40, 50), np.uint16)
    rig.feed(image(data))
    np.testing.assert_array_equal(rig.out("Codec2")[0], data)
    assert rig.see("Codec1")["CompFactor_RBV"] > 5


@pytest.mark.parametrize("name", [name for name, codec in COMPRESSORS.items() if codec is None])
def test_compressors_that_are_not_served_are_refused(name: str) -> None:
    rig = Rig()
    plugin = rig.add("Codec1", Compressor="LZ4")
    served = "None, Zlib, Blosc, LZ4, LZ4HDF5, BSLZ4"
    expected = f"Codec1:Compressor: expected one of {served}, found {name!r}; the others are not served"
    assert rig.refused("Codec1", "Compressor", name) == expected
    assert plugin.chosen["Compressor"] == "LZ4"
    assert "SNAPPY" in rig.refused("Codec1", "BloscCompressor", "SNAPPY")


def test_frames_that_need_nothing_pass() -> None:
    rig = Rig()
    rig.add("Codec1")
    data = noise((3, 4), "uint8")
    rig.feed(image(data))
    rig.put("Codec1", "Mode", "Decompress")
    rig.feed(image(data))
    assert [out.tolist() for out in rig.out("Codec1")] == [data.tolist()] * 2
    assert rig.see("Codec1")["CodecStatus"] == "Success"


def test_a_frame_that_is_compressed_already_is_a_warning_and_a_damaged_one_an_error() -> None:
    rig = Rig()
    rig.add("Codec1", Compressor="LZ4")
    given = packed(image(noise((3, 4), "uint8")), "lz4", np.arange(7, dtype=np.uint8))
    rig.feed(given)
    seen = rig.see("Codec1")
    assert (seen["CodecStatus"], seen["CodecError"]) == ("Warning", "the frame is compressed already, with lz4")
    rig.put("Codec1", "Mode", "Decompress")
    rig.feed(given)
    seen = rig.see("Codec1")
    assert seen["CodecStatus"] == "Error" and "compressed frame, lz4" in str(seen["CodecError"])
    assert [out.tolist() for out in rig.out("Codec1")] == [given.data.tolist()] * 2, "put out as they came"
    rig.feed(replace(given, attributes={**given.attributes, "RayfanCodecShape": "3,x"}))
    assert rig.plugins["Codec1"].account.arrays == 3
    rig.feed(image(noise((3, 4), "uint8")))
    assert rig.see("Codec1")["CodecStatus"] == "Success"
