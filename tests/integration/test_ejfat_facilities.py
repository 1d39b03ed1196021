"""Two facilities in one process, over loopback: frames through a load balancer to workers, their results back.

The same on two network namespaces, with whole appliances: tests/campaigns/facilities.py.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ioc.balancer.faults import Faults
from ioc.balancer.lab import Lab, LabSettings
from ioc.balancer.registry import Wanted
from ioc.balancer.reservation import Pace
from ioc.channels.ejfat import EjfatPublisher, EjfatReceiver, PublisherSettings, ReceiverSettings
from ioc.channels.ejfat_control import ControlPlane, ControlSettings
from ioc.channels.ejfat_control_model import Registration, WorkerState
from ioc.channels.ejfat_sender import SenderLink, SyncSettings
from ioc.channels.ejfat_uri import EjfatUri
from ioc.channels.ejfat_worker import WorkerLink
from ioc.core.frame import EndOfSeries, Frame, Item

HOST = "127.0.0.1"
DEADLINE = 30.0
SERIES = 7
FRAMES = 60
"""Of each part of the stream."""
MEMORY = 32 << 20


def image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 1000, (40, 50), np.uint16)


class Worker:
    """A worker and its consumer: sends the sum of each frame's rows back. `kill` leaves without a word."""

    def __init__(self, uri: EjfatUri, number: int, viewer: int) -> None:
        self.receiver = EjfatReceiver.open(ReceiverSettings(shared=True, memory=MEMORY))
        self.results = EjfatPublisher.open(PublisherSettings(HOST, viewer, data_id=number))
        worker = Registration(f"w{number}", HOST, self.receiver.port)
        calls = ControlPlane(ControlSettings.of(uri))
        self.link = WorkerLink(calls, uri.lb_id or "", worker, lambda: WorkerState(self.receiver.fill(), 0.0, True))
        self.got: list[int] = []
        self.ends = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"worker {number}", daemon=True)
        self.link.start()
        self._thread.start()

    def _work(self) -> None:
        while not self._over.is_set() or self.receiver.figures().queued:
            for item in self.receiver.receive(16, 0.05):
                if isinstance(item, Frame):
                    assert (item.data == image(item.unique_id)).all()
                    self.got.append(item.unique_id)
                    self.results.publish([replace(item, data=item.data.sum(0, dtype=np.uint32)[np.newaxis])])
                else:
                    self.ends += 1
                self.receiver.release(1)

    def kill(self) -> None:
        self.link._leaving.set()  # no state any more, no word to the load balancer
        self.link._thread.join(DEADLINE)
        self.link._drop_session()
        self.close(drain=False)

    def close(self, drain: bool) -> None:
        if self._over.is_set():
            return
        self.receiver.close(drain)
        self._over.set()
        self._thread.join(DEADLINE)
        self.results.close(drain=True)


def wait_for(true: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < limit, f"{what}: not within {DEADLINE} s"
        threading.Event().wait(0.01)  # polled: other threads change it


def test_nothing_is_lost_or_doubled_by_a_bad_network_and_a_kill_costs_what_was_dealt_to_the_dead() -> None:
    lab = Lab(LabSettings(port=0, admin_token="t", pace=Pace(0.1, 0.05), receive_buffer=8 << 20))
    lab.start()
    uri = lab.reserve(Wanted("beam"))
    (reserved,) = lab.registry.all()
    assert uri.data is not None
    viewer = EjfatReceiver.open(ReceiverSettings(memory=MEMORY))
    target = PublisherSettings(HOST, uri.data.port, mtu=1500, rate_gbps=0.1, balanced=True)
    egress = EjfatPublisher.open(target)
    sender = SenderLink(
        ControlPlane(ControlSettings.of(uri)), uri.lb_id or "", egress.addresses, SyncSettings(uri.sync, warm_up=0.0)
    )
    sender.start()
    workers = [Worker(uri, number, viewer.port) for number in (1, 2, 3)]
    everyone = list(workers)
    sent: list[int] = []

    def epochs() -> int:
        newest = reserved.balancer.epochs.newest
        return newest.number if newest is not None else 0

    def dealt_to() -> int:
        newest = reserved.balancer.epochs.newest
        return len(set(newest.calendar) - {None}) if newest is not None else 0

    def dealt(count: int) -> None:
        wait_for(lambda: dealt_to() == count, f"slots for {count} workers")
        now = epochs()
        wait_for(lambda: epochs() >= now + 2, "an epoch that has begun")

    def send(count: int = FRAMES) -> None:
        frames: list[Item] = [
            Frame(SERIES, number, number, image(number)) for number in range(1, len(sent) + count + 1)
        ]
        for frame in frames[len(sent) :]:
            egress.publish([frame])
            sent.append(len(sent) + 1)

    try:
        assert sender.warm(DEADLINE)
        dealt(3)
        reserved.plane.hurt(Faults(duplicate=0.2, reorder=0.3, delay=0.005, jitter=0.002, seed=1))
        wait_for(lambda: reserved.plane.figures().doubled > 0 or not send(1), "packets that are hurt")
        send()
        everyone.append(Worker(uri, 4, viewer.port))  # joins
        dealt(4)
        send()
        workers[0].link.leave()
        send()  # of an epoch that was dealt before: some of it still is for the one that leaves
        dealt(3)
        send()
        wait_for(lambda: not reserved.plane.figures().waiting, "packets that were held back on their way")
        workers[0].close(drain=True)
        egress.publish([EndOfSeries(SERIES, len(sent))])
        for worker in everyone[1:]:
            wait_for(lambda worker=worker: worker.ends == 1, "the end of the series at every worker")
        got = Counter(number for worker in everyone for number in worker.got)
        assert got == Counter(sent), f"missing {set(sent) - got.keys()}, twice {[n for n in got if got[n] > 1]}"
        assert all(worker.got for worker in everyone)

        before = len(sent)
        everyone[1].kill()
        send()
        wait_for(lambda: dealt_to() == 2, "slots for the two that are left")  # 2 s without a state
        dealt(2)
        send()
        egress.publish([EndOfSeries(SERIES, len(sent))])
        for worker in everyone[2:]:
            wait_for(lambda worker=worker: worker.ends == 2, "the end of the series at those who are left")
        got = Counter(number for worker in everyone for number in worker.got)
        assert max(got.values()) == 1
        missing = set(sent) - got.keys()
        assert missing and missing <= set(range(before + 1, before + FRAMES + 1))

        results: dict[int, int] = {}
        wait_for(lambda: _take(viewer, results) >= len(got), "all results")
        assert results == {number: int(image(number).sum()) for number in got}
    finally:
        for worker in everyone:
            if worker not in everyone[:2]:
                worker.link.leave()
            worker.close(drain=False)
        sender.leave()
        egress.close(drain=True)
        viewer.close(drain=False)
        lab.close()


def _take(viewer: EjfatReceiver, results: dict[int, int]) -> int:
    """Take what came back; return how many results there are."""
    items = viewer.receive(64, 0.05)
    for item in items:
        if isinstance(item, Frame):
            assert item.unique_id not in results
            results[item.unique_id] = int(item.data.sum())
    viewer.release(len(items))
    return len(results)
