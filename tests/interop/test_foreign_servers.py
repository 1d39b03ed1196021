"""Servers of others as sources of a receiver that looks for the fastest way: none is asked for flow control."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from p4p.server import Server, StaticProvider
from p4p.server.raw import SharedPV

from ioc.channels.ntndarray import to_value
from ioc.channels.pva import PvaReceiver
from ioc.channels.pva_source import Wish
from ioc.channels.pva_standing import Way
from tests.support.epics import isolated_environment, random_prefix
from tests.support.pva_images import numbered, receive_until, wait_until

ROOT = Path(__file__).parents[2]
Post = Callable[[int], None]
"""Has a server make so many images."""


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    for variable, value in isolated_environment().items():
        if variable.startswith("EPICS_"):
            monkeypatch.setenv(variable, value)
    return f"{random_prefix()}Image"


@pytest.fixture
def pvapy(name: str) -> Iterator[Post]:
    command = [sys.executable, "-m", "tests.support.pvapy_image", name]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        assert server.stdout.readline() == "ready\n"

        def post(count: int) -> None:
            assert server.stdin is not None and server.stdout is not None
            server.stdin.write(f"{count}\n")
            server.stdin.flush()
            assert server.stdout.readline() == "done\n", "PvaPy's server lives"

        yield post
        post(1)
        server.stdin.close()


@pytest.fixture
def p4p(name: str) -> Iterator[Post]:
    channel = SharedPV(initial=to_value(numbered(0)))
    provider = StaticProvider(name)
    provider.add(name, channel)

    def post(count: int) -> None:
        for number in range(1, count + 1):
            channel.post(to_value(numbered(number)))

    with Server(providers=[provider]):
        yield post


@pytest.mark.parametrize("server", ["pvapy", "p4p"])
def test_a_server_of_others_is_monitored_plainly(name: str, server: str, request: pytest.FixtureRequest) -> None:
    post: Post = request.getfixturevalue(server)
    receiver = PvaReceiver.of(name, Wish(replay=64, fastest=True))
    try:
        wait_until(lambda: receiver.receive(8, 0.0) is not None and receiver.choice.way is not Way.SEARCHING, "a way")
        assert str(receiver.choice) == "pvAccess: the server is not Rayfan's"
        post(20)
        frames = receive_until(receiver, 20)
        assert all((frame.data == frame.unique_id).all() for frame in frames)
        ids = [frame.unique_id for frame in frames]
        assert len(ids) + sum(one.last - one.first + 1 for one in receiver.missed()) >= 20
    finally:
        receiver.close(drain=False)
