"""How frames of another appliance come: in shared memory on the same host, else by pvAccess, without a loss between."""

import gc
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ioc.channels import local_view_wire as words
from ioc.channels import pva_source
from ioc.channels.images import OwnImages
from ioc.channels.local_door import Doorway
from ioc.channels.local_view import LocalView
from ioc.channels.memory_book import MemoryBook
from ioc.channels.pva import PvaReceiver
from ioc.channels.pva_images_shown import ShownChannel
from ioc.channels.pva_intake import MonitoredStream
from ioc.channels.pva_source import Wish
from ioc.channels.pva_standing import Way, here
from ioc.channels.stream import Arrival, Reconnected, StreamSettings
from ioc.core.errors import PeerError
from ioc.core.frame import Frame
from tests.support.epics import alone_on_loopback, random_prefix
from tests.support.pva_images import assert_whole, cut, numbered, publish_all, receive, receive_until, wait_until

ROOM = 96 << 20


class Served:
    """An image server with a door, one channel, and its memory."""

    def __init__(self, name: str, folder: Path) -> None:
        self.memory = MemoryBook(folder / "memory", "Det1", ROOM)
        self.door = folder / "x.view"
        self.images = OwnImages("images", doorway=Doorway(self.door, self.memory))
        channel = self.images.add(name)
        assert isinstance(channel, ShownChannel)
        self.channel = channel
        self.images.start()

    def cut(self) -> None:
        """Cut off all pvAccess clients."""
        running = self.images._running
        assert running is not None
        for client in list(running._clients.values()):
            cut(client.fileno)


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep EPICS on loopback, and see that no thread and no descriptor is left over."""
    with alone_on_loopback(monkeypatch):
        yield


@pytest.fixture
def name() -> str:
    return f"{random_prefix()}Pva1:Image"


@pytest.fixture
def served(name: str, tmp_path: Path) -> Iterator[Served]:
    served = Served(name, tmp_path)
    yield served
    served.images.close()


def fastest(name: str) -> PvaReceiver:
    return PvaReceiver.of(name, Wish(replay=64, fastest=True))


def wait_way(receiver: PvaReceiver, way: Way) -> None:
    """Wait until a receiver that gets no frames has found its way."""
    wait_until(lambda: not receiver.receive(1, 0.0) and receiver.choice.way is way, f"the way {way.value}")


def test_a_server_on_this_host_is_seen_in_shared_memory_and_nothing_is_lost_on_the_way_there(
    name: str, served: Served
) -> None:
    receiver = fastest(name)
    found = threading.Event()
    ids: list[int] = []
    came: list[int] = []

    def send() -> None:
        while not found.is_set():
            ids.append(len(ids) + 1)
            publish_all(served.channel, [numbered(ids[-1])])

    def take() -> None:  # and keep no frame: a viewer that holds all it may have gets no more
        frames = receive(receiver, 1)
        assert_whole(frames)
        came.append(frames[0].unique_id)

    sender = threading.Thread(target=send, name="sender")
    try:
        wait_until(lambda: served.channel.watched, "the monitor")
        wait_until(lambda: str(receiver.outlook) == "shared memory: once frames are taken", "what an idle one shows")
        assert receiver.choice.way is Way.SEARCHING, "nobody has taken frames"
        sender.start()
        while receiver.choice.way is not Way.SHARED or len(came) < 300:
            take()
        found.set()
        sender.join()
        last = len(ids) + 1
        publish_all(served.channel, [numbered(last)])
        while came[-1] != last:
            take()
        assert str(receiver.outlook) == "shared memory"
        assert came == sorted(set(came))
        assert len(came) + sum(one.last - one.first + 1 for one in receiver.missed()) == last
        wait_until(lambda: [one.channels for one in served.images.visits() if one.channels] == [(name,)], "one view")
    finally:
        found.set()
        sender.join()
        receiver.close(drain=False)


def test_a_frame_stays_as_it_is_while_somebody_has_it_and_its_place_is_used_again_after(
    name: str, served: Served
) -> None:
    view = LocalView(str(served.door), words.Wish(name, 4), lambda: None)
    try:
        publish_all(served.channel, [numbered(unique_id) for unique_id in range(1, 8)])
        kept: list[Frame] = []
        wait_until(lambda: (frame := view.pop()) is not None and not kept.append(frame) and len(kept) == 4, "4 frames")
        assert [frame.unique_id for frame in kept] == [1, 2, 3, 4]
        (visit,) = served.images.visits()
        assert (visit.sent, visit.overruns, visit.waiting) == (4, 2, 4), "the newest one is owed"
        row = kept[3].data[0]
        kept.clear()
        gc.collect()
        wait_until(lambda: served.images.visits()[0].waiting == 2, "3 frames to be free, and what was owed to come")
        publish_all(served.channel, [numbered(8), numbered(9)])
        later: list[Frame] = []
        wait_until(lambda: (frame := view.pop()) is not None and not later.append(frame) and len(later) == 3, "3 more")
        assert [frame.unique_id for frame in later] == [7, 8, 9]
        assert_whole(later)
        assert view.missed == 2
        assert (row == 4).all(), "a part of a frame keeps the whole of it"
        with pytest.raises(ValueError, match="read-only"):
            row[0] = 0
    finally:
        view.close()
    wait_until(lambda: not served.images.visits() and not served.memory.used, "the memory to be given back")
    assert (row == 4).all(), "the view is over, and what came is still valid"


def test_two_viewers_share_the_memory_and_one_that_stalls_costs_its_part(name: str, served: Served) -> None:
    shape = (512, 512)  # 2 MiB each: there is room for 16, 7 a viewer and one that it is owed
    views = [LocalView(str(served.door), words.Wish(name, 64), lambda: None) for _ in range(2)]
    try:
        wait_until(lambda: len(served.images.visits()) == 2, "two viewers")
        for unique_id in range(1, 21):
            publish_all(served.channel, [numbered(unique_id, shape)])
            wait_until(lambda: views[0].peek() is not None, "the frame")
            frame = views[0].pop()
            assert frame is not None and frame.unique_id == unique_id
            assert_whole([frame])
            del frame
        late: list[int] = []
        wait_until(
            lambda: (frame := views[1].pop()) is not None and not late.append(frame.unique_id) and late[-1] == 20, "20"
        )
        assert late == [1, 2, 3, 4, 5, 6, 7, 20]
    finally:
        for view in views:
            view.close()


def test_what_a_viewer_has_is_not_written_to_when_it_has_left(name: str, served: Served) -> None:
    leaves, stays = (LocalView(str(served.door), words.Wish(name, 4), lambda: None) for _ in range(2))
    try:
        publish_all(served.channel, [numbered(1)])
        wait_until(lambda: leaves.peek() is not None and stays.peek() is not None, "the frame")
        frame, other = leaves.pop(), stays.pop()
        assert frame is not None and other is not None
        leaves.close()
        wait_until(lambda: stays.over is not None, "the other to be sent away")
        assert "left with frames" in str(stays.over)
        wait_until(lambda: not served.images.visits() and not served.memory.used, "new memory")
        again = LocalView(str(served.door), words.Wish(name, 4), lambda: None)
        publish_all(served.channel, [numbered(unique_id) for unique_id in range(2, 9)])
        wait_until(lambda: again.peek() is not None, "the next frame")
        assert_whole([frame])
        assert_whole([other])
        again.close()
    finally:
        stays.close()


def test_who_may_not_read_or_asks_for_nonsense_is_not_let_in(name: str, served: Served) -> None:
    door = str(served.door)
    with pytest.raises(PeerError, match="no such channel"):
        LocalView(door, words.Wish("another", 4), lambda: None)
    with pytest.raises(PeerError, match="No such file"):
        LocalView(door + "x", words.Wish(name, 4), lambda: None)
    plain = served.door.with_name("file")
    plain.write_text("")
    with pytest.raises(PeerError, match="not a door"):
        LocalView(str(plain), words.Wish(name, 4), lambda: None)
    for message in (b"x", words.HELLO + b"{}", words.HELLO + b"[" * 3000, b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            caller.settimeout(20.0)
            caller.connect(door)
            caller.send(message) if message else caller.shutdown(socket.SHUT_WR)
            assert caller.recv(4096)[:1] in (words.BYE, b"")
    served.memory.take(ROOM - 1000)
    with pytest.raises(PeerError, match="raise memory_budget"):
        LocalView(door, words.Wish(name, 4), lambda: None)
    served.memory.give(ROOM - 1000)
    liar = LocalView(door, words.Wish(name, 4), lambda: None)
    liar._socket.send(words.free([99]))
    wait_until(lambda: liar.over is not None, "who frees what it has not to be dismissed")
    assert "one that it has" in str(liar.over)
    liar.close()


def test_a_server_elsewhere_is_asked_for_flow_control_and_what_was_missed(
    name: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pva_source, "here", lambda: replace(here(), boot="another"))
    receiver = fastest(name)
    try:
        wait_way(receiver, Way.PIPELINED)
        assert "another host" in str(receiver.choice)
        frames: list[Frame] = []
        for cuts in (1,):
            first = 20 * cuts - 19
            publish_all(served.channel, [numbered(unique_id) for unique_id in range(first, first + 10)])
            frames += receive_until(receiver, first + 9)
            wait_until(lambda: receiver.choice.way is Way.PIPELINED, "flow control")
            served.cut()
            publish_all(served.channel, [numbered(unique_id) for unique_id in range(first + 10, first + 20)])
            frames += receive_until(receiver, first + 19)
        assert [frame.unique_id for frame in frames] == list(range(1, 21))
        assert_whole(frames)
        assert receiver.missed() == []
        assert receiver.disconnects == 1
    finally:
        receiver.close(drain=False)


def test_a_door_that_does_not_open_is_no_loss(name: str, served: Served) -> None:
    served.door.unlink()
    receiver = fastest(name)
    try:
        wait_way(receiver, Way.PIPELINED)
        assert "no shared memory" in str(receiver.choice)
        publish_all(served.channel, [numbered(1)])
        assert_whole(receive(receiver, 1))
    finally:
        receiver.close(drain=False)


def test_a_server_that_ends_is_found_again(name: str, served: Served, tmp_path: Path) -> None:
    receiver = fastest(name)
    try:
        wait_way(receiver, Way.SHARED)
        publish_all(served.channel, [numbered(1), numbered(2)])
        assert [frame.unique_id for frame in receive(receiver, 2)] == [1, 2]
        served.images.stop()
        wait_until(lambda: not receiver.receive(1, 0.0) and receiver.disconnects == 1, "the end of the view")
        assert receiver.choice.way is Way.SEARCHING
        served.images.start()
        wait_until(lambda: receiver.receive(1, 0.0) is not None and receiver.choice.way is Way.SHARED, "the view again")
        publish_all(served.channel, [numbered(3)])
        assert [frame.unique_id for frame in receive(receiver, 1)] == [3]
        assert receiver.missed() == []
    finally:
        receiver.close(drain=False)


def test_an_intake_that_was_cut_off_misses_nothing_and_gets_nothing_twice(name: str, served: Served) -> None:
    arrived = threading.Event()
    stream = MonitoredStream(name, StreamSettings(), arrived.set)
    ids: list[int] = []
    breaks = 0

    def take() -> bool:
        nonlocal breaks
        for event in stream.take(8):
            if isinstance(event, Arrival):
                ids.append(event.frame.unique_id)
            breaks += isinstance(event, Reconnected)
        return bool(ids) and ids[-1] % 20 == 0

    try:
        wait_until(lambda: not stream.take(1) and served.channel.watched, "the monitor")
        for cuts in (1,):
            first = 20 * cuts - 19
            publish_all(served.channel, [numbered(unique_id) for unique_id in range(first, first + 10)])
            wait_until(lambda last=first + 9: not take() and ids[-1:] == [last], "the frames before")
            served.cut()
            publish_all(served.channel, [numbered(unique_id) for unique_id in range(first + 10, first + 20)])
            wait_until(take, "the frames behind")
        assert ids == list(range(1, 21))
        assert breaks == 1
        assert stream.figures().way == "pvAccess: as configured"
    finally:
        stream.close()


def test_frames_of_any_type_and_attributes_come_as_they_were(name: str, served: Served) -> None:
    receiver = fastest(name)
    try:
        wait_way(receiver, Way.SHARED)
        images = [
            np.arange(12, dtype=">u2").reshape(3, 4),
            np.arange(24, dtype=np.float64).reshape(4, 6)[::2, ::3],
            np.arange(36, dtype=np.uint8).reshape(3, 4, 3),
        ]
        attributes = {"Energy": 12.5, "Shutter": "open", "Turns": 7}
        for number, image in enumerate(images, 1):
            publish_all(served.channel, [Frame(5, number, 123_456_789_012, image, attributes)])
            (frame,) = receive(receiver, 1)
            assert (frame.series, frame.unique_id, frame.timestamp_ns) == (5, number, 123_456_789_012)
            assert frame.attributes == attributes
            assert frame.data.dtype == image.dtype.newbyteorder("=") and np.array_equal(frame.data, image)
    finally:
        receiver.close(drain=False)


def test_frames_that_are_too_large_for_the_memory_of_viewers_come_by_pvaccess(name: str, served: Served) -> None:
    receiver = fastest(name)
    try:
        wait_way(receiver, Way.SHARED)
        publish_all(served.channel, [numbered(1, (2048, 1536))])
        assert_whole(receive(receiver, 1))
        wait_until(lambda: not receiver.receive(1, 0.0) and receiver.choice.way is Way.PIPELINED, "pvAccess")
        assert "memory_budget" in str(receiver.choice)
        publish_all(served.channel, [numbered(2, (2048, 1536))])
        assert_whole(receive(receiver, 1))
        assert receiver.missed() == [] and not served.memory.used
    finally:
        receiver.close(drain=False)
