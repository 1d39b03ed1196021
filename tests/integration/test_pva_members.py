"""PVA members that acknowledge, beside local ones and beside clients that do not: nothing is lost, whoever goes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from p4p.client.thread import Context, RemoteError
from p4p.nt import NTURI

from detector_sim.flow import Flow
from ioc.channels.images import OwnImages
from ioc.channels.pva import MemberAddress, PvaReceiver
from ioc.channels.pva_member_stream import MemberStream
from ioc.channels.stream import Arrival, StreamSettings
from ioc.core.config import ImageBackend
from ioc.core.config_table import Policy
from ioc.core.errors import RefusedError
from ioc.core.status import MemberStatus
from ioc.distributor.group import GroupShape
from ioc.distributor.seat import Seat
from tests.support.epics import alone_on_loopback, random_prefix
from tests.support.flows import CountingSource, Member, running_flow, shape
from tests.support.pva_images import cut
from tests.support.remote_members import RemoteMember, member_channels

FIRST, SECOND = MemberAddress(1, 1, 1), MemberAddress(1, 2, 1)
MULTIPLE = {"image_mode": "Multiple", "num_images": 400}


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep EPICS on loopback, and see that no thread is left over."""
    with alone_on_loopback(monkeypatch):
        yield


@pytest.fixture
def prefix() -> str:
    return random_prefix()


def wait_until(flow: Flow, true: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    limit = time.monotonic() + seconds
    while not flow.submit(true).result(40):
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.005)  # polled: the flow has no event for it


def wait_present(flow: Flow, count: int) -> None:
    wait_until(flow, lambda: sum(seat.present for seat in flow.distributor.seats()) == count, f"{count} members")


def seat(flow: Flow, name: str) -> Seat:
    return next(one for one in flow.distributor.seats() if one.name == name)  # who joined first is a matter of chance


def account(flow: Flow, name: str) -> MemberStatus:
    try:
        members = flow.submit(lambda: flow.distributor.groups[1].status(0)).result(40).members
    except RefusedError:  # the flow is over: its last word
        members = flow.snapshot.groups[0].members
    return next(member for member in members if member.name == name)


def everything(flow: Flow) -> list[int]:
    return list(range(1, flow.published + 1))


@pytest.mark.parametrize("backend", list(ImageBackend))
def test_frames_are_done_when_they_are_acknowledged(tmp_path: Path, prefix: str, backend: ImageBackend) -> None:
    group = shape(Policy.ACKNOWLEDGED, count=0, queue=8)
    with running_flow(tmp_path, group, CountingSource(), **MULTIPLE) as flow, member_channels(flow, prefix, backend):
        members = [RemoteMember(prefix, address) for address in (FIRST, SECOND)]
        for member in members:
            member.start()
        wait_present(flow, 2)
        members[0].gate.clear()
        ended = flow.acquire()
        wait_until(flow, lambda: not seat(flow, "Set1Member1").room(1), "the queue behind the window fills")
        first = account(flow, "Set1Member1")
        assert first.completed == 0, "what was posted and not acknowledged is not done"
        assert first.in_flight <= 4, "the window is half of the queue"
        members[0].gate.set()
        ended.result(40)
        assert flow.drain(40.0)
        for member in members:
            member.leave()
    assert sorted(members[0].ids + members[1].ids) == everything(flow)
    assert account(flow, "Set1Member1").completed == len(members[0].ids) == 200


def test_who_goes_or_hangs_loses_its_frames_to_the_others(tmp_path: Path, prefix: str) -> None:
    group = shape(Policy.ACKNOWLEDGED, count=1, sets=None, queue=20)
    local = Member(tmp_path, "Cons1")
    goes, hangs = RemoteMember(prefix, SECOND), RemoteMember(prefix, MemberAddress(1, 3, 1))
    with running_flow(tmp_path, group, CountingSource(), frame_rate=2000.0) as flow, member_channels(flow, prefix):
        flow.submit(lambda: flow.distributor.reshape(1, quick(flow, 0.5))).result(40)
        for member in (local, goes, hangs):
            member.start()
        wait_present(flow, 3)
        ended = flow.acquire()
        for member in (local, goes, hangs):
            member.wait_for(20)
        hangs.gate.clear()
        goes.gate.clear()
        wait_until(flow, lambda: all(seat.frames_on_way for seat in list(flow.distributor.seats())[1:]), "frames out")
        goes.leave(politely=False)
        wait_present(flow, 1)
        seen = len(local.ids)
        local.wait_for(seen + 100)
        flow.abort().result(40)
        ended.result(40)
        assert flow.drain(40.0), "nothing waits for those who are not there"
        hangs.leave()
    local.join(40.0)
    local.book.close()
    assert sorted({unique_id for _, unique_id in local.ids} | set(goes.ids) | set(hangs.ids)) == everything(flow)
    members = flow.snapshot.groups[0].members
    assert sum(member.completed for member in members) == flow.published
    assert all(member.dropped == {} for member in members)


def quick(flow: Flow, seconds: float) -> GroupShape:
    """Return the shape of the group with another time to acknowledge in."""
    return replace(flow.distributor.groups[1].shape, ack_timeout=seconds)


def test_a_client_that_does_not_acknowledge_gets_no_turn(tmp_path: Path, prefix: str) -> None:
    group = shape(Policy.ACKNOWLEDGED, count=1, queue=20)
    local = Member(tmp_path, "Cons1")
    with running_flow(tmp_path, group, CountingSource(), **MULTIPLE) as flow, member_channels(flow, prefix):
        plain = PvaReceiver(SECOND.channel(prefix))
        try:
            local.start()
            wait_until(flow, lambda: any(seat.silent for seat in flow.distributor.seats()), "a silent client")
            wait_present(flow, 1)
            flow.acquire().result(40)
            assert account(flow, "Set2Member1").silent
            assert account(flow, "Set2Member1").assigned == 0
            assert list(plain.receive(1, 0.0)) == []
            flow.submit(lambda: flow.distributor.reshape(1, shape(Policy.LOSSLESS, count=1, queue=20))).result(40)
            wait_present(flow, 2)
        finally:
            plain.close(drain=False)
    local.join(40.0)
    local.book.close()
    assert [unique_id for _, unique_id in local.ids] == everything(flow)


def test_what_the_last_member_left_waits_for_the_next(tmp_path: Path, prefix: str) -> None:
    group = shape(Policy.ACKNOWLEDGED, count=0, queue=50)
    first, second = RemoteMember(prefix, FIRST), RemoteMember(prefix, SECOND)
    few = {"image_mode": "Multiple", "num_images": 20}
    with running_flow(tmp_path, group, CountingSource(), **few) as flow, member_channels(flow, prefix):
        first.start()
        wait_present(flow, 1)
        first.gate.clear()
        flow.acquire().result(40)
        first.leave(politely=False)
        wait_present(flow, 0)
        second.start()
        second.wait_for(20)
        assert flow.drain(40.0)
        second.leave()
    assert second.ids == everything(flow)
    assert account(flow, "Set1Member1").assigned == 0


def test_bad_words_are_told_and_change_nothing(tmp_path: Path, prefix: str) -> None:
    group = shape(Policy.ACKNOWLEDGED, count=0, queue=8)
    name = FIRST.acknowledgement(prefix)
    with running_flow(tmp_path, group, CountingSource(), **MULTIPLE) as flow, member_channels(flow, prefix):
        with Context("pva", nt=False) as context:
            with pytest.raises(RemoteError, match="a client that monitors"):
                context.rpc(name, NTURI([]).wrap(name), timeout=40)
            member = RemoteMember(prefix, FIRST)
            member.start()
            wait_present(flow, 1)
            odd = NTURI([("series", "s"), ("uniqueId", "s")])
            with pytest.raises(RemoteError, match="acknowledgement, uniqueId: expected an integer of 1"):
                context.rpc(name, odd.wrap(name, kws={"series": "1", "uniqueId": "x"}), timeout=40)
            answer: Any = context.rpc(name, odd.wrap(name, kws={"series": "1", "uniqueId": "7"}), timeout=40)
            assert (answer["acknowledged"], answer["unknown"], answer["waiting"]) == (0, 1, 0)
            with pytest.raises(RemoteError, match="acknowledge by RPC"):
                context.put(name, {"waiting": 1}, timeout=40)
        flow.acquire().result(40)
        assert flow.drain(40.0)
        member.leave()
    assert member.ids == everything(flow)


def test_an_intake_that_acknowledges_loses_nothing_and_gets_nothing_twice_over_a_break(
    tmp_path: Path, prefix: str
) -> None:
    group = shape(Policy.ACKNOWLEDGED, count=0, queue=16)
    series = {**MULTIPLE, "num_images": 20}
    with running_flow(tmp_path, group, CountingSource(), **series) as flow, member_channels(flow, prefix) as images:
        stream = MemberStream(FIRST.channel(prefix), StreamSettings())
        ids: list[int] = []
        held: list[Arrival] = []

        def take(settle: bool) -> bool:
            for event in stream.take(8):
                if isinstance(event, Arrival):
                    ids.append(event.frame.unique_id)
                    held.append(event)
            while settle and held:
                held.pop(0).settle(None)
            return True

        wait_until(flow, lambda: take(True) and sum(seat.present for seat in flow.distributor.seats()) == 1, "it joins")
        ended = flow.acquire()
        wait_until(flow, lambda: take(False) and len(held) == 8, "a window of frames that are not acknowledged")
        ended.result(40)
        assert account(flow, "Set1Member1").completed == 0
        assert isinstance(images, OwnImages) and images._running is not None
        for client in list(images._running._clients.values()):
            cut(client.fileno)
        wait_until(flow, lambda: take(True) and stream.figures().disconnects == 1, "the break")
        wait_until(flow, lambda: take(True) and len(ids) == 20 and flow.distributor.idle(), "all to be acknowledged")
        stream.stop()
        stream.close()
        assert flow.drain(40.0)
    assert sorted(ids) == everything(flow) == list(range(1, 21)), "each once"
    assert account(flow, "Set1Member1").completed == 20
