"""Metadata channels over pvAccess against a real server: kinds of values, every update, gone and back again."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from p4p import Type, Value
from p4p.nt import NTEnum, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

from ioc.channels.metadata_pva import PvaSource, PvaSources
from ioc.core.config_metadata import ChannelConfig
from ioc.core.metadata import Update
from tests.support.epics import isolated_environment, random_prefix

WITHIN = 60.0
SEARCH_SECONDS = 3.0
COUNT = 300
SCALAR = NTScalar.buildType("d")
STAGE = Type(
    [("position", ("S", None, [("x", "d"), ("trace", "ad")])), ("pulse", "l"), *NTScalar.buildType("i").items()[1:]],
    id="demo:stage:1.0",
)


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in isolated_environment().items():
        if name.startswith("EPICS_"):
            monkeypatch.setenv(name, value)
    return random_prefix()


@pytest.fixture
def sources(prefix: str) -> Iterator[PvaSources]:
    made = PvaSources()
    yield made
    made.close()


def wait(sources: PvaSources, true: Callable[[], object], what: str) -> None:
    """Wait until something is true, searching for channels meanwhile."""
    limit = time.monotonic() + WITHIN
    search = time.monotonic() + SEARCH_SECONDS
    while not true():
        assert time.monotonic() < limit, f"{what}: not within {WITHIN} s"
        if time.monotonic() > search:
            sources.search()
            search = time.monotonic() + SEARCH_SECONDS
        time.sleep(0.01)  # polled: that is what a source is for


def collect(sources: PvaSources, source: PvaSource, count: int) -> list[Update]:
    """Return the next updates of a source."""
    found: list[Update] = []

    def enough() -> bool:
        found.extend(source.poll())
        return len(found) >= count

    wait(sources, enough, f"{count} updates")
    return found


def stamped(value: float, number: int) -> Value:
    """Return a value that was true `number` ms after the epoch's second one."""
    stamp = {"secondsPastEpoch": 1, "nanoseconds": number * 1_000_000, "userTag": number}
    return Value(SCALAR, {"value": value, "timeStamp": stamp})


def test_every_update_comes_and_a_server_that_was_gone_is_found_again(prefix: str, sources: PvaSources) -> None:
    name = f"{prefix}Scalar"
    source = sources.open(ChannelConfig(channel=f"pva://{name}", match="id"))
    for _ in range(2):
        pv = SharedPV(initial=stamped(0.0, 0))
        with Server(providers=[{name: pv}]):
            collect(sources, source, 1)
            assert source.connected
            for number in range(1, COUNT + 1):
                pv.post(stamped(number / 2, number))
            found = collect(sources, source, COUNT)
            assert found == [Update(n / 2, 1_000_000_000 + n * 1_000_000, n) for n in range(1, COUNT + 1)]
        wait(sources, lambda: source.poll() == [] and not source.connected, "the channel is gone")
    assert (source.errors, source.last_error) == (0, "")


def test_only_what_has_changed_is_sent_and_the_rest_is_remembered(prefix: str, sources: PvaSources) -> None:
    """A server may send nanoseconds alone: the seconds are those of the update before."""
    pv = SharedPV(initial=stamped(1.0, 1))
    source = sources.open(ChannelConfig(channel=f"pva://{prefix}Part", match="id"))
    with Server(providers=[{f"{prefix}Part": pv}]):
        collect(sources, source, 1)
        pv.post(Value(SCALAR, {"timeStamp": {"nanoseconds": 2_000_000}}))
        assert collect(sources, source, 1) == [Update(1.0, 1_002_000_000, 1)]


def test_enums_arrays_and_fields_of_structures_are_values(prefix: str, sources: PvaSources) -> None:
    enum = SharedPV(nt=NTEnum(), initial={"index": 1, "choices": ["shut", "open"]})
    stage = SharedPV(initial=Value(STAGE, {"position": {"x": 2.5, "trace": np.array([1.0, 2.0, 3.0])}, "pulse": 7}))
    with Server(providers=[{f"{prefix}Shutter": enum, f"{prefix}Stage": stage}]):
        shutter = sources.open(ChannelConfig(channel=f"pva://{prefix}Shutter"))
        assert collect(sources, shutter, 1)[0].value == "open"
        enum.post({"index": 0})
        assert collect(sources, shutter, 1)[0].value == "shut"
        where = f"pva://{prefix}Stage"
        by_id = sources.open(ChannelConfig(channel=where, field="position.x", match="id", id_field="pulse"))
        assert collect(sources, by_id, 1)[0] == Update(2.5, 0, 7)
        second = sources.open(ChannelConfig(channel=where, field="position.trace[1]"))
        assert collect(sources, second, 1)[0].value == 2.0
        trace = sources.open(ChannelConfig(channel=where, field="position.trace"))
        np.testing.assert_array_equal(collect(sources, trace, 1)[0].value, [1.0, 2.0, 3.0])
        nothing = sources.open(ChannelConfig(channel=where, field="position.trace[9]"))
        wait(sources, lambda: nothing.poll() == [] and nothing.errors, "the update is refused")
        assert "position" in nothing.last_error or "index" in nothing.last_error
