"""The links of workers and senders to a control plane, and the control signal; a virtual clock, no network."""

import socket
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from consumers.egress import Egress
from ioc.channels.ejfat_control_model import LbStatus, Registration, Session, WorkerState
from ioc.channels.ejfat_pid import Gains, Pid
from ioc.channels.ejfat_sender import ANNOUNCE_SECONDS, SenderLink, SyncSettings
from ioc.channels.ejfat_uri import Endpoint
from ioc.channels.ejfat_wire import TICK_RATE_HZ, parse_sync
from ioc.channels.ejfat_worker import BACKOFF_SECONDS, RENEW_SECONDS, WorkerLink
from ioc.core.clock import VirtualClock
from ioc.core.errors import ControlError


class FakeControl:
    """Notes the calls; `error`, if set, is what the next ones raise."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.error: ControlError | None = None
        self.sessions = 0
        self.expires_ns: int | None = None

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def with_token(self, token: str) -> "FakeControl":
        return self

    def register(self, lb_id: str, worker: Registration) -> Session:
        self._note("register", lb_id, worker.name)
        self.sessions += 1
        return Session(str(self.sessions), f"token {self.sessions}")

    def send_state(self, lb_id: str, session_id: str, state: WorkerState) -> None:
        self._note("state", session_id, state.ready)

    def deregister(self, lb_id: str, session_id: str) -> None:
        self._note("deregister", session_id)

    def add_senders(self, lb_id: str, addresses: Sequence[str]) -> None:
        self._note("add", *addresses)

    def remove_senders(self, lb_id: str, addresses: Sequence[str]) -> None:
        self._note("remove", *addresses)

    def status(self, lb_id: str) -> LbStatus:
        self._note("status")
        return LbStatus(0, 0, 0, 512, (), (), self.expires_ns)

    def extend(self, lb_id: str, seconds: float) -> int:
        self._note("extend", seconds)
        return 0

    def close(self) -> None: ...

    def taken(self) -> list[tuple]:
        calls, self.calls = self.calls, []
        return calls


def worker_link(control: FakeControl, clock: VirtualClock) -> WorkerLink:
    worker = Registration("w", "127.0.0.1", 10000)
    return WorkerLink(control, "1", worker, lambda: WorkerState(0.5, 0.0, True), clock)


def test_a_worker_registers_once_and_reports() -> None:
    control, clock = FakeControl(), VirtualClock()
    link = worker_link(control, clock)
    for _ in range(3):
        link.step()
        clock.advance(0.1)
    assert control.taken() == [("register", "1", "w"), ("state", "1", True), ("state", "1", True), ("state", "1", True)]
    assert link.figures().registered and link.figures().states == 3


def test_a_worker_that_is_not_known_any_more_registers_anew() -> None:
    control, clock = FakeControl(), VirtualClock()
    link = worker_link(control, clock)
    link.step()
    control.error = ControlError("gone", unknown=True)
    link.step()
    assert not link.figures().registered and link.figures().errors == 1
    control.error = None
    control.taken()
    link.step()
    assert control.taken() == [("register", "1", "w"), ("state", "2", True)] and link.figures().registrations == 2


def test_registration_is_tried_again_with_back_off() -> None:
    control, clock = FakeControl(), VirtualClock()
    control.error = ControlError("not reachable")
    link = worker_link(control, clock)
    for _ in range(100):
        link.step()
        clock.advance(0.1)
    assert 4 <= len(control.taken()) <= 8
    control.error = None
    clock.advance(BACKOFF_SECONDS[1])
    link.step()
    assert link.figures().registered and link.figures().last_error == ""


def test_a_session_is_renewed_before_it_is_forgotten() -> None:
    control, clock = FakeControl(), VirtualClock()
    link = worker_link(control, clock)
    link.step()
    control.error = ControlError("not reachable")  # not unknown: the session is kept for a while
    passed = 0.0
    while passed <= RENEW_SECONDS:
        clock.advance(1.0)
        passed += 1.0
        link.step()
    assert ("register", "1", "w") not in control.taken()[1:]
    control.error = None
    clock.advance(1.0)
    link.step()
    link.step()
    assert ("register", "1", "w") in control.taken() and RENEW_SECONDS < 60


def test_a_worker_leaves_as_not_ready_and_says_whether_it_was_told() -> None:
    control = FakeControl()
    link = WorkerLink(control, "1", Registration("w", "127.0.0.1", 1), lambda: WorkerState(0.0, 0.0, True))
    link.start()
    assert link.leave() is bool(("deregister", "1") in control.calls)
    gone = FakeControl()
    link = worker_link(gone, VirtualClock())
    link.step()
    gone.error = ControlError("not reachable")
    link._thread.start()  # leave joins it
    assert link.leave() is False


@pytest.fixture
def sync_socket() -> Iterator[socket.socket]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(40.0)
    yield sock
    sock.close()


def test_a_sender_announces_itself_warms_up_and_syncs(sync_socket: socket.socket) -> None:
    control, clock = FakeControl(), VirtualClock()
    port = sync_socket.getsockname()[1]
    settings = SyncSettings(Endpoint("127.0.0.1", port, port), period=1.0, source_id=0x11223344, warm_up=2.0)
    link = SenderLink(control, "1", ["10.0.0.1"], settings, clock)
    assert link.step() == pytest.approx(1.0)
    message = parse_sync(sync_socket.recv(100))
    assert (message.source_id, message.tick, message.rate_hz) == (0x11223344, clock.wall_ns() // 1000, TICK_RATE_HZ)
    assert control.taken() == [("add", "10.0.0.1")] and not link.warm(0)
    clock.advance(1.0)
    link.step()
    assert not link.warm(0)
    clock.advance(1.0)
    link.step()
    assert link.warm(0) and link.figures().syncs == 3
    control.taken()
    clock.advance(ANNOUNCE_SECONDS)
    link.step()
    assert control.taken() == [("add", "10.0.0.1")]


def test_a_sender_leaves_after_its_last_packet() -> None:
    control = FakeControl()
    link = SenderLink(control, "1", ["10.0.0.1"], SyncSettings(None, warm_up=0.0))
    link.start()
    assert link.warm(30.0)
    calls = Mock()
    calls.link.leave.side_effect = link.leave
    egress = SimpleNamespace(
        worker=calls.worker,
        records=calls.records,
        publisher=calls.publisher,
        link=calls.link,
        face=calls.face,
        inputs=calls.inputs,
        memory=None,
        metadata=calls.metadata,
    )
    Egress.close(egress)  # type: ignore[arg-type]
    order = [name for name, _, _ in calls.mock_calls]
    assert order.index("worker.drain") < order.index("publisher.close") < order.index("link.leave")
    assert control.taken() == [("add", "10.0.0.1"), ("remove", "10.0.0.1")]


def test_workers_are_those_that_have_slots() -> None:
    control = FakeControl()
    link = SenderLink(control, "1", [], SyncSettings(None))
    assert link.workers() == 0
    control.error = ControlError("no")
    assert link.workers() is None
    assert SenderLink(None, "", [], SyncSettings(None)).workers() is None


def test_a_sender_that_is_refused_says_so_and_tries_again() -> None:
    control, clock = FakeControl(), VirtualClock()
    control.error = ControlError("refused", unknown=True)
    link = SenderLink(control, "1", ["10.0.0.1"], SyncSettings(None, warm_up=0.0), clock)
    link.step()
    assert not link.warm(0) and link.figures() == link.figures() and link.figures().last_error == "refused"
    control.error = None
    clock.advance(1.0)
    link.step()
    assert link.figures().announced and link.warm(0)


def test_a_reservation_is_extended_before_it_ends() -> None:
    control, clock = FakeControl(), VirtualClock()
    link = SenderLink(control, "1", [], SyncSettings(None, renew=3600.0), clock)
    control.expires_ns = clock.wall_ns() + 3000 * 10**9
    link.step()
    assert ("extend", 3600.0) not in control.taken()
    control.expires_ns = clock.wall_ns() + 1700 * 10**9
    clock.advance(60.0)
    link.step()
    assert ("extend", 3600.0) in control.taken() and link.figures().renewed == 1


def test_the_control_signal_falls_as_the_queue_fills() -> None:
    pid = Pid(Gains(set_point=0.5, proportional=200.0, integral=50.0, derivative=10.0))
    assert pid.signal(0.5, 0.0) == 0.0
    assert pid.signal(0.9, 0.1) < -80.0
    for step in range(2, 10_000):
        pid.signal(1.0, step / 10)
    assert pid.signal(1.0, 1000.0) == -1000.0
    later = [pid.signal(0.0, 1000.1 + step / 10) for step in range(500)]
    assert later[-1] > 0  # a long stay at full is not held against the worker for as long again


def test_without_gains_there_is_no_signal() -> None:
    pid = Pid(Gains())
    assert [pid.signal(fill, time) for time, fill in enumerate((0.0, 1.0, 0.3))] == [0.0, 0.0, 0.0]
