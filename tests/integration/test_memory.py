"""Little memory and every policy side by side; a foreign detector that cannot be slowed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detector_sim.app import merged_figures
from detector_sim.flow import Flow
from detector_sim.images import ImageStore
from detector_sim.live import LiveImages
from ioc.channels.pva import PvaReceiver
from ioc.core.config_table import Policy
from ioc.core.overflow import Limits
from ioc.core.status import MemberStatus
from ioc.distributor.group import GroupShape
from tests.support.epics import alone_on_loopback, random_prefix
from tests.support.flows import CountingSource, Member, ids_in, left_runs, running_flow, shape
from tests.support.pva_images import numbered, publish_all, serving

SLOTS = 16
FRAMES = 600


def wait_until(flow: Flow, true: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    limit = time.monotonic() + seconds
    while not flow.submit(true).result(40):
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.005)  # polled: the flow has no event for it


def present(flow: Flow) -> int:
    return sum(seat.present for seat in flow.distributor.seats())


def account(flow: Flow, group: str) -> MemberStatus:
    return next(one for one in flow.snapshot.groups if one.name == group).members[0]


def ids(member: Member) -> list[int]:
    return [unique_id for _, unique_id in member.ids]


def finish(members: list[Member]) -> None:
    for member in members:
        member.join(40.0)
        assert not member.is_alive(), f"{member.name} did not end"
        member.book.close()


def add_groups(flow: Flow, policies: list[Policy]) -> None:
    """Make a group of one member for each policy, in slots from 2 on, called by the policy."""
    for slot, policy in enumerate(policies, 2):
        group = GroupShape(policy.value, 1, None, 1, Limits(policy, 50))
        flow.distributor.add_group(slot, group, [policy.value])


def test_with_little_memory_nothing_hangs_and_only_those_lose_that_may(tmp_path: Path) -> None:
    policies = list(Policy)
    members = [Member(tmp_path, policy.value, group=policy.value) for policy in policies]
    first = Member(tmp_path, "Cons1")
    with running_flow(tmp_path, shape(queue=50), CountingSource(), image_mode="Multiple", num_images=FRAMES) as flow:
        flow.submit(lambda: add_groups(flow, policies)).result(40)
        store = ImageStore(CountingSource((64, 64)), SLOTS * 64 * 64, 500)
        flow.submit(lambda: flow.replace_store(store)).result(40)
        for member in (first, *members):
            member.start()
        wait_until(flow, lambda: present(flow) == 5, "all members")
        slow = [member for member in members if Policy(member.name).may_drop]
        for member in slow:
            member.gate.clear()
        flow.acquire().result(40)  # those that may lose frames hang: the source does not wait for them
        for member in slow:
            member.gate.set()
        assert store.segment.size <= SLOTS * 64 * 64
    finish([first, *members])
    for member, name in ((first, "g"), *((member, member.name) for member in members)):
        told = account(flow, name)
        missing = ids_in(left_runs(tmp_path / "detector.journal", "Cons1" if name == "g" else name))
        assert sorted([*ids(member), *missing]) == list(range(1, FRAMES + 1)), name
        assert set(told.dropped) <= {"queue_full", "replaced", "shed"}
        if name == "g" or not Policy(name).may_drop:
            assert told.dropped == {}, name
    assert account(flow, "bounded").dropped["shed"] > 0, "memory was short, and that is the reason given"


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep EPICS on loopback, and see that no thread is left over."""
    with alone_on_loopback(monkeypatch):
        yield


@pytest.mark.usefixtures("loopback")
def test_a_foreign_detector_is_not_slowed_and_what_it_loses_is_named(tmp_path: Path) -> None:
    name = f"{random_prefix()}Pva1:Image"
    slow, quick = Member(tmp_path, "Cons1"), Member(tmp_path, "bounded", group="bounded")
    with serving(name) as (_, channel), running_flow(tmp_path, shape(queue=8), CountingSource()) as flow:
        flow.submit(lambda: add_groups(flow, [Policy.BOUNDED])).result(40)
        size = 64 * 64 * 8
        receiver = PvaReceiver(name, queue_bytes=10 * size)
        flow.submit(lambda: flow.replace_store(LiveImages(receiver, 40 * size, 100))).result(40)
        slow.start()
        quick.start()
        wait_until(flow, lambda: present(flow) == 2, "both members")
        ended = flow.acquire()
        published = 0

        def publish(frames: int) -> None:
            nonlocal published
            for _ in range(frames):
                published += 1
                publish_all(channel, [numbered(published)])

        wait_until(flow, lambda: channel.watched, "the detector watches")
        while not quick.ids:  # of what was given before its monitor was set up it sees the newest only
            publish(1)
            time.sleep(0.005)
        slow.gate.clear()
        limit = time.monotonic() + 40.0
        while flow.submit(lambda: flow.snapshot.waiting_for).result(40) != "room at a lossless member":
            assert time.monotonic() < limit, "the lossless member does not hold the source up"
            publish(20)  # of a burst the monitor may merge all but the newest
            time.sleep(0.005)
        publish(300)
        held_up = flow.published
        quick.wait_for(held_up)  # what is queued goes on to those who have room
        assert account(flow, "bounded").dropped == {}
        slow.gate.set()
        slow.wait_for(held_up + 1)
        wait_until(flow, lambda: flow.snapshot.waiting_for == "a frame of the source", "all that came is taken in")
        publish(1)
        wait_until(flow, lambda: flow.published > held_up + 1, "the newest frame")
        flow.abort().result(40)
        ended.result(40)
        figures = merged_figures(receiver.missed())
    finish([slow, quick])
    assert ids(slow) == ids(quick) == list(range(1, flow.published + 1)), "lossless means all that came in"
    merged = int(figures["SourceMissed"])
    assert merged > 0
    assert str(figures["SourceMissedIds"]).startswith("merged 1:"), "by reason, series and ids of the foreign channel"
    assert flow.published + merged <= published
