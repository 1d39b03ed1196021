"""The server of stamped channels against p4p, against our own client, and against a client that does not read."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from p4p.client.raw import Context as RawContext
from p4p.client.thread import Context, RemoteError

from ioc.channels.pva_monitors import Monitor, Monitors
from ioc.channels.pva_stamped_server import StampedServer
from ioc.channels.pva_wire_stamped import Wanted
from ioc.core.metadata import Update
from tests.support.epics import isolated_environment, random_prefix
from tests.support.pva_images import wait_until
from tests.support.pva_raw import SMALL_BUFFER, RawClient

COUNT = 300
SECOND = 1_000_000_000
MOST_ROUNDS = 4000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StampedServer]:
    for name, value in isolated_environment().items():
        if name.startswith("EPICS_"):
            monkeypatch.setenv(name, value)
    made = StampedServer("stamped", [f"{random_prefix()}Value"])
    made.start()
    yield made
    made.stop()


@pytest.fixture
def monitors() -> Iterator[Callable[[str], tuple[Monitors, Monitor]]]:
    made: list[Monitors] = []

    def monitor(name: str) -> tuple[Monitors, Monitor]:
        made.append(Monitors())
        wanted = Wanted("value", "timeStamp.userTag")
        return made[-1], made[-1].open(name, wanted, ["timeStamp", "value"], 2000)

    yield monitor
    for one in made:
        one.close()


def post(server: StampedServer, name: str, numbers: range) -> list[Update]:
    """Post an update for each number, a burst at a time, and return them."""
    sent = [Update(number / 2, number * SECOND + 7, number) for number in numbers]
    for at in range(0, len(sent), 100):
        for update in sent[at : at + 100]:
            server.post(name, update)
        server.flush()
    return sent


def test_every_update_reaches_p4p_and_our_own_client(
    server: StampedServer, monitors: Callable[[str], tuple[Monitors, Monitor]]
) -> None:
    (name,) = server.channels
    ours, own = monitors(name)
    found: list[Update] = []
    seen: list[tuple[float, int]] = []
    with RawContext("pva", nt=False, useenv=True) as context:
        request = "record[queueSize=2000,pipeline=true]field(value,timeStamp)"
        subscription = context.monitor(name, lambda: None, request=request)

        def both(count: int) -> bool:
            found.extend(ours.updates_of(own))
            while (popped := subscription.pop()) is not None:
                if not isinstance(popped, Exception):
                    seen.append((popped["value"], popped["timeStamp.userTag"]))
            return len(found) >= count and len(seen) >= count

        wait_until(lambda: both(1), "the first value")
        sent = post(server, name, range(1, COUNT + 1))
        wait_until(lambda: both(COUNT + 1), "all updates")
        subscription.close()
    assert found == [Update(0.0, 0, 0), *sent]
    assert seen == [(one.value, one.unique_id) for one in found]
    assert server.overruns == 0


def test_what_is_asked_by_other_operations_is_answered_or_refused(server: StampedServer) -> None:
    (name,) = server.channels
    post(server, name, range(1, 4))
    with Context("pva", nt=False, useenv=True) as context:
        value: Any = context.get(name, timeout=30.0)
        stamp = value["timeStamp"]
        assert (value["value"], stamp["secondsPastEpoch"], stamp["nanoseconds"]) == (1.5, 3, 7)
        assert value.getID() == "epics:nt/NTScalar:1.0"
        with pytest.raises(RemoteError, match="Put not supported"):
            context.put(name, {"value": 1.0}, timeout=30.0)
        with pytest.raises(RemoteError, match="expected one of value"):
            context.get(name, request="field(nothing)", timeout=30.0)


def test_a_client_that_does_not_read_costs_the_others_nothing(
    server: StampedServer, monitors: Callable[[str], tuple[Monitors, Monitor]]
) -> None:
    """Its queue is bounded: what it is not sent is merged, and it is told so; the newest reaches it in the end."""
    (name,) = server.channels
    ours, own = monitors(name)
    found: list[Update] = []

    def more(count: int) -> bool:
        found.extend(ours.updates_of(own))
        return len(found) >= count

    wait_until(lambda: more(1), "the first value")
    assert server.port is not None
    with RawClient(server.port, SMALL_BUFFER) as slow:
        slow.open(name)
        slow.monitor({"field": {"timeStamp": {"userTag": {}}}})
        last = 0
        while not server.overruns:
            assert last < MOST_ROUNDS * 500, "the queue of a client that does not read has no bound"
            post(server, name, range(last + 1, last + 501))
            last += 500
            wait_until(partial(more, last + 1), "a burst at the other client")
        assert [one.unique_id for one in found] == list(range(last + 1))
        newest, overrun = 0, False
        while newest < last:
            newest, overrun = slow.update()
        assert (newest, overrun) == (last, True)
