"""The words of joining, and the desk that hears them: who may join, which seat it gets, and what it says is booked."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_sim.flow import Flow
from detector_sim.remote import Remote
from detector_sim.work_desk import WorkDesk
from ioc.channels.base import Accepted, Counters
from ioc.channels.pva import MemberAddress
from ioc.core.config import Config
from ioc.core.config_group import MOST_MEMBERS
from ioc.core.config_table import Policy
from ioc.core.errors import PeerError, ProtocolError, RayfanError
from ioc.core.frame import Frame, Item
from ioc.core.joining import new_nonce, new_token, plain, proof, same, seal, session_key, unseal
from ioc.core.status import MemberStatus, ProcessSpec, Role
from ioc.distributor.seat import Seat
from tests.support.flows import CountingSource, failed, ids_in, running_flow, shape

PREFIX = "T1:"
TOKEN = new_token()


@given(
    st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=20)), st.sampled_from(["worker", "appliance"])
)
def test_what_is_sealed_is_read_by_who_has_the_key_only(words: dict[str, Any], sender: str) -> None:
    key, other = session_key(TOKEN, PREFIX, "a", "b"), session_key(TOKEN, PREFIX, "a", "c")
    text, mac = seal(key, sender, words)
    assert unseal(key, sender, text, mac) == words
    receiver = "appliance" if sender == "worker" else "worker"
    for wrong in ((other, sender, text, mac), (key, receiver, text, mac), (key, sender, text + " ", mac)):
        with pytest.raises(ProtocolError, match="not sealed"):
            unseal(*wrong)


@given(
    st.one_of(st.text(max_size=40), st.integers(), st.none(), st.binary(max_size=9)), st.one_of(st.text(), st.none())
)
def test_any_bytes_are_refused_with_one_error(text: object, mac: object) -> None:
    with pytest.raises(ProtocolError):
        unseal(b"key", "worker", text, mac)
    try:
        assert isinstance(plain(text), dict)
    except ProtocolError:
        pass


@pytest.mark.parametrize("text", ["[1]", "1", '"x"', "{", "[" * 10_000, "x" * 70_000, '{"a":' * 30_000])
def test_a_message_is_a_json_object_of_bounded_length(text: str) -> None:
    with pytest.raises(ProtocolError, match="message"):
        plain(text)


def test_proofs_depend_on_token_prefix_and_both_nonces() -> None:
    one, two = new_nonce(), new_nonce()
    made = {proof(TOKEN, PREFIX, one, two), proof(TOKEN, PREFIX, two, one), proof(TOKEN, "T2:", one, two)}
    assert len(made | {proof(new_token(), PREFIX, one, two)}) == 4
    assert not same(next(iter(made)), None)


class Link:
    """The image channel of a worker, which here takes everything at once."""

    missed = 0
    leaving = False
    ready = True
    watched = True
    name = "channel"

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.open = True
        self._bell = socket.socketpair()
        self.came = threading.Condition()

    def publish(self, items: Sequence[Item]) -> Accepted:
        with self.came:
            self.items += items
            self.came.notify_all()
        return Accepted(len(items))

    def frames(self) -> list[Frame]:
        return [item for item in self.items if isinstance(item, Frame)]

    def wait_for(self, count: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.frames()) >= count, 20.0), f"{len(self.frames())} of {count}"

    def done(self) -> int:
        return len(self.items)

    def alive(self) -> bool:
        return self.open

    def fileno(self) -> int:
        return self._bell[0].fileno()

    def refresh(self) -> None:
        pass

    def ring_at(self, done: int) -> None:
        pass

    def expect_acknowledgement(self, within: float | None) -> None:
        pass

    def counters(self) -> Counters:
        return Counters()

    def close(self, drain: bool) -> None:
        self.open = False


class Caller:
    """A worker at the desk, without a network between."""

    def __init__(self, desk: WorkDesk, token: str = TOKEN) -> None:
        self.desk = desk
        nonce = new_nonce()
        greeting = json.loads(desk.hear("", json.dumps({"say": "greet", "nonce": nonce}), "").result(40)[0])
        self.number = greeting["nonce"]
        self.trusts = same(proof(token, PREFIX, nonce, self.number), greeting["proof"])
        self.key = session_key(token, PREFIX, nonce, self.number)
        self.said = 0
        self.link = Link()

    def say(self, what: str, **words: object) -> dict[str, Any]:
        self.said += 1
        return self.send(*seal(self.key, "worker", {"say": what, "count": self.said, **words}))

    def send(self, text: str, mac: str) -> dict[str, Any]:
        message, answer_mac = self.desk.hear(self.number, text, mac).result(40)
        return unseal(self.key, "appliance", message, answer_mac)

    def join(self, **words: object) -> dict[str, Any]:
        self.terms = self.say("join", **{"group": "g", "life": "", "host": "h", **words})
        return self.terms

    def monitor(self, remote: Remote) -> None:
        """Begin to take frames, as the image server would tell the detector."""
        remote.joined(self.address, self.link)  # type: ignore[arg-type]
        self.say("done", window=4)

    @property
    def address(self) -> MemberAddress:
        numbers = [int("".join(filter(str.isdigit, part))) for part in self.terms["channel"].split(":")[1:4]]
        return MemberAddress(*numbers)


@contextmanager
def desk_of(folder: Path, policy: str, **more: object) -> Iterator[tuple[Flow, WorkDesk, Remote]]:
    """Yield a flow with one group without local members, and the desk where workers join it."""
    table = {"count": 0, "policy": policy, "placement": "remote"}
    config = Config.model_validate({"prefix": PREFIX, "groups": {"g": table}})
    spec = ProcessSpec(role=Role.DETECTOR, name="detector", config=config, run_dir=folder)
    spec.token_file.write_text(TOKEN)
    group = shape(Policy(policy), count=0, queue=8)
    with running_flow(folder, group, CountingSource(), **{"image_mode": "Multiple", "num_images": 8, **more}) as flow:
        desk = WorkDesk(spec, flow)
        yield flow, desk, Remote(flow, desk)


def wait_until(flow: Flow, true: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + 40.0
    while not flow.submit(true).result(40):
        assert time.monotonic() < limit, f"{what}: not within 40 s"
        time.sleep(0.005)  # polled: the flow has no event for it


def present(flow: Flow, count: int) -> None:
    wait_until(flow, lambda: sum(seat.present for seat in flow.distributor.seats()) == count, f"{count} members")


def seat(flow: Flow, name: str) -> Seat:
    return next(one for one in flow.distributor.seats() if one.name == name)


def account(flow: Flow, name: str) -> MemberStatus:
    group = flow.submit(lambda: flow.distributor.groups[1].status(0)).result(40)
    return next(member for member in group.members if member.name == name)


def test_only_who_knows_the_token_gets_a_seat(tmp_path: Path) -> None:
    with desk_of(tmp_path, "acknowledged") as (flow, desk, remote):
        stranger, friend = Caller(desk, new_token()), Caller(desk)
        assert friend.trusts and not stranger.trusts, "a worker sees who does not know the token"
        with pytest.raises(PeerError, match="not sealed with the token"):
            stranger.join()
        terms = friend.join()
        assert (terms["name"], terms["group"]["processor"]) == ("Cons1001", "statistics")
        assert friend.address.member > MOST_MEMBERS and remote.admits(friend.address)
        assert not remote.admits(MemberAddress(1, 1, MOST_MEMBERS + 2)), "nobody else may take such a place"
        assert remote.link(friend.address) is None, "and nobody acknowledge for it without the key"
        assert Caller(desk).join()["name"] == "Cons1002"
        with pytest.raises(PeerError, match="not known"):
            desk.hear(new_nonce(), "{}", "")
        assert flow.failure is None


def test_a_message_is_taken_once(tmp_path: Path) -> None:
    with desk_of(tmp_path, "acknowledged") as (_flow, desk, _remote):
        caller = Caller(desk)
        caller.join()
        words = seal(caller.key, "worker", {"say": "report", "count": 7})
        assert caller.send(*words)["over"] is False
        with pytest.raises(ProtocolError, match="count"):
            caller.send(*words)


@pytest.mark.parametrize(
    "words",
    [
        {"say": "join"},
        {"say": "dance"},
        {"say": "done", "series": 1, "ids": "x"},
        {"say": "report", "status": {"role": "king"}},
        {"say": "report", "status": 5},
    ],
    ids=str,
)
def test_nonsense_of_a_worker_is_refused_and_changes_nothing(tmp_path: Path, words: dict[str, Any]) -> None:
    with desk_of(tmp_path, "acknowledged") as (flow, desk, remote):
        caller = Caller(desk)
        caller.join()
        caller.monitor(remote)
        present(flow, 1)
        with pytest.raises(RayfanError):
            caller.say(**{"what": words["say"], **{name: word for name, word in words.items() if name != "say"}})
        assert caller.say("report")["over"] is False


@pytest.mark.parametrize(
    "words", [{"group": "nobody"}, {"group": "Pva1"}, {"name": "Cons1", "member": 0}, {"member": 1}]
)
def test_a_wish_that_cannot_be_is_refused(tmp_path: Path, words: dict[str, Any]) -> None:
    with desk_of(tmp_path, "acknowledged") as (_flow, desk, _remote), pytest.raises(RayfanError):
        Caller(desk).join(**words)


@pytest.mark.parametrize("policy", ["acknowledged", "lossless", "bounded"])
def test_what_a_worker_says_is_booked_by_id(tmp_path: Path, policy: str) -> None:
    with desk_of(tmp_path, policy) as (flow, desk, remote):
        caller = Caller(desk)
        caller.join()
        caller.monitor(remote)
        present(flow, 1)
        ended = flow.acquire()
        caller.link.wait_for(4)
        assert account(flow, "Cons1001").completed == 0, "under every policy a frame is done when the worker says so"
        series = caller.link.frames()[0].series
        assert caller.say("done", series=series, ids="1,3-4", failed="2")["acknowledged"] == 4
        caller.link.wait_for(8)
        ended.result(40)
        caller.say("done", series=series, ids="5-8")
        wait_until(flow, flow.distributor.idle, "all is done")
        assert caller.say("report")["ended"] == [series, 8]
        figures = account(flow, "Cons1001")
        assert (figures.completed, figures.dropped) == (8, {})
        assert flow.drain(40.0)
        assert caller.say("report")["over"], "it is told that this was all"
    assert ids_in(failed(flow, "Cons1001")) == {2}


def test_who_leaves_hands_on_what_it_has_not_got_to(tmp_path: Path) -> None:
    with desk_of(tmp_path, "acknowledged", num_images=16) as (flow, desk, remote):
        first, second = Caller(desk), Caller(desk)
        for caller in (first, second):
            caller.join()
            caller.monitor(remote)
        present(flow, 2)
        flow.acquire().result(40)
        first.link.wait_for(4)
        first.say("leave")
        wait_until(flow, lambda: not seat(flow, "Cons1001").queue.frames, "what waited for it goes to the other one")
        series, had = first.link.frames()[0].series, {frame.unique_id for frame in first.link.frames()}
        first.say("done", series=series, ids=",".join(map(str, sorted(had))))
        wait_until(flow, lambda: not first.link.open, "it has left")
        assert first.say("report")["over"]
        got: set[int] = set()
        while len(got) < 12:
            second.link.wait_for(len(got) + 1)
            got = {frame.unique_id for frame in second.link.frames()}
            second.say("done", series=series, ids=",".join(map(str, sorted(got))))
        assert (len(had), had | got) == (4, set(range(1, 17)))
        assert flow.drain(40.0)


@pytest.mark.parametrize("policy", ["acknowledged", "bounded"])
def test_a_worker_that_acknowledges_nothing_is_cut_off(tmp_path: Path, policy: str) -> None:
    with desk_of(tmp_path, policy) as (flow, desk, remote):
        if policy == "bounded":  # then it is the desk that is patient, for as long as was configured when it joined
            shorter = replace(flow.distributor.groups[1].shape, ack_timeout=3.0)
            flow.submit(lambda: flow.distributor.reshape(1, shorter)).result(40)
        patient = flow.distributor.groups[1].shape
        hangs = Caller(desk)
        hangs.join()
        hangs.monitor(remote)
        present(flow, 1)
        flow.acquire().result(40)
        hangs.link.wait_for(4)
        flow.submit(lambda: flow.distributor.reshape(1, replace(patient, ack_timeout=0.2))).result(40)
        wait_until(flow, lambda: not hangs.link.open, "it is cut off")
        flow.submit(lambda: flow.distributor.reshape(1, patient)).result(40)
        with pytest.raises(PeerError, match="join again"):
            hangs.say("report")
        gone = account(flow, "Cons1001").dropped
        if policy == "bounded":
            assert gone == {"member_gone": 8}, "4 that it had, 4 that waited for it"
            return
        assert gone == {}
        other = Caller(desk)
        other.join()
        other.monitor(remote)
        for count in (4, 8):
            other.link.wait_for(count)
            ids = ",".join(str(frame.unique_id) for frame in other.link.frames())
            other.say("done", series=other.link.frames()[0].series, ids=ids)
        assert [frame.unique_id for frame in other.link.frames()] == list(range(1, 9))
        assert flow.drain(40.0)


def test_a_later_life_of_a_job_takes_the_seat_of_the_earlier_one(tmp_path: Path) -> None:
    table = {"count": 1, "placement": "slurm", "policy": "lossless"}
    config = Config.model_validate({"prefix": PREFIX, "groups": {"g": table}})
    spec = ProcessSpec(role=Role.DETECTOR, name="detector", config=config, run_dir=tmp_path)
    spec.token_file.write_text(TOKEN)
    few = {"image_mode": "Multiple", "num_images": 4}
    with running_flow(tmp_path, shape(count=1, queue=8), CountingSource(), **few) as flow:
        desk = WorkDesk(spec, flow)
        remote = Remote(flow, desk)
        first, second = Caller(desk), Caller(desk)
        first.join(name="Cons1", member=0, life="one")
        first.monitor(remote)
        present(flow, 1)
        flow.acquire().result(40)
        first.link.wait_for(4)
        second.join(name="Cons1", member=0, life="two")
        second.monitor(remote)
        second.link.wait_for(4)
        with pytest.raises(PeerError, match="join again"):
            first.say("report")
        second.say("done", series=second.link.frames()[0].series, ids="1-4")
        wait_until(flow, flow.distributor.idle, "all is done")
        status = {"role": "consumer", "name": "x", "pid": 7, "state": "Running", "heartbeat_ns": 1}
        second.say("report", status=status)
        told = json.loads((tmp_path / "Cons1.status").read_text())
        assert (told["name"], told["life"], told["pid"], told["figures"]) == ("Cons1", "two", 7, {"Host": "h"})
        assert account(flow, "Cons1").completed == 4
