"""What a service manager is told, at a socket of the test."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ioc.core.status import State
from ioc.supervisor.appliance import DEGRADED, Appliance
from ioc.supervisor.service_manager import ServiceManager

SECOND = 10**9


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """A socket as systemd makes it, and the environment that names it, with a watchdog of 3 s."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@rayfan-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.setblocking(False)
        yield sock, {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1", "OTHER": "stays"}


def heard(sock: socket.socket) -> list[list[str]]:
    """Return the lines of all messages that are there."""
    messages = []
    while True:
        try:
            messages.append(sock.recv(4096).decode().splitlines())
        except BlockingIOError:
            return messages


def view(state: State, seconds: float, **more: object) -> Appliance:
    running = None if state is State.STARTING else SECOND
    return Appliance.model_validate(
        {
            "prefix": "RF:",
            "pid": 1,
            "state": state,
            "heartbeat_ns": round(seconds * SECOND),
            "started_ns": 0,
            "running_since_ns": running,
            **more,
        }
    )


def test_a_life_is_told_in_order(listening: tuple[socket.socket, dict[str, str]]) -> None:
    sock, environment = listening
    manager = ServiceManager.of_process(environment)
    assert environment == {"OTHER": "stays"}, "the processes that are started must not speak for the service"
    manager.show(view(State.STARTING, 0.0, message="waiting for Cons1"))
    assert heard(sock) == [["STATUS=RF: Starting, OK: waiting for Cons1", "WATCHDOG=1"]]
    manager.show(view(State.STARTING, 0.2, message="waiting for Cons1"))
    assert heard(sock) == [], "nothing new, and the watchdog is not due"
    manager.show(view(State.RUNNING, 0.4))
    assert heard(sock) == [["STATUS=RF: Running, OK", "READY=1"]]
    manager.show(view(State.RUNNING, 1.1))
    assert heard(sock) == [["WATCHDOG=1"]]
    manager.show(view(State.RUNNING, 1.2, health=DEGRADED, message="two\nlines"))
    assert heard(sock) == [["STATUS=RF: Running, Degraded: two lines"]]
    manager.show(view(State.RUNNING, 1.3))
    assert heard(sock) == [["STATUS=RF: Running, OK"]], "what was said earlier is said again once it is true again"
    manager.show(view(State.DRAINING, 1.4))
    manager.show(view(State.STOPPED, 1.6))
    assert heard(sock) == [["STATUS=RF: Draining, OK", "STOPPING=1"], ["STATUS=RF: Stopped, OK"]]
    manager.close()


def test_an_appliance_that_stops_before_it_ran_is_never_ready(listening: tuple[socket.socket, dict[str, str]]) -> None:
    sock, environment = listening
    manager = ServiceManager(environment)
    failed = view(State.FAILED, 0.2, running_since_ns=None, last_error="Cons1: no such processor")
    manager.show(failed)
    assert heard(sock) == [["STATUS=RF: Failed, OK: Cons1: no such processor", "STOPPING=1", "WATCHDOG=1"]]
    manager.close()


def test_without_a_watchdog_only_news_is_told(listening: tuple[socket.socket, dict[str, str]]) -> None:
    sock, environment = listening
    manager = ServiceManager({"NOTIFY_SOCKET": environment["NOTIFY_SOCKET"]})
    for seconds in (0, 100):
        manager.show(view(State.RUNNING, seconds))
    assert heard(sock) == [["STATUS=RF: Running, OK", "READY=1"]]
    manager.close()


def test_without_a_service_manager_nothing_happens() -> None:
    manager = ServiceManager({})
    manager.show(view(State.RUNNING, 1.0))
    manager.close()


def test_a_service_manager_that_is_gone_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    manager.show(view(State.RUNNING, 1.0))
    manager.close()
    assert "cannot be told" in caplog.text
