"""The lab load balancer and the control plane's client together, over real sockets on loopback."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ioc.balancer.calendar import SLOTS
from ioc.balancer.faults import Faults
from ioc.balancer.forwarder import Forwarder
from ioc.balancer.lab import Lab, LabSettings
from ioc.balancer.reservation import Pace, Target
from ioc.balancer.routes import Routes
from ioc.channels import ejfat_socket, ejfat_uri
from ioc.channels.ejfat_control import ControlPlane, ControlSettings
from ioc.channels.ejfat_control_model import Grant, Permission, Registration, Reservation, Resource, WorkerState
from ioc.channels.ejfat_segmenter import Segmenter, Stamp
from ioc.channels.ejfat_uri import Endpoint
from ioc.channels.ejfat_wire import HEAD_BYTES, LB_BYTES, LbVersion, SyncMessage, parse_segment
from ioc.core.errors import ConfigError, ControlError
from tests.integration.test_ejfat_channel import wait_for
from tests.support.certificates import make_certificate
from tests.support.epics import free_row

FAST = Pace(0.1, 0.05)
READY = WorkerState(0.25, 1.5, True)


@contextmanager
def lab(**changes: object) -> Iterator[Lab]:
    made = Lab(replace(LabSettings(port=0, admin_token="admin's", pace=FAST, receive_buffer=8 << 20), **changes))
    made.start()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def client(settings: ControlSettings) -> Iterator[ControlPlane]:
    control = ControlPlane(settings)
    try:
        yield control
    finally:
        control.close()


@contextmanager
def reserved(balancer: Lab) -> Iterator[tuple[ControlPlane, Reservation]]:
    with client(ControlSettings.of(balancer.admin_uri())) as admin:
        made = admin.reserve("test", 60.0, ["127.0.0.1"])
        assert made.token
        with client(replace(ControlSettings.of(balancer.admin_uri()), token=made.token)) as control:
            yield control, made


class Worker:
    """A plain socket that is registered as a worker."""

    def __init__(self, control: ControlPlane, lb_id: str, **changes: object) -> None:
        self.socket = ejfat_socket.listen("127.0.0.1", 0, 8 << 20)
        self.socket.settimeout(0.2)
        registration = replace(Registration("w", "127.0.0.1", self.socket.getsockname()[1]), **changes)
        self.session = control.register(lb_id, registration)
        self.calls = control.with_token(self.session.token)
        self.lb_id = lb_id
        self.report()

    def report(self, state: WorkerState = READY) -> None:
        self.calls.send_state(self.lb_id, self.session.id, state)

    def packets(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(1 << 16))
            except TimeoutError:
                return found

    def close(self) -> None:
        self.calls.close()
        self.socket.close()


@contextmanager
def workers(control: ControlPlane, lb_id: str, count: int, **changes: object) -> Iterator[list[Worker]]:
    made = [Worker(control, lb_id, **changes) for _ in range(count)]
    try:
        wait_for(lambda: all(one.slots for one in control.status(lb_id).workers), lambda: control.status(lb_id))
        next_epoch(control, lb_id)
        next_epoch(control, lb_id)  # the one with slots for all holds from its lead on, less than a period
        yield made
    finally:
        for worker in made:
            worker.close()


def next_epoch(control: ControlPlane, lb_id: str) -> None:
    epoch = control.status(lb_id).epoch
    wait_for(lambda: control.status(lb_id).epoch > epoch, lambda: "no new epoch")


def wait_forwarded(balancer: Lab, made: Reservation, packets: int) -> None:
    """Wait until so many packets came and all that are to be sent on lie in the sockets of the workers."""
    plane = balancer.registry.find(made.lb_id).plane

    def done() -> bool:
        now = plane.figures()
        return now.received == packets and sum(now.forwarded.values()) == packets - now.lost + now.doubled

    wait_for(done, plane.figures)


def send_events(
    data: Endpoint | None, count: int, size: int = 5000, version: LbVersion = 2, first: int = 1
) -> dict[int, bytes]:
    """Send events numbered from `first` on; return what each is made of."""
    assert data is not None
    sock, ip_version = ejfat_socket.connect(data.address, data.port, 1500, 4 << 20)
    sender, segmenter = ejfat_socket.PacketSender(sock, offload=True), Segmenter(1500, ip_version, version, 7)
    sent = {}
    tick = time.time_ns() // 1000
    for number in range(first, first + count):
        sent[number] = np.random.default_rng(number).bytes(size)
        packets = segmenter.lay([sent[number]], Stamp(number, tick + number, number))
        sender.send(packets.wire, packets.size)
    sender.close()
    return sent


def put_together(packets: list[bytes], lb_header: bool = False) -> dict[int, bytes]:
    events: dict[int, bytearray] = {}
    for packet in packets:
        assert (packet[:2] == b"LB") is lb_header
        segment = parse_segment(packet[:HEAD_BYTES], len(packet))
        event = events.setdefault(segment.event, bytearray(segment.length))
        event[segment.offset : segment.offset + len(packet) - segment.start] = packet[segment.start :]
    return {number: bytes(event) for number, event in events.items()}


def test_every_call_about_a_load_balancer() -> None:
    with lab() as balancer, reserved(balancer) as (control, made), workers(control, made.lb_id, 2):
        status = control.status(made.lb_id)
        assert sum(worker.slots for worker in status.workers) == status.slots == 512
        assert status.senders == ("127.0.0.1",) and status.workers[0].state.fill == 0.25
        series = {one.name: one for one in control.timeseries([f"/lb/{made.lb_id}/*"], 0)}
        assert series[f"/lb/{made.lb_id}/session/1/fillPercent"].samples[-1][1] == 0.25
        control.add_senders(made.lb_id, ["10.1.2.3", "fd00::1"])
        control.remove_senders(made.lb_id, ["127.0.0.1"])
        assert control.status(made.lb_id).senders == ("10.1.2.3", "fd00::1")
        control.set_slot_demands(made.lb_id, {"1": [(0, 16)]})
        before = control.status(made.lb_id).expires_ns or 0
        assert control.extend(made.lb_id, 3600.0) > before
        control.reset(made.lb_id, ["workers", "senders", "epochs", "sync"])
        assert control.status(made.lb_id).workers == () and control.status(made.lb_id).senders == ()


def test_every_call_of_an_administrator() -> None:
    with lab() as balancer, client(ControlSettings.of(balancer.admin_uri())) as admin:
        assert "lab" in admin.version().build
        made = admin.reserve("test", None, strategy="static")
        assert made.strategy == "static" and admin.get(made.lb_id) == replace(made, token=None)
        assert [(one.name, one.reservation) for one in admin.overview()] == [("test", replace(made, token=None))]
        token = admin.create_token("register only", [Grant(Resource.RESERVATION, Permission.REGISTER, made.lb_id)])
        assert [one.name for one in admin.child_tokens()] == ["test", "register only"]
        with client(replace(ControlSettings.of(balancer.admin_uri()), token=token)) as limited:
            assert limited.token().grants[0].permission is Permission.REGISTER
            with pytest.raises(ControlError, match="PERMISSION_DENIED"):
                limited.free(made.lb_id)
            admin.revoke_token(limited.token().id)
            with pytest.raises(ControlError, match="UNAUTHENTICATED") as refused:
                limited.register(made.lb_id, Registration("w", "127.0.0.1", 10000))
        assert refused.value.unknown and token not in str(refused.value)
        admin.free(made.lb_id)
        with pytest.raises(ControlError, match="NOT_FOUND"):
            admin.status(made.lb_id)


def test_refusals_say_what_was_expected() -> None:
    with lab() as balancer, reserved(balancer) as (control, made):
        with pytest.raises(ControlError, match="worker ports: expected a port"):
            control.register(made.lb_id, Registration("w", "127.0.0.1", 70000))
        with pytest.raises(ControlError, match="sender address: expected an IP address"):
            control.add_senders(made.lb_id, ["somewhere"])
        with pytest.raises(ControlError, match="strategy: expected dynamic"):
            ControlPlane(ControlSettings.of(balancer.admin_uri())).reserve("x", 1.0, strategy="luck")
        with pytest.raises(ControlError, match="session: expected a worker"):
            control.send_state(made.lb_id, "99", READY)


def test_tls_is_verified_unless_told_otherwise(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with lab(certificate=certificate) as balancer:
        uri = ejfat_uri.parse(ejfat_uri.to_text(balancer.admin_uri()))
        assert uri.tls
        settings = ControlSettings.of(uri)
        with client(settings) as distrusting, pytest.raises(ControlError, match="not reachable"):
            distrusting.version()
        with client(replace(settings, root_certificate=certificate.chain)) as verifying:
            assert verifying.version().build
        with client(replace(settings, verify=False)) as trusting:
            assert trusting.version().build
        with client(replace(settings, tls=False)) as plain, pytest.raises(ControlError):
            plain.version()
        missing = replace(settings, root_certificate=tmp_path / "none.pem")
        with client(missing) as broken, pytest.raises(ConfigError, match=r"none\.pem"):
            broken.version()


def test_a_client_comes_back_to_a_control_plane_that_was_started_anew() -> None:
    with lab() as balancer:
        settings = ControlSettings.of(balancer.admin_uri())
        control = ControlPlane(settings)
        assert control.version().build
    with pytest.raises(ControlError, match="not reachable"):
        control.version()

    def answers() -> bool:
        try:
            return bool(control.version().build)
        except ControlError:
            return False

    with lab(port=settings.port):
        wait_for(answers, lambda: "no answer")
    control.close()


@pytest.mark.parametrize(("version", "keep"), [(2, False), (3, False), (2, True)])
def test_events_reach_one_worker_each_whole(version: LbVersion, keep: bool) -> None:
    with lab() as balancer, reserved(balancer) as (control, made):
        with workers(control, made.lb_id, 3, keep_lb_header=keep) as crew:
            sent = send_events(made.data_v4, 300, version=version)
            wait_forwarded(balancer, made, 300 * 4)
            got = [put_together(worker.packets(), keep) for worker in crew]
        assert {number: data for events in got for number, data in events.items()} == sent
        assert sum(map(len, got)) == len(sent) and all(got)
        figures = balancer.registry.find(made.lb_id).plane.figures()
        assert figures.received == sum(figures.forwarded.values()) == 300 * 4


def test_the_entropy_chooses_the_port() -> None:
    with lab() as balancer, reserved(balancer) as (control, made):
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
        base = free_row(4)
        for index, sock in enumerate(sockets):
            sock.bind(("127.0.0.1", base + index))
        session = control.register(made.lb_id, Registration("w", "127.0.0.1", base, port_range=2))
        control.with_token(session.token).send_state(made.lb_id, session.id, READY)
        wait_for(lambda: bool(control.status(made.lb_id).workers[0].slots), lambda: control.status(made.lb_id))
        send_events(made.data_v4, 16, size=100)
        for index, sock in enumerate(sockets):
            sock.settimeout(40.0)
            numbers = {
                parse_segment(data[:HEAD_BYTES], len(data)).event for data in (sock.recv(2000) for _ in range(4))
            }
            assert {number % 4 for number in numbers} == {index}
            sock.close()


def test_strangers_and_what_is_no_ejfat_are_dropped_and_counted() -> None:
    with lab() as balancer, reserved(balancer) as (control, made):
        plane = balancer.registry.find(made.lb_id).plane
        with workers(control, made.lb_id, 1) as crew:
            assert made.data_v4 and made.sync_v4
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for junk in (b"", b"L", b"LB" + bytes(13), b"LC" + bytes(98), bytes(1400)):
                    sock.sendto(junk, (made.data_v4.address, made.data_v4.port))
                sock.sendto(bytes(28), (made.sync_v4.address, made.sync_v4.port))
                message = SyncMessage(1, 77_000_000, 0, 1_000_000)
                sock.sendto(message.to_bytes(), (made.sync_v4.address, made.sync_v4.port))
            wait_for(lambda: plane.figures().malformed == 5, plane.figures)
            wait_for(lambda: (plane.figures().bad_syncs, plane.figures().syncs) == (1, 1), plane.figures)
            wait_for(lambda: control.status(made.lb_id).predicted_tick < 10**9, lambda: control.status(made.lb_id))
            control.remove_senders(made.lb_id, ["127.0.0.1"])
            send_events(made.data_v4, 2)
            wait_for(lambda: plane.figures().strangers == 8, plane.figures)
            assert crew[0].packets() == []


def test_what_waits_of_a_sender_that_withdraws_is_still_forwarded() -> None:
    """E2SAR's sender withdraws its address before its packets have all been looked at."""
    data, sync, worker = (ejfat_socket.listen("127.0.0.1", 0, 8 << 20) for _ in range(3))
    forwarder = Forwarder(data, sync)
    target = Target("127.0.0.1", worker.getsockname()[1], 0, False)
    routes = Routes(frozenset({"127.0.0.1"}), (0,), ((1,) * SLOTS,), {1: target})
    here = Endpoint("127.0.0.1", forwarder.port, forwarder.port)
    forwarder.route(routes)
    sent = send_events(here, 3)
    forwarder.route(replace(routes, senders=frozenset()))
    forwarder.start()
    worker.settimeout(20.0)
    packets = [worker.recv(2000) for _ in range(3 * 4)]

    def refused() -> bool:
        send_events(here, 1, first=10)
        return forwarder.figures().strangers > 0

    wait_for(refused, forwarder.figures)
    forwarder.close()
    worker.close()
    assert put_together(packets) == sent


def test_a_worker_that_leaves_keeps_the_events_under_way_and_one_that_joins_gets_its_share() -> None:
    """Events are sent while one of three leaves and a fourth joins: each arrives whole, at one worker."""
    with lab() as balancer, reserved(balancer) as (control, made), workers(control, made.lb_id, 3) as crew:
        sent: dict[int, bytes] = {}
        joined: list[Worker] = []
        for burst in range(12):
            if burst == 4:
                crew[0].calls.deregister(made.lb_id, crew[0].session.id)
            if burst == 6:
                joined.append(Worker(control, made.lb_id))
            for worker in [*crew[1 if burst >= 4 else 0 :], *joined]:
                worker.report()
            sent |= send_events(made.data_v4, 20, first=burst * 20 + 1)
            next_epoch(control, made.lb_id)
        wait_forwarded(balancer, made, 12 * 20 * 4)
        got = [put_together(worker.packets()) for worker in (*crew, *joined)]
        joined[0].close()
    assert sorted(number for events in got for number in events) == sorted(sent)  # each once
    assert {number: data for events in got for number, data in events.items()} == sent
    assert max(got[0]) < 20 * 8 and min(got[3]) > 20 * 6


def test_faults_hurt_packets_and_are_counted() -> None:
    faults = Faults(loss=0.1, duplicate=0.1, reorder=0.2, delay=0.002)
    with lab(faults=faults) as balancer, reserved(balancer) as (control, made):
        plane = balancer.registry.find(made.lb_id).plane
        with workers(control, made.lb_id, 1) as crew:
            send_events(made.data_v4, 200)
            wait_forwarded(balancer, made, 200 * 4)
            packets = crew[0].packets()
        figures = plane.figures()
        assert figures.received == 800 and 30 < figures.lost < 150 and 30 < figures.doubled < 150
        assert len(packets) == figures.received - figures.lost + figures.doubled
        offsets = [parse_segment(packet[:HEAD_BYTES], len(packet)) for packet in packets]
        order = [(one.event, one.offset) for one in offsets]
        assert order != sorted(order) and LB_BYTES == 16
