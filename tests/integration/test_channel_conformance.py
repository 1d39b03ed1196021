"""What every channel does alike: one suite, run against each of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ioc.core.frame import DataType, EndOfSeries, Frame
from tests.support.epics import isolated_environment
from tests.support.rigs import RIGS, EjfatRig, LocalRig, PvaRig, receive_all, rig, send_all

SHAPES = [(1, 1), (0, 5), (1, 77), (77, 1), (4, 0), (13, 7), (0, 6, 3), (5, 6, 3), (256, 300), (0, 0)]
AnyRig = LocalRig | PvaRig | EjfatRig


@pytest.fixture(params=sorted(RIGS))
def one(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnyRig]:
    for name, value in isolated_environment().items():
        monkeypatch.setenv(name, value)
    with rig(request.param, tmp_path) as made:
        yield made


def frame(unique_id: int, shape: tuple[int, ...] = (8, 9), data_type: DataType = DataType.UINT16) -> Frame:
    raw = np.random.default_rng(unique_id).bytes(int(np.prod(shape)) * data_type.dtype.itemsize)
    data = np.frombuffer(raw, data_type.dtype).reshape(shape)
    return Frame(7, unique_id, 1_700_000_000_000_000_000 + unique_id, data, {"Energy": 12.5, "Sample": "Au"})


def assert_same(found: object, sent: Frame) -> None:
    assert isinstance(found, Frame)
    assert (found.series, found.unique_id, found.timestamp_ns) == (7, sent.unique_id, sent.timestamp_ns)
    assert (found.data.shape, found.data.dtype) == (sent.data.shape, sent.data.dtype)
    assert found.data.tobytes() == sent.data.tobytes()
    assert {name: found.attributes[name] for name in sent.attributes} == sent.attributes


def test_order_and_identity(one: AnyRig) -> None:
    sent = [frame(number) for number in range(1, 201)]
    for at in range(0, 200, 20):
        send_all(one, sent[at : at + 20])
        for found, expected in zip(receive_all(one, 20), sent[at : at + 20], strict=True):
            assert_same(found, expected)
    assert one.sender.counters().errors == one.receiver.counters().errors == 0


@pytest.mark.parametrize("data_type", list(DataType))
def test_every_data_type_in_odd_shapes(one: AnyRig, data_type: DataType) -> None:
    sent = [frame(number, shape, data_type) for number, shape in enumerate(SHAPES, 1)]
    send_all(one, sent)
    for found, expected in zip(receive_all(one, len(sent)), sent, strict=True):
        assert_same(found, expected)


def test_the_end_marker_keeps_its_place(one: AnyRig) -> None:
    if not one.carries_ends:
        send_all(one, [frame(1), EndOfSeries(7, 1), frame(2)])
        assert [item.unique_id for item in receive_all(one, 2) if isinstance(item, Frame)] == [1, 2]
        return
    send_all(one, [frame(1), frame(2), EndOfSeries(7, 2), frame(3)])
    found = receive_all(one, 4)
    assert [isinstance(item, EndOfSeries) for item in found] == [False, False, True, False]
    assert found[2] == EndOfSeries(7, 2)


def test_received_frames_stay_as_they_are_until_released(one: AnyRig) -> None:
    sent = [frame(number) for number in range(1, 13)]
    send_all(one, sent[:6])
    held = receive_all(one, 6, release=False)
    send_all(one, sent[6:])
    later = receive_all(one, 6, release=False)
    for found, expected in zip(held + later, sent, strict=True):
        assert_same(found, expected)
        assert isinstance(found, Frame)
    one.receiver.release(12)


def test_a_slow_receiver_loses_nothing_within_the_window(one: AnyRig) -> None:
    send_all(one, [frame(number) for number in range(1, 31)])
    found = []
    while len(found) < 30:
        found += receive_all(one, 1)
    assert [item.unique_id for item in found if isinstance(item, Frame)] == list(range(1, 31))


def test_what_was_accepted_arrives_although_the_sender_ends(one: AnyRig) -> None:
    send_all(one, [frame(number) for number in range(1, 11)])
    if isinstance(one, PvaRig):
        got = receive_all(one, 10)  # a server that ends cuts its clients off: what is read is read before
        one.sender.close(drain=True)
    else:
        one.sender.close(drain=True)
        got = receive_all(one, 10)
    assert [item.unique_id for item in got if isinstance(item, Frame)] == list(range(1, 11))


def test_a_receiver_goes_on_with_a_sender_that_comes_back(one: AnyRig) -> None:
    send_all(one, [frame(1)])
    assert_same(receive_all(one, 1)[0], frame(1))
    one.renew_sender()
    send_all(one, [frame(2), frame(3)])
    found = receive_all(one, 2)
    assert_same(found[0], frame(2))
    assert_same(found[1], frame(3))


def test_a_receiver_that_is_gone_stops_nobody(one: AnyRig) -> None:
    send_all(one, [frame(1)])
    receive_all(one, 1)
    one.receiver.close(drain=False)
    ready = [one.prepared(frame(number)) for number in range(2, 6)]
    one.sender.publish(ready)  # taken, or refused as full or gone; never an error, never a wait
    one.sender.close(drain=True)


def test_nothing_there_is_an_empty_batch(one: AnyRig) -> None:
    assert list(one.receiver.receive(5, 0.01)) == []
