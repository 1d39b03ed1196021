"""Events that never reached a load balancer come to one of its workers all the same, if all of them take part."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ioc.balancer.lab import Lab, LabSettings
from ioc.balancer.registry import Wanted
from ioc.balancer.reservation import Pace
from ioc.channels.ejfat import EjfatPublisher, EjfatReceiver, PublisherSettings, ReceiverSettings
from ioc.channels.ejfat_control import ControlPlane, ControlSettings
from ioc.channels.ejfat_control_model import Registration, WorkerState
from ioc.channels.ejfat_resend import Resend
from ioc.channels.ejfat_resend_store import KeepLimits
from ioc.channels.ejfat_sender import SenderLink, SyncSettings
from ioc.channels.ejfat_uri import EjfatUri
from ioc.channels.ejfat_wire import HEAD_BYTES, parse_segment
from ioc.channels.ejfat_worker import WorkerLink
from ioc.core.frame import DataType, EndOfSeries, Frame
from tests.integration.test_ejfat_channel import DEADLINE, HOST, frame, random_data, wait_for
from tests.support.lossy_relay import lossy

SERIES = 1
FRAMES = 40
LOST = {7, 8, 25, FRAMES}


@contextmanager
def worker(uri: EjfatUri, name: str, resend_delay: float | None) -> Iterator[EjfatReceiver]:
    """Have a receiver that is registered as a worker."""
    settings = ReceiverSettings(shared=True, memory=32 << 20, resend_delay=resend_delay, event_timeout=DEADLINE)
    receiver = EjfatReceiver.open(settings)
    registration = Registration(name, HOST, receiver.port)
    calls = ControlPlane(ControlSettings.of(uri))
    link = WorkerLink(calls, uri.lb_id or "", registration, lambda: WorkerState(receiver.fill(), 0.0, True))
    link.start()
    try:
        yield receiver
    finally:
        link.leave()
        receiver.close(drain=False)


def take(receiver: EjfatReceiver, got: Counter[int]) -> int:
    """Count the frames that are there; return how many end markers were."""
    items = receiver.receive(64, 0.02)
    got.update(item.unique_id for item in items if isinstance(item, Frame))
    receiver.release(len(items))
    return sum(isinstance(item, EndOfSeries) for item in items)


@pytest.mark.parametrize("second_takes_part", [True, False])
def test_what_never_reached_a_load_balancer_comes_to_a_worker_if_all_tell_what_they_have(
    second_takes_part: bool,
) -> None:
    """Whole events are lost before the load balancer; nobody can ask for them."""
    lab = Lab(LabSettings(port=0, admin_token="t", pace=Pace(0.1, 0.05), receive_buffer=8 << 20))
    lab.start()
    uri = lab.reserve(Wanted("beam"))
    (reserved,) = lab.registry.all()
    assert uri.data is not None
    with ExitStack() as stack:
        stack.callback(lab.close)
        workers = [
            stack.enter_context(worker(uri, "one", 0.02)),
            stack.enter_context(worker(uri, "two", 0.02 if second_takes_part else None)),
        ]
        relay = stack.enter_context(
            lossy(uri.data.port, lambda packet: parse_segment(packet[:HEAD_BYTES], len(packet)).event in LOST)
        )
        calls = ControlPlane(ControlSettings.of(uri))
        resend = Resend(1, KeepLimits(64 << 20, 60.0), 0, workers=lambda: sender.workers())
        sink = EjfatPublisher.open(
            PublisherSettings(HOST, relay.port, mtu=1500, rate_gbps=0.1, balanced=True), resend=resend
        )
        sender = SenderLink(calls, uri.lb_id or "", sink.addresses, SyncSettings(uri.sync, warm_up=0.0))
        stack.callback(sender.leave)
        stack.callback(sink.close, drain=True)
        sender.start()
        assert sender.warm(DEADLINE)
        newest = lambda: reserved.balancer.epochs.newest  # noqa: E731
        wait_for(lambda: (epoch := newest()) is not None and len(set(epoch.calendar)) == 2, newest)
        dealt = newest().number  # type: ignore[union-attr]
        wait_for(lambda: (epoch := newest()) is not None and epoch.number >= dealt + 2, newest)

        got: Counter[int] = Counter()
        for number in range(1, FRAMES + 1):
            sink.publish([frame(number, random_data(number, (40, 50), DataType.UINT16), SERIES)])
            for one in workers:
                take(one, got)
        sink.publish([EndOfSeries(SERIES, FRAMES)])
        ends = [0, 0]

        def all_came() -> bool:
            for index, one in enumerate(workers):
                ends[index] += take(one, got)
            return (len(got) == FRAMES or not second_takes_part) and ends == [1, 1]

        wait_for(all_came, lambda: (sorted(set(range(1, FRAMES + 1)) - set(got)), ends, resend.figures()))
        figures = resend.figures()
        if second_takes_part:
            assert figures.unclaimed >= len(LOST)
        else:  # the end marker was sent when it was known that nothing can be given
            assert (figures.unclaimed, figures.telling) == (0, 1) and not set(got) & LOST
