"""Pictures of frames: binning, contrast, histogram, true values; and who gets a new one when."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ioc.channels.compression import Options, compress
from ioc.channels.pva_snapshots import Identity
from ioc.core.compressed import CODECS, SHAPE, packed
from ioc.core.errors import PeerError, ProtocolError
from ioc.core.frame import DataType, Frame
from ioc.web.picture import Wish, binned, draw
from ioc.web.pixels import with_pixels
from ioc.web.viewer import MOST_WAITING, Viewer


def frame(data: np.ndarray, unique_id: int = 1) -> Frame:
    return Frame(3, unique_id, 1_000_000_007 * unique_id, data)


@settings(max_examples=40)
@given(st.data())
def test_any_frame_has_a_picture(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(DataType)))
    shape = data.draw(st.sampled_from([(1, 1), (5, 3), (3, 17), (4, 6, 3)]))
    pixels = data.draw(arrays.arrays(kind.dtype, shape))
    most = data.draw(st.integers(1, 20))
    picture = draw(frame(pixels), Wish(most=most, log=data.draw(st.booleans()), cursor=(0, 0)))
    width, height = picture.facts["shown"]
    assert max(width, height) <= most
    assert len(picture.pixels) == width * height * picture.facts["colors"]
    assert picture.facts["cursor"]["text"].split(", ")[0] == str(pixels[0, 0].reshape(-1)[0].item())
    assert picture.facts["contrast"][0] < picture.facts["contrast"][1]


def test_blocks_are_averaged_and_smaller_ones_at_the_edges_too() -> None:
    data = np.arange(35, dtype=np.uint16).reshape(5, 7)
    small = binned(data, 3)
    assert small.shape == (2, 3)
    assert small[0, 0] == data[:3, :3].mean()
    assert small[1, 2] == data[3:, 6:].mean()
    color = np.stack([data, 2 * data, 3 * data], axis=2)
    assert binned(color, 3)[1, 2].tolist() == [small[1, 2], 2 * small[1, 2], 3 * small[1, 2]]


def test_contrast_maps_black_and_white() -> None:
    data = np.array([[0, 100, 200, 300]], np.uint16)
    picture = draw(frame(data), Wish(low=100.0, high=200.0))
    assert list(picture.pixels) == [0, 0, 255, 255]
    assert list(draw(frame(data), Wish(low=0.0, high=300.0)).pixels) == [0, 85, 170, 255]
    assert draw(frame(data), Wish(low=0.0, high=300.0, log=True)).pixels[1] > 180
    assert draw(frame(np.full((4, 4), 7, np.uint8)), Wish()).facts["contrast"][0] == 7.0


def test_what_is_no_number_is_black_and_not_counted() -> None:
    data = np.array([[np.nan, np.inf], [-np.inf, 5.0]], np.float32)
    picture = draw(frame(data), Wish(low=0.0, high=10.0))
    assert list(picture.pixels) == [0, 255, 0, 127]
    assert sum(picture.facts["histogram"]["counts"]) == 1
    assert draw(frame(np.full((2, 2), np.nan)), Wish(cursor=(1, 1))).facts["cursor"]["text"] == "nan"


def test_the_cursor_tells_the_true_value_of_a_pixel_that_is_there() -> None:
    data = np.full((4000, 4), 2**63 - 1, np.int64)
    picture = draw(frame(data), Wish(most=10, cursor=(2, 3999)))
    assert picture.facts["cursor"] == {"x": 2, "y": 3999, "text": "9223372036854775807"}
    assert draw(frame(data), Wish(cursor=(4, 0))).facts["cursor"] is None
    assert draw(frame(data), Wish(cursor=(0, -1))).facts["cursor"] is None


def test_a_histogram_counts_every_pixel_of_a_small_frame() -> None:
    found = draw(frame(np.repeat(np.arange(4, dtype=np.uint8), 16).reshape(8, 8)), Wish()).facts["histogram"]
    assert (found["low"], found["high"], sum(found["counts"])) == (0.0, 3.0, 64)
    assert [count for count in found["counts"] if count] == [16] * 4


@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_that_a_codec_packed_is_shown_as_before_it(codec: str) -> None:
    plain = frame(np.add.outer(np.arange(64), np.arange(48)).astype(np.uint16))
    sent = packed(plain, codec, compress(codec, plain.data, Options()))
    assert sent.data.shape != plain.data.shape
    shown, expected = draw(with_pixels(sent), Wish()), draw(plain, Wish())
    assert (shown.facts, shown.pixels) == (expected.facts, expected.pixels)
    damaged = packed(plain, codec, compress(codec, plain.data, Options())[:-9])
    with pytest.raises(ProtocolError, match=codec):
        with_pixels(damaged)


def test_a_packed_frame_that_would_fill_the_memory_is_refused() -> None:
    small = packed(frame(np.zeros((4, 4), np.uint8)), "zstd", np.zeros(9, np.uint8))
    large = Frame(3, 1, 1, small.data, {**small.attributes, SHAPE: "40000,40000"})
    with pytest.raises(PeerError, match="found 1600000000; look at the frames before the codec"):
        with_pixels(large)


class FakeSource:
    """A channel whose newest frame a test sets; it tells how often it was asked."""

    def __init__(self) -> None:
        self.unique_id: int | None = 1
        self.looked = self.fetched = 0
        self.error: PeerError | None = None
        self.codec: str | None = None
        self.hold: Callable[[], object] = lambda: None

    def identity(self, name: str) -> Identity:
        self.looked += 1
        self.hold()
        if self.error is not None:
            raise self.error
        return Identity(self.unique_id or 0, 1_000_000_007 * (self.unique_id or 0))

    def fetch(self, name: str) -> Frame | None:
        self.fetched += 1
        if self.unique_id is None:
            return None
        found = frame(np.full((4, 4), 7, np.uint8), self.unique_id)
        return packed(found, self.codec, compress(self.codec, found.data, Options())) if self.codec else found


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_channel_is_asked_no_faster_than_allowed_and_unchanged_frames_are_not_fetched() -> None:
    source, clock = FakeSource(), Time()
    viewer = Viewer(source, 10.0, clock)

    async def look() -> None:
        first = await viewer.picture("a", Wish(), None)
        assert first is not None
        source.unique_id = 2
        again = await viewer.picture("a", Wish(most=16), None)
        assert again is not None
        assert again.facts["id"] == 1, "within the period: the frame that is there"
        assert (source.looked, source.fetched) == (1, 1)
        clock.now += 0.11
        newer = await viewer.picture("a", Wish(), Identity(1, 1_000_000_007))
        assert newer is not None
        assert newer.facts["id"] == 2
        clock.now += 0.11
        assert await viewer.picture("a", Wish(), Identity(2, 2_000_000_014)) is None
        assert (source.looked, source.fetched) == (3, 2)

    asyncio.run(look())
    viewer.close()


def test_a_packed_frame_is_unpacked_once_for_all_who_look() -> None:
    source = FakeSource()
    source.codec = "blosc"
    viewer = Viewer(source, 10.0, Time())

    async def look() -> None:
        for wish in (Wish(), Wish(cursor=(1, 2))):
            found = await viewer.picture("a", wish, None)
            assert found is not None
            assert found.facts["size"] == [4, 4]
        assert found.facts["cursor"]["text"] == "7"
        assert source.fetched == 1

    asyncio.run(look())
    viewer.close()


def test_before_the_first_frame_and_without_an_answer_there_is_no_picture() -> None:
    source = FakeSource()
    viewer = Viewer(source, 10.0, Time())

    async def look() -> None:
        source.unique_id = None
        assert await viewer.picture("a", Wish(), None) is None
        source.error = PeerError("a: no answer within 2 s")
        with pytest.raises(PeerError, match="no answer"):
            await viewer.picture("a", Wish(), None)

    asyncio.run(look())
    viewer.close()


def test_more_requests_than_may_wait_are_refused() -> None:
    import threading

    source, go = FakeSource(), threading.Event()
    source.hold = lambda: go.wait(20)
    viewer = Viewer(source, 10.0, Time())

    async def look() -> None:
        waiting = [asyncio.create_task(viewer.picture("a", Wish(), None)) for _ in range(MOST_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(PeerError, match="at most 32 requests"):
            await viewer.picture("a", Wish(), None)
        go.set()
        found = await asyncio.gather(*waiting)
        assert all(one is not None for one in found)

    asyncio.run(look())
    viewer.close()


def test_frames_that_nobody_looks_at_are_forgotten() -> None:
    source, clock = FakeSource(), Time()
    viewer = Viewer(source, 10.0, clock)
    asyncio.run(viewer.picture("a", Wish(), None))
    clock.now += 10
    viewer.tidy()
    assert len(viewer._shown) == 1
    clock.now += 11
    viewer.tidy()
    assert not viewer._shown
    viewer.close()
