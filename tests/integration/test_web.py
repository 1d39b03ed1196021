"""The web server as browsers and programs meet it: real sockets, real pvAccess, a real image server; no appliance."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from p4p.nt import NTEnum, NTScalar
from p4p.server import Server, ServerOperation
from p4p.server.thread import SharedPV
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ioc.channels.pva_snapshots import Identity, Snapshots
from ioc.channels.pva_values import SharedMonitors
from ioc.core.config_web import WebConfig
from ioc.core.errors import ConfigError, PeerError, RefusedError
from ioc.core.frame import Frame
from ioc.core.reading import Form, Reading
from ioc.web.app import WebServer, listen, url_of
from ioc.web.pvws_messages import LONGEST_MESSAGE
from ioc.web.site import site
from tests.support.epics import isolated_environment, random_prefix
from tests.support.pva_images import numbered, publish_all, serving
from tests.support.web_parts import FakeFrames, FakeValues, parts

WITHIN = 40.0


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in isolated_environment().items():
        if name.startswith("EPICS_"):
            monkeypatch.setenv(name, value)
    return random_prefix()


def until(true: Callable[[], Any], what: str) -> Any:
    """Return what is true once it is."""
    limit = time.monotonic() + WITHIN
    while not (found := true()):
        assert time.monotonic() < limit, f"{what}: not within {WITHIN} s"
        time.sleep(0.01)  # polled: that is what these values are for
    return found


class Record:
    """A PV that takes puts of up to 10."""

    def put(self, pv: SharedPV, operation: ServerOperation) -> None:
        value = operation.value()
        if not value.has("value.index") and value["value"] > 10:
            operation.done(error="too much")
            return
        pv.post(value)
        operation.done()


def newest(values: SharedMonitors, name: str, true: Callable[[Reading], bool]) -> Reading:
    """Return the first reading for which something is true."""

    def looked() -> Reading | None:
        found = values.newest(name)
        return found[1] if found is not None and true(found[1]) else None

    return until(looked, f"{name}, last seen {values.newest(name)}")


def test_values_are_followed_put_lost_and_found_again(prefix: str) -> None:
    number, choice = f"{prefix}number", f"{prefix}choice"
    scalar, enum = NTScalar("d", display=True).wrap(1.0), NTEnum().wrap({"index": 0, "choices": ["Off", "On"]})

    def provider() -> dict[str, SharedPV]:
        return {number: SharedPV(initial=scalar, handler=Record()), choice: SharedPV(initial=enum, handler=Record())}

    with closing(SharedMonitors(2)) as values:
        with Server(providers=[provider()]):
            values.watch(number)
            values.watch(number)
            values.watch(choice)
            with pytest.raises(RefusedError, match="at most 2 PVs"):
                values.watch(f"{prefix}third")
            newest(values, number, lambda one: one.form is Form.NUMBER and one.number == 1.0)
            values.put(number, 5.0, WITHIN)
            newest(values, number, lambda one: one.number == 5.0)
            with pytest.raises(RefusedError, match="too much"):
                values.put(number, 11.0, WITHIN)
            newest(values, choice, lambda one: one.text == "Off")
            values.put(choice, "On", WITHIN)
            newest(values, choice, lambda one: (one.text, one.number) == ("On", 1))
            with pytest.raises(RefusedError, match="one of Off, On"):
                values.put(choice, "Maybe", WITHIN)
        newest(values, number, lambda one: one.form is Form.GONE)
        with pytest.raises(RefusedError, match=r"within 0\.1 s"):
            values.put(number, 1.0, 0.1)
        with Server(providers=[provider()]):
            newest(values, number, lambda one: one.number == 1.0)
        values.release(number)
        assert values.watchers() == {number: 1, choice: 1}
        values.release(number)
        values.release(choice)
        assert values.watchers() == {}
        assert values.newest(number) is None


def test_snapshots_are_the_newest_frame_and_no_account_feels_them(prefix: str) -> None:
    name = f"{prefix}Image"
    with serving(name) as (_, channel), closing(Snapshots(WITHIN)) as snapshots:
        assert snapshots.fetch(name) is None
        publish_all(channel, [numbered(unique_id) for unique_id in range(1, 31)])
        assert snapshots.identity(name) == Identity(30, 30 * 1_000_000_007)
        frame = snapshots.fetch(name)
        assert isinstance(frame, Frame)
        assert (frame.unique_id, frame.series) == (30, 1)
        assert (frame.data == np.int64(30)).all()
        assert not channel.watched, "a get is no member and no viewer"
    with closing(Snapshots(0.2)) as snapshots, pytest.raises(PeerError, match="no answer"):
        snapshots.fetch(name)


class Served:
    """A site on a socket."""

    def __init__(self, folder: Path) -> None:
        self.values = FakeValues()
        self.parts = parts(folder, self.values, FakeFrames())
        config = WebConfig(port=0)
        listening = listen(config, None)
        self.place = f"127.0.0.1:{listening.getsockname()[1]}"
        self.server = WebServer(site(self.parts), listening, 4)
        self.server.start()

    def socket(self, **headers: str) -> ClientConnection:
        return connect(f"ws://{self.place}/pvws/pv", additional_headers=headers, open_timeout=WITHIN, proxy=None)

    def close(self) -> None:
        assert self.server.stop(), "the server did not end in time"
        assert self.server.failure is None
        self.parts.clients.close()
        self.parts.viewer.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    before = set(threading.enumerate())
    made = Served(tmp_path)
    yield made
    made.close()
    left = [one.name for one in set(threading.enumerate()) - before if not one.daemon]
    assert not left, f"threads left: {left}"


def test_a_program_watches_and_is_cut_off_when_the_server_ends(served: Served) -> None:
    with urllib.request.urlopen(f"http://{served.place}/api/appliance", timeout=WITHIN) as answer:
        assert json.loads(answer.read())["prefix"] == "RF:"
        assert "server" not in {name.lower() for name in answer.headers}
    served.values.numbers["RF:a"] = 1.0
    with served.socket() as socket:
        socket.send('{"type":"subscribe","pvs":["RF:a"]}')
        assert json.loads(socket.recv(WITHIN))["value"] == 1.0
        assert served.server.stop()
        with pytest.raises(ConnectionClosed):
            socket.recv(WITHIN)


def test_strangers_and_giants_are_cut_off(served: Served) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        served.socket(Origin="http://evil.example")
    with served.socket() as socket, pytest.raises(ConnectionClosed):
        socket.send("x" * (4 * LONGEST_MESSAGE + 1))
        socket.recv(WITHIN)


def test_a_port_that_is_taken_gives_way_to_a_free_one_and_a_restart_keeps_it() -> None:
    with listen(WebConfig(port=0), None) as first:
        port = first.getsockname()[1]
        with listen(WebConfig(port=port), None) as second:
            other = second.getsockname()[1]
            assert other != port
    with listen(WebConfig(port=port), other) as again:
        assert again.getsockname()[1] == other
    with pytest.raises(ConfigError, match=r"web\.address"):
        listen(WebConfig(address="192.0.2.1"), None)
    assert url_of("0.0.0.0", 1) == "http://127.0.0.1:1/"
    assert url_of("::1", 1) == "http://[::1]:1/"
