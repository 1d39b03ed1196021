"""Frames of a foreign detector in shared memory: with pixels, and compressed as they came."""

from collections import deque

import numpy as np
import pytest

from detector_sim.live import LiveImages
from ioc.channels.base import Counters
from ioc.channels.compression import Options, compress
from ioc.channels.ntndarray import from_value, to_value
from ioc.channels.pva_receiver import with_pixels
from ioc.core.compressed import CODECS, codec_of, packed
from ioc.core.errors import ProtocolError, UserError
from ioc.core.frame import Frame, Item
from tests.support.frames import frame, noise


class Foreign:
    """A receiver that gives what it was made with."""

    def __init__(self, *frames: Frame) -> None:
        self.waiting: deque[Item] = deque(frames)

    def receive(self, max_items: int, timeout: float) -> list[Item]:
        return [self.waiting.popleft() for _ in range(min(max_items, len(self.waiting)))]

    def release(self, count: int) -> None:
        pass

    def counters(self) -> Counters:
        return Counters()

    def close(self, drain: bool) -> None:
        pass


def compressed(pixels: np.ndarray, codec: str, unique_id: int = 1) -> Frame:
    """Return a frame as a codec packs it."""
    return packed(frame(pixels, unique_id), codec, compress(codec, pixels, Options()))


@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_that_comes_compressed_gets_its_pixels_back(codec: str) -> None:
    pixels = noise((33, 57), "uint16")
    came = from_value(to_value(compressed(pixels, codec, 9)), compressed=True)
    assert codec_of(came) is not None
    got = with_pixels(came)
    assert (got.unique_id, codec_of(got)) == (9, None)
    np.testing.assert_array_equal(got.data, pixels)
    assert with_pixels(got) is got


def test_damaged_bytes_are_refused() -> None:
    came = compressed(noise((33, 57), "uint16"), "bslz4")
    came.data = came.data[:, :-7]
    with pytest.raises(ProtocolError, match="bslz4"):
        with_pixels(came)


def test_compressed_frames_of_any_size_lie_in_the_same_memory() -> None:
    frames = [compressed(noise((64, 48), "uint8", seed) // (1 + seed), "bslz4", seed + 1) for seed in range(6)]
    assert len({one.data.nbytes for one in frames}) > 3, "they differ in size"
    images = LiveImages(Foreign(*frames), 1 << 22, 100)
    sizes = set()
    for came in frames:
        image = images.image(0)
        assert image is not None
        np.testing.assert_array_equal(image.data, came.data)
        assert image.attributes["SourceUniqueId"] == came.unique_id
        assert (images.shape, images.dtype, images.packed) == ((64, 48), np.uint8, ("bslz4", came.data.nbytes))
        sizes.add(images.size_bytes)
    assert len(sizes) == 1 and images.retired() == [] and images.image(0) is None
    images.close()


def test_the_memory_changes_with_the_kind_of_frames() -> None:
    pixels = noise((64, 48), "uint16")
    kinds = [frame(pixels), compressed(pixels, "lz4"), frame(pixels), frame(pixels.astype(np.uint8))]
    images = LiveImages(Foreign(*kinds), 1 << 24, 100)
    for at, came in enumerate(kinds):
        image = images.image(0)
        assert image is not None
        np.testing.assert_array_equal(image.data, came.data)
        assert images.packed[0] == ("lz4" if at == 1 else "")
        image.slot.drop()
    assert len(images.retired()) == 3
    images.close()


def test_frames_too_large_for_the_memory_are_refused_with_the_numbers() -> None:
    images = LiveImages(Foreign(frame(noise((64, 48), "uint16"))), 1 << 12, 100)
    with pytest.raises(UserError, match="at least 8 images of 6144 bytes"):
        images.image(0)
