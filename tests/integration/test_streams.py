"""Frames from outside and to others over pvAccess, in one process: monitored, put, called; taken, refused, given up."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from p4p import Type, Value
from p4p.client.raw import Context as Raw
from p4p.server import Server, StaticProvider
from p4p.server.raw import SharedPV

from consumers.remote_output import RemoteOutput
from ioc.channels.journal import Journal
from ioc.channels.ntndarray import fields_of, to_value
from ioc.channels.pva_delivery import Delivery, fill
from ioc.channels.pva_intake import MonitoredStream, ServedStream
from ioc.channels.stream import Arrival, Event, Reconnected, Stream, StreamSettings
from ioc.core.errors import PeerError
from ioc.core.frame import Frame
from tests.support.epics import alone_on_loopback, random_prefix

DEADLINE = 20.0
OPERATIONS: list[object] = []
"""p4p cancels what nobody refers to."""
SETTINGS = StreamSettings(queue_size=4)


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep EPICS on loopback, and see that no thread is left over."""
    with alone_on_loopback(monkeypatch):
        yield


def frame(unique_id: int, series: int = 7) -> Frame:
    """Return a frame that is told from others by its pixels, with an attribute."""
    return Frame(series, unique_id, 1_700_000_000_000_000_123, np.full((3, 5), unique_id, np.uint16), {"Gain": 2.5})


class Served:
    """A stream of ours with its server; frames are settled as they are taken, `refusal` says how."""

    def __init__(self, calls: bool, settings: StreamSettings = SETTINGS) -> None:
        self.arrived = threading.Event()
        self.name = f"{random_prefix()}In"
        self.stream = ServedStream(self.name, calls, settings, self.arrived.set)
        self.server = Server(providers=[self.stream.provider])
        self.refusal: str | None = None
        self.frames: list[Frame] = []

    def take(self, most: int = 8) -> list[Frame]:
        """Take and settle what has come."""
        for event in self.stream.take(most):
            self.frames.append(event.frame)
            event.settle(self.refusal)
        return self.frames

    def settle(self) -> None:
        """Take and settle what has come."""
        self.take()

    def close(self) -> None:
        self.stream.close()
        self.server.stop()


@pytest.fixture(params=[False, True], ids=["put", "rpc"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    served = Served(request.param)
    yield served
    served.close()


@pytest.fixture
def delivery(served: Served, request: pytest.FixtureRequest) -> Iterator[Delivery]:
    scheme = "rpc" if request.node.callspec.params["served"] else "put"
    delivery = Delivery(scheme, served.name)
    yield delivery
    delivery.close()


def patience() -> "Until":
    return Until(time.monotonic() + DEADLINE)


class Until:
    """Goes on until a deadline; `also` is done at every look."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.also: Callable[[], None] = lambda: None

    def __call__(self) -> bool:
        self.also()
        return time.monotonic() < self._limit


def test_a_frame_arrives_as_it_was_and_is_answered_when_it_is_settled(served: Served, delivery: Delivery) -> None:
    go_on = patience()
    looks: list[int] = []

    def later() -> None:
        looks.append(len(served.stream._waiting))
        if len(looks) > 2 and looks[-1]:
            served.take()

    go_on.also = later
    assert delivery.deliver(frame(1), go_on)
    assert looks.count(1) >= 1, "it waited, unanswered"
    (got,) = served.frames
    sent = frame(1)
    assert (got.series, got.unique_id, got.timestamp_ns) == (sent.series, sent.unique_id, sent.timestamp_ns)
    assert dict(got.attributes) == {"Gain": 2.5}
    assert got.data.dtype == sent.data.dtype
    assert np.array_equal(got.data, sent.data)


def test_a_refusal_reaches_the_sender(served: Served, delivery: Delivery) -> None:
    served.refusal = "no use for it"
    go_on = patience()
    go_on.also = served.settle
    with pytest.raises(PeerError, match="no use for it"):
        delivery.deliver(frame(1), go_on)


def test_what_is_not_answered_is_given_up(served: Served, delivery: Delivery) -> None:
    assert not delivery.deliver(frame(1), Until(time.monotonic() + 0.3))


def test_a_full_queue_refuses_and_keeps_what_it_has(served: Served, delivery: Delivery) -> None:
    calls = served.stream._calls
    with Raw("pva", nt=False, useenv=True) as context:
        waiting = [_begin(context, served.name, calls, number) for number in range(1, 5)]
        limit = time.monotonic() + DEADLINE
        while len(served.stream._waiting) < 4:
            assert time.monotonic() < limit, "four frames wait"
            served.arrived.wait(1.0)
            served.arrived.clear()
        with pytest.raises(PeerError, match="room for a frame"):
            delivery.deliver(frame(5), patience())
        assert served.stream.figures().refused == 1
        assert sorted(one.unique_id for one in served.take()) == [1, 2, 3, 4]
        for done in waiting:
            assert done.wait(DEADLINE), "all are answered"


def _begin(context: Raw, name: str, calls: bool, number: int) -> threading.Event:
    """Begin to hand a frame over; the operation ends with the context."""
    done, fields = threading.Event(), fields_of(frame(number))
    if calls:
        operation = context.rpc(name, lambda _: done.set(), to_value(frame(number)))
    else:
        operation = context.put(name, lambda _: done.set(), lambda target: fill(target, fields), get=False)
    OPERATIONS.append(operation)
    return done


def test_what_is_no_image_is_refused(served: Served) -> None:
    kind = Type([("value", "d"), ("uniqueId", "i")])
    answers: list[object] = []
    answered = threading.Event()

    def answer(result: object) -> None:
        answers.append(result)
        answered.set()

    with Raw("pva", nt=False, useenv=True) as context:
        if served.stream._calls:
            operation = context.rpc(served.name, answer, Value(kind, {"value": 1.0}))
        else:
            operation = context.put(served.name, answer, {"uniqueId": 5}, get=False)
        assert answered.wait(DEADLINE)
        operation.close()
    if served.stream._calls:
        (reply,) = answers
        assert isinstance(reply, Value)
        assert reply["status"] == -1
        assert "image" in reply["errorMessage"]
    else:
        assert "expected an array" in str(answers[0])
    assert served.take() == []
    assert served.stream.figures().errors == 1


@pytest.mark.parametrize("calls", [False, True], ids=["put", "rpc"])
def test_the_wrong_way_is_refused(calls: bool) -> None:
    served, delivery = Served(calls), None
    try:
        delivery = Delivery("put" if calls else "rpc", served.name)
        with pytest.raises(PeerError, match="expected a"):
            delivery.deliver(frame(1), patience())
    finally:
        if delivery is not None:
            delivery.close()
        served.close()


def test_an_output_counts_and_names_what_is_not_taken(served: Served, delivery: Delivery) -> None:
    output = RemoteOutput(100, delivery, Journal(), False, DEADLINE)
    output.idle = served.settle
    assert output.publish([frame(1), frame(2)]).count == 2
    served.refusal = "no"
    output.publish([frame(3)])
    status = output.status()
    (member,) = status.members
    assert (status.turns, member.completed, member.dropped, member.in_flight) == (3, 2, {"lost": 1}, 0)
    assert [(one.series, one.first) for one in output.lost] == [(7, 3)]
    assert "frame 3" in output.last_error


def test_a_patient_output_offers_a_frame_until_it_is_taken(served: Served, delivery: Delivery) -> None:
    output = RemoteOutput(100, delivery, Journal(), True, DEADLINE)
    served.refusal = "not yet"

    def take() -> None:
        if len(served.take()) >= 2:
            served.refusal = None

    output.idle = take
    output.publish([frame(1)])
    (member,) = output.status().members
    assert (member.assigned, member.completed, member.dropped) == (1, 1, {})
    assert len(served.frames) >= 3


def test_a_patient_output_gives_up_when_its_process_drains(delivery: Delivery) -> None:
    output = RemoteOutput(100, delivery, Journal(), True, DEADLINE)
    output.give_up_at(time.monotonic() + 0.2)
    output.publish([frame(1), frame(2)])
    (member,) = output.status().members
    assert (member.assigned, member.completed, member.dropped) == (2, 0, {"lost": 2})


class Source:
    """A foreign server with an NTNDArray channel that shows what it is told."""

    def __init__(self) -> None:
        self.name = f"{random_prefix()}Image"
        self._pv = SharedPV(initial=self._value(0, 0))
        self._provider = StaticProvider(self.name)
        self._provider.add(self.name, self._pv)
        self._server = Server(providers=[self._provider])

    def post(self, unique_id: int, user_tag: int = 0) -> None:
        """Show an image of 4 bytes."""
        self._pv.post(self._value(unique_id, user_tag))

    def _value(self, unique_id: int, user_tag: int) -> Value:
        image = Frame(0, unique_id, time.time_ns(), np.full((2, 2), unique_id % 251, np.uint8), {"Gain": 1})
        value = to_value(image)
        value["timeStamp.userTag"] = user_tag
        return value

    def close(self) -> None:
        self._server.stop()


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.close()


def arrivals(stream: Stream, arrived: threading.Event, count: int) -> list[Event]:
    """Return at least `count` events of a stream."""
    events: list[Event] = []
    limit = time.monotonic() + DEADLINE
    while len(events) < count:
        assert time.monotonic() < limit, f"{count} events, found {events}"
        arrived.wait(0.1)
        arrived.clear()
        events += stream.take(8)
    return events


def test_a_monitor_asks_for_fields_and_numbers_by_the_one_it_is_told(source: Source) -> None:
    settings = StreamSettings(queue_size=4, id_field="timeStamp.userTag", first_id=100, fields=("timeStamp",))
    arrived = threading.Event()
    stream = MonitoredStream(source.name, settings, arrived.set)
    try:
        limit = time.monotonic() + DEADLINE
        while not stream.figures().errors:  # the first image has userTag 0, which is before the first id
            assert time.monotonic() < limit, "connected"
            arrived.wait(0.1)
            stream.take(8)
        source.post(5, user_tag=103)
        (event,) = arrivals(stream, arrived, 1)
        assert isinstance(event, Arrival)
        assert event.frame.unique_id == 4
        assert event.frame.attributes == {}
        assert event.frame.data.shape == (2, 2)
        assert "set first_id" in stream.figures().last_error
    finally:
        stream.close()


def test_the_queue_of_a_monitor_is_bounded_in_bytes(source: Source) -> None:
    arrived = threading.Event()
    settings = StreamSettings(queue_size=64, queue_bytes=12, id_field="", skip_initial=0)
    stream = MonitoredStream(source.name, settings, arrived.set)
    try:
        events = arrivals(stream, arrived, 2)
        assert isinstance(events[0], Arrival)
        assert isinstance(events[1], Reconnected), "a queue of 3 images of 4 bytes is made anew"
        assert stream._source.room == 3
        assert stream.figures().way == "pvAccess: as configured"
    finally:
        stream.close()


def test_initial_updates_can_be_left_out(source: Source) -> None:
    arrived = threading.Event()
    stream = MonitoredStream(source.name, StreamSettings(skip_initial=1), arrived.set)
    try:
        limit = time.monotonic() + DEADLINE
        while not stream.figures().connected:
            assert time.monotonic() < limit, "connected"
            arrived.wait(0.1)
            assert stream.take(8) == []
        source.post(9)
        (event,) = arrivals(stream, arrived, 1)
        assert isinstance(event, Arrival)
        assert event.frame.unique_id == 9
    finally:
        stream.close()
