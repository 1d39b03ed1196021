"""Image channels over pvAccess: server and clients of p4p on loopback."""

import gc
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from p4p import Value
from p4p.client.thread import Context
from p4p.server.raw import SharedPV

from ioc.channels.base import Accepted, Refusal
from ioc.channels.compression import Options, compress
from ioc.channels.images import Images, open_images
from ioc.channels.ntndarray import from_value, is_empty
from ioc.channels.pva import ImageChannels, MemberAddress, PvaReceiver, PvaServer
from ioc.channels.pva_receiver import with_pixels
from ioc.channels.pva_source import Packing, Wish
from ioc.core.compressed import CODECS, codec_of, packed
from ioc.core.config import ImageBackend
from ioc.core.errors import RayfanBug
from ioc.core.frame import DataType, EndOfSeries, Frame
from tests.support.epics import alone_on_loopback, random_prefix
from tests.support.pva_images import (
    DEADLINE,
    Chosen,
    Roster,
    assert_whole,
    numbered,
    publish_all,
    receive,
    receive_until,
    serving,
    wait_done,
    wait_until,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, params=list(ImageBackend), ids=lambda backend: backend.value)
def loopback(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep EPICS on loopback, choose the server, and see that no thread is left over."""
    monkeypatch.setattr(Chosen, "backend", request.param)
    with alone_on_loopback(monkeypatch):
        yield


@pytest.fixture
def name() -> str:
    return f"{random_prefix()}Pva1:Image"


@pytest.fixture
def context() -> Iterator[Context]:
    with Context("pva", nt=False) as context:
        yield context


def newest(context: Context, name: str) -> Value:
    """Return the present value of a channel."""
    value = context.get(name, timeout=DEADLINE)
    assert isinstance(value, Value)
    return value


def assert_accounted(receiver: PvaReceiver, got: int, last: int) -> None:
    """Check that what a receiver did not get of ids 1 to `last` is on its books as missed."""
    missed = sum(gap.last - gap.first + 1 for gap in receiver.missed())
    assert got + missed == last
    assert receiver.figures()["Missed"] == missed


def refused(receiver: PvaReceiver) -> int:
    """Return how many updates could not be used, after a look for more."""
    assert not receiver.receive(1, 0.0)
    return receiver.counters().errors


def test_before_the_first_frame_a_get_finds_an_empty_image(name: str, context: Context) -> None:
    with serving(name):
        value = newest(context, name)
        assert is_empty(value)
        assert value["dimension"] == []


def test_a_monitor_gets_every_frame_by_one(name: str) -> None:
    with serving(name) as (_, channel):
        receiver = PvaReceiver(name)
        try:
            wait_until(lambda: channel.watched, "a client")
            publish_all(channel, [numbered(1)])
            receive(receiver, 1)
            for unique_id in range(2, 60):
                publish_all(channel, [numbered(unique_id)])
                frame = receive(receiver, 1)[0]
                assert (frame.series, frame.unique_id) == (1, unique_id)
                assert_whole([frame])
            assert receiver.missed() == []
            assert receiver.counters().items == 59
            assert receiver.counters().bytes == 59 * 64 * 64 * 8
            assert receiver.figures() == {"Connected": 1, "Disconnects": 0, "Missed": 0, "Repeated": 0}
            wait_until(lambda: channel.counters().items == 59, "59 frames counted by the server")
        finally:
            receiver.close(drain=False)


@pytest.mark.parametrize("packing", list(Packing))
def test_compressed_frames_are_unpacked_kept_or_missed_as_it_is_said(name: str, packing: Packing) -> None:
    pixels = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30) // 50
    with serving(name) as (_, channel):
        receiver = PvaReceiver.of(name, Wish(packing=packing))
        try:
            wait_until(lambda: channel.watched, "a client")
            for unique_id, codec in enumerate(CODECS, start=1):
                publish_all(channel, [Frame(9, 2 * unique_id - 1, 5, pixels, {})])
                assert np.array_equal(receive(receiver, 1)[0].data, pixels), "it has pixels"
                plain = Frame(9, 2 * unique_id, 5, pixels, {"Codec": codec})
                publish_all(channel, [packed(plain, codec, compress(codec, pixels, Options()))])
                if packing is Packing.REFUSE:
                    wait_until(lambda at=unique_id: refused(receiver) == at, f"{unique_id} frames refused")
                    continue
                frame = receive(receiver, 1)[0]
                assert frame.attributes["Codec"] == codec
                assert (codec_of(frame) is None) is (packing is Packing.UNPACK)
                assert np.array_equal(with_pixels(frame).data, pixels)
            assert receiver.figures()["Missed"] == (len(CODECS) - 1 if packing is Packing.REFUSE else 0)
        finally:
            receiver.close(drain=False)


@pytest.mark.parametrize("color", [False, True])
def test_pixels_of_every_data_type_arrive_unchanged(name: str, color: bool) -> None:
    shape = (16, 24, 3) if color else (16, 24)
    generator = np.random.default_rng(5)
    with serving(name) as (_, channel):
        receiver = PvaReceiver(name)
        try:
            wait_until(lambda: channel.watched, "a client")
            for unique_id, data_type in enumerate(DataType, start=1):
                dtype = data_type.dtype
                data = generator.integers(0, 256, int(np.prod(shape)) * dtype.itemsize, np.uint8)
                data = np.nan_to_num(data.view(dtype)).reshape(shape)
                publish_all(channel, [Frame(9, unique_id, 1_000_000_000, data, {"Name": data_type.value})])
                frame = receive(receiver, 1)[0]
                assert frame.data.dtype == dtype
                assert np.array_equal(frame.data, data)
                assert frame.attributes == {"Name": data_type.value}
        finally:
            receiver.close(drain=False)


def test_a_fast_and_a_slow_client_see_no_torn_or_doubled_frame(name: str) -> None:
    last = 600
    with serving(name) as (_, channel):
        fast = PvaReceiver(name, queue_size=64)
        slow = PvaReceiver(name, queue_size=2, pipeline=True)  # its window shut, the server has to merge
        frames: list[Frame] = []
        few: list[Frame] = []
        try:
            publish_all(channel, [numbered(1, (128, 128))])
            receive_until(fast, 1)
            few += receive_until(slow, 1)
            for unique_id in range(2, last + 1):
                publish_all(channel, [numbered(unique_id, (128, 128))])
                frames += [item for item in fast.receive(64, 0.0) if isinstance(item, Frame)]
                if unique_id % 50 == 0:
                    few += [item for item in slow.receive(1, 0.0) if isinstance(item, Frame)]
            if frames[-1].unique_id != last:
                frames += receive_until(fast, last)
            assert_accounted(fast, len(frames) + 1, last)
            extra = last
            while few[-1].unique_id < last:  # pvxs holds back what a shut window left over until the next post
                extra += 1
                publish_all(channel, [numbered(extra, (128, 128))])
                few += [item for item in slow.receive(8, 0.1) if isinstance(item, Frame)]
            assert_accounted(slow, len(few), few[-1].unique_id)
            assert_whole(frames)
            assert_whole(few)
            assert len(few) < last / 2, "the slow client was not slow"
        finally:
            fast.close(drain=False)
            slow.close(drain=False)


def test_who_comes_late_gets_the_newest_frame(name: str, context: Context) -> None:
    with serving(name) as (_, channel):
        for unique_id in range(1, 201):
            assert channel.publish([numbered(unique_id)]) == Accepted(1)
        assert not channel.watched
        assert channel.done() >= 199
        frame = from_value(newest(context, name))
        assert frame.unique_id == 200
        assert_whole([frame])
        wait_done(channel, 200)


def test_the_newest_frame_outlives_the_end_of_its_series(name: str, context: Context) -> None:
    memory = np.empty((64, 64), np.int64)
    with serving(name) as (_, channel):
        for unique_id in (1, 2, 3):
            memory[:] = unique_id
            channel.publish([Frame(4, unique_id, 0, memory)])
        channel.publish([EndOfSeries(4, 3)])
        wait_done(channel, 4)
        memory[:] = -1  # the memory is used again
        assert_whole([from_value(newest(context, name))])


def test_a_frame_nobody_watches_is_given_back_without_another_one(name: str) -> None:
    with serving(name) as (_, channel):
        channel.publish([numbered(1)])
        wait_done(channel, 1)
        assert channel.counters().bytes == 0


def test_memory_of_a_watched_frame_is_free_when_it_is_done(name: str) -> None:
    memory = np.empty((256, 256), np.int64)
    with serving(name) as (_, channel):
        receiver = PvaReceiver(name, queue_size=256)
        frames: list[Frame] = []
        try:
            publish_all(channel, [numbered(1)])
            receive(receiver, 1)
            for unique_id in range(2, 100):
                memory[:] = unique_id
                publish_all(channel, [Frame(1, unique_id, 0, memory)])
                wait_done(channel, unique_id)
                memory[:] = -1
                frames += [item for item in receiver.receive(8, 0.0) if isinstance(item, Frame)]
            if frames[-1].unique_id != 99:
                frames += receive_until(receiver, 99)
            assert_whole(frames)
        finally:
            receiver.close(drain=False)


@pytest.mark.parametrize("loopback", [ImageBackend.P4P], indirect=True)
def test_a_full_window_refuses_the_rest_and_takes_it_later(name: str) -> None:
    with serving(name, window=4) as (images, channel):
        receiver = PvaReceiver(name)
        go_on = threading.Event()
        try:
            publish_all(channel, [numbered(1)])
            receive(receiver, 1)
            wait_done(channel, 1)
            assert isinstance(images, ImageChannels)
            images.poster.put(lambda: wait_until(go_on.is_set, "the test to go on"))
            items = [*(numbered(unique_id) for unique_id in range(2, 8)), EndOfSeries(1, 7)]
            assert channel.publish(items) == Accepted(4, Refusal.FULL)
            assert channel.publish(items[4:]) == Accepted(0, Refusal.FULL)
            go_on.set()
            wait_done(channel, 5)
            assert channel.publish(items[4:]) == Accepted(3)
            wait_done(channel, 8)
            assert [frame.unique_id for frame in receive(receiver, 6)] == list(range(2, 8))
        finally:
            go_on.set()
            receiver.close(drain=False)


@pytest.mark.parametrize("loopback", [ImageBackend.P4P], indirect=True)
def test_closing_with_drain_posts_what_was_accepted(name: str) -> None:
    with serving(name) as (images, channel):
        receiver = PvaReceiver(name)
        go_on = threading.Event()
        try:
            publish_all(channel, [numbered(1)])
            receive(receiver, 1)
            assert isinstance(images, ImageChannels)
            images.poster.put(lambda: wait_until(go_on.is_set, "the test to go on"))
            assert channel.publish([numbered(unique_id) for unique_id in range(2, 12)]) == Accepted(10)
            go_on.set()
            images.close(drain=True)
            assert channel.done() == 11
            assert not channel.alive()
            assert channel.publish([numbered(12)]) == Accepted(0, Refusal.GONE)
        finally:
            go_on.set()
            receiver.close(drain=False)


def test_a_frame_that_cannot_be_sent_is_counted_and_the_next_one_goes_on(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(name) as (_, channel):
        receiver = PvaReceiver(name)
        try:
            wait_until(lambda: channel.watched, "a client")
            publish_all(channel, [Frame(1, 1, 0, np.zeros((2, 2), np.complex64)), numbered(2)])
            assert [frame.unique_id for frame in receive(receiver, 1)] == [2]
            assert channel.counters().errors == 1
            assert "frame 1 is not served" in caplog.text
        finally:
            receiver.close(drain=False)


def test_a_receiver_reconnects_and_counts_it(name: str) -> None:
    images = open_images(Chosen.backend, name)
    channel = images.add(name)
    server: PvaServer | Images = PvaServer(images.providers) if images.providers else images
    server.start()
    receiver = PvaReceiver(name)
    try:
        publish_all(channel, [numbered(1)])
        receive(receiver, 1)
        server.stop()
        wait_until(lambda: not receiver.receive(1, 0.0) and not receiver.connected, "a disconnect")
        server.start()
        wait_until(lambda: not receiver.receive(1, 0.0) and receiver.connected, "a new connection")
        publish_all(channel, [numbered(2)])
        assert [frame.unique_id for frame in receive(receiver, 1)] == [2]
        figures = receiver.figures()
        assert (figures["Disconnects"], figures["Repeated"], figures["Missed"]) == (1, 1, 0)
    finally:
        receiver.close(drain=False)
        images.close()
        server.stop()


def test_a_closed_receiver_can_still_give_what_was_here(name: str) -> None:
    with serving(name) as (_, channel):
        receiver = PvaReceiver(name)
        try:
            publish_all(channel, [numbered(1)])
            receive(receiver, 1)
            publish_all(channel, [numbered(unique_id) for unique_id in range(2, 6)])
            kept = receive(receiver, 3)
            answer: queue.Queue[object] = queue.Queue()
            get = receiver._source._context.get(
                name, answer.put
            )  # on the same connection: its answer comes after frame 5
            answer.get(timeout=DEADLINE)
            get.close()
        finally:
            receiver.close(drain=True)
        assert [frame.unique_id for frame in receive(receiver, 1)] == [5]
        assert list(receiver.receive(1, 0.0)) == []
        assert_whole(kept)


def test_members_come_and_go_with_their_clients(name: str) -> None:
    first, second = MemberAddress(1, 1, 1), MemberAddress(1, 1, 2)
    roster = Roster(first, second)
    with serving(name) as (images, _):
        prefix = name.removesuffix("Pva1:Image")
        members = images.members(prefix, roster)
        receivers = {address: PvaReceiver(address.channel(prefix)) for address in (first, second)}
        try:
            links = {address: link for _, address, link in (roster.next(), roster.next())}
            assert set(links) == {first, second}
            assert all(link.alive() for link in links.values())
            wait_until(lambda: all(link.watched for link in members.links()), "both members to watch")
            for unique_id in range(1, 21):
                publish_all(links[first if unique_id % 2 else second], [numbered(unique_id)])
            assert receive_until(receivers[first], 19)[-1].data[0, 0] == 19
            assert {frame.unique_id % 2 for frame in receive_until(receivers[second], 20)} == {0}
            receivers[first].close(drain=False)
            assert roster.next() == ("left", first, links[first])
            assert not links[first].alive()
            assert links[first].publish([numbered(21)]) == Accepted(0, Refusal.GONE)
            receivers[first] = PvaReceiver(first.channel(prefix))
            event, address, again = roster.next()
            assert (event, address) == ("joined", first)
            assert again is not links[first]
            assert again.done() == 0
        finally:
            for receiver in receivers.values():
                receiver.close(drain=False)


def test_a_member_is_there_until_its_last_client_has_gone(name: str) -> None:
    address = MemberAddress(8, 2, 64)
    roster = Roster(address)
    with serving(name) as (images, _):
        prefix = name.removesuffix("Pva1:Image")
        images.members(prefix, roster)
        one, other = (PvaReceiver(address.channel(prefix)) for _ in range(2))
        try:
            link = roster.next()[2]
            wait_until(lambda: not one.receive(1, 0.0) and one.connected, "the first client to see an empty image")
            wait_until(lambda: not other.receive(1, 0.0) and other.connected, "the other one to see it")
            publish_all(link, [numbered(1)])
            assert_whole([*receive(one, 1)])
            assert_whole([*receive(other, 1)])
            one.close(drain=False)
            publish_all(link, [numbered(2)])
            assert [frame.unique_id for frame in receive(other, 1)] == [2]
            assert link.alive()
            other.close(drain=False)
            assert roster.next() == ("left", address, link)
        finally:
            one.close(drain=False)
            other.close(drain=False)


def test_a_member_that_is_not_admitted_does_not_exist_until_it_is(name: str, context: Context) -> None:
    address = MemberAddress(1, 1, 1)
    roster = Roster()
    with serving(name) as (images, _):
        prefix = name.removesuffix("Pva1:Image")
        images.members(prefix, roster)
        for absent in (address.channel(prefix), f"{prefix}Dist0:Set1:Member1:Image", f"{prefix}Dist1:Set1:Image"):
            with pytest.raises(TimeoutError):
                context.get(absent, timeout=0.3)
        roster.admitted.add(address)
        assert is_empty(newest(context, address.channel(prefix)))
        receiver = PvaReceiver(address.channel(prefix))
        try:
            assert roster.next()[:2] == ("joined", address)
        finally:
            receiver.close(drain=False)


@pytest.mark.parametrize("loopback", [ImageBackend.P4P], indirect=True)
def test_a_get_is_a_member_of_p4p_for_a_moment(name: str) -> None:
    address = MemberAddress(1, 1, 1)
    roster = Roster(address)
    with serving(name) as (images, _):
        prefix = name.removesuffix("Pva1:Image")
        images.members(prefix, roster)
        with Context("pva", nt=False) as context:
            assert is_empty(newest(context, address.channel(prefix)))
            assert roster.next()[0] == "joined"
        assert roster.next()[0] == "left"


def test_a_put_is_refused(name: str, context: Context) -> None:
    with serving(name), pytest.raises(Exception, match="Put not supported"):
        context.put(name, {"uniqueId": 5}, timeout=DEADLINE)


@pytest.mark.parametrize("loopback", [ImageBackend.P4P], indirect=True)
def test_clients_leave_nothing_behind(name: str) -> None:
    def shared() -> int:
        gc.collect()
        return sum(isinstance(thing, SharedPV) for thing in gc.get_objects())

    before = shared()
    with serving(name) as (images, channel):
        channel.publish([numbered(1)])
        for _ in range(20):
            with Context("pva", nt=False) as context:
                newest(context, name)
        wait_until(lambda: not channel.watched, "the last client to be forgotten")
        assert isinstance(images, ImageChannels)
        assert images.poster.call(lambda: None, DEADLINE)
        assert shared() == before


def test_faults_of_the_caller_are_told() -> None:
    with pytest.raises(RayfanBug, match="queue of X: expected 2 or more frames, found 1"):
        PvaReceiver("X", queue_size=1)
    with pytest.raises(RayfanBug, match="window of images: expected 1 or more, found 0"):
        open_images(Chosen.backend, "images", 0)
    images = open_images(Chosen.backend, "images")
    images.add("X")
    with pytest.raises(RayfanBug, match="added twice"):
        images.add("X")
    images.close()


def test_it_works_beside_softioc_in_one_process(name: str, context: Context) -> None:
    command = [sys.executable, "-m", "tests.support.pva_beside_softioc", name, Chosen.backend.value]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = next((line for line in process.stdout if line.startswith("{")), "{}")  # softioc talks too
        assert json.loads(told).get("port"), "the server did not start"
        frame = from_value(newest(context, name))
        assert frame.unique_id == 5
        assert_whole([frame])
        assert newest(context, f"{name}:Record")["value"] == 42.0
        assert newest(context, f"{name}:Value")["value"] == 7.0
    finally:
        process.communicate("\n", timeout=DEADLINE)
    assert process.returncode == 0
