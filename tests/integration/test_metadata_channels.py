"""Metadata channels over pvAccess against a real server: kinds of values, every update, gone and back again."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from p4p import Type, Value
from p4p.client.thread import Context
from p4p.nt import NTEnum, NTScalar
from p4p.server import Server
from p4p.server.thread import SharedPV

from ioc.channels.metadata_pva import PvaSource, PvaSources
from ioc.core.config_metadata import ChannelConfig
from ioc.core.metadata import Update
from tests.support.epics import isolated_environment, random_prefix
from tests.support.pva_scripted import ScriptedServer
from tests.support.pva_teller import Teller

ROOT = Path(__file__).parents[2]
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


def test_scalars_are_ours_and_the_rest_is_p4ps(
    prefix: str, sources: PvaSources, caplog: pytest.LogCaptureFixture
) -> None:
    """What kind a channel is of is known when its type is told; it is handed over once, with a line in the log."""
    caplog.set_level("INFO")
    served = {
        f"{prefix}Text": SharedPV(nt=NTScalar("s"), initial="out"),
        f"{prefix}Trace": SharedPV(nt=NTScalar("ad"), initial=np.array([1.0, 2.0])),
    }
    with Server(providers=[served]):
        text = sources.open(ChannelConfig(channel=f"pva://{prefix}Text"))
        trace = sources.open(ChannelConfig(channel=f"pva://{prefix}Trace"))
        assert collect(sources, text, 1)[0].value == "out"
        np.testing.assert_array_equal(collect(sources, trace, 1)[0].value, [1.0, 2.0])
        served[f"{prefix}Text"].post("in")
        assert collect(sources, text, 1)[0].value == "in"
    assert (text.own, trace.own) == (True, False)
    told = [record.getMessage() for record in caplog.records if "taken over by p4p" in record.getMessage()]
    assert len(told) == 1 and "Trace" in told[0]


def test_records_of_softioc_beside_another_server_of_the_host(prefix: str, sources: PvaSources) -> None:
    """A search by unicast reaches one of the two servers of that process, which tells the other."""
    name = f"{prefix}Beside"
    command = [sys.executable, "-m", "tests.support.pva_beside_softioc", name, "own"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        record = sources.open(ChannelConfig(channel=f"pva://{name}:Record"))
        value = sources.open(ChannelConfig(channel=f"pva://{name}:Value", match="id"))
        assert collect(sources, value, 1)[0].value == 7.0
        first = collect(sources, record, 1)[0]
        with Context("pva", useenv=True) as context:
            found = [first]
            for number in range(1, 6):
                context.put(f"{name}:Record", float(number), timeout=WITHIN)
                found += collect(sources, record, 1)
        assert [one.value for one in found] == [42.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        stamps = [one.stamp_ns for one in found]
        assert stamps == sorted(stamps) and abs(stamps[-1] - time.time_ns()) < WITHIN * 1e9
        assert record.own and value.own
        process.stdin.close()


def test_a_search_goes_to_all_servers_of_a_network(
    prefix: str, monkeypatch: pytest.MonkeyPatch, sources: PvaSources
) -> None:
    monkeypatch.setenv("EPICS_PVA_ADDR_LIST", "127.255.255.255")
    monkeypatch.setenv("EPICS_PVAS_INTF_ADDR_LIST", "0.0.0.0")
    monkeypatch.setenv("EPICS_PVAS_AUTO_BEACON_ADDR_LIST", "NO")
    networked = PvaSources()
    try:
        name = f"{prefix}Networked"
        with Server(providers=[{name: SharedPV(initial=stamped(2.5, 1))}]):
            source = networked.open(ChannelConfig(channel=f"pva://{name}"))
            assert collect(networked, source, 1)[0].value == 2.5
            assert source.own
    finally:
        networked.close()


@pytest.fixture
def scripted(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[ScriptedServer, PvaSources]]]:
    """Make servers that only a name server, which is themselves, tells of."""
    servers: list[ScriptedServer] = []
    opened: list[PvaSources] = []
    monkeypatch.setenv("EPICS_PVA_ADDR_LIST", "")
    monkeypatch.setenv("EPICS_PVA_CONN_TMO", "1")

    def make(teller: Teller, updates: list[tuple[float, int]], then: bytes = b"") -> tuple[ScriptedServer, PvaSources]:
        servers.append(ScriptedServer(teller, updates, then))
        monkeypatch.setenv("EPICS_PVA_NAME_SERVERS", f"127.0.0.1:{servers[-1].port}")
        opened.append(PvaSources())
        return servers[-1], opened[-1]

    yield make
    for one in (*opened, *servers):
        one.close()


@pytest.mark.parametrize(("big", "segments"), [(True, 1), (False, 3)])
def test_a_name_server_in_either_byte_order_that_falls_silent_is_connected_with_again(
    scripted: Callable[..., tuple[ScriptedServer, PvaSources]], big: bool, segments: int
) -> None:
    """It answers no echo, so that the connection is given up; by then its updates have come, and come again."""
    updates = [(number / 4, number) for number in range(1, 40)]
    server, sources = scripted(Teller(big, segments), updates)
    source = sources.open(ChannelConfig(channel="pva://Far:Away", match="id"))
    for _ in range(2):
        found = collect(sources, source, len(updates))
        assert found == [Update(value, number * 1_000_000_000 + 5, number) for value, number in updates]
    assert server.connections >= 2
    assert source.own


def test_a_server_that_breaks_the_protocol_is_left_to_p4p(
    scripted: Callable[..., tuple[ScriptedServer, PvaSources]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server, sources = scripted(Teller(), [(0.5, 1)], then=b"no pvAccess at all")
    source = sources.open(ChannelConfig(channel="pva://Bad:Apple", match="id"))
    wait(sources, lambda: source.poll() is None or not source.own, "p4p has the channel")
    told = [record.getMessage() for record in caplog.records if "taken over by p4p" in record.getMessage()]
    assert len(told) == 1 and "pvAccess header" in told[0]
    assert server.connections >= 1


def test_a_server_that_does_not_answer_is_left(
    scripted: Callable[..., tuple[ScriptedServer, PvaSources]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It echoes, so that its connection stays, but never makes the channel; each search makes another attempt."""
    monkeypatch.setattr("ioc.channels.pva_monitors.LONGEST_PAUSE", 0.1)
    server, sources = scripted(MuteTeller(), [(0.5, 1)])
    server.echoes = True
    source = sources.open(ChannelConfig(channel="pva://Mute:One"))

    def asked_again() -> bool:
        sources.search()
        return source.poll() != [] or server.wishes >= 3

    wait(sources, asked_again, "the channel is asked for again")
    assert not source.connected


class MuteTeller(Teller):
    """Makes no channel."""

    def made(self, cid: int, sid: int) -> bytes:
        return b""
