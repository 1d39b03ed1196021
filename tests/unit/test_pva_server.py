"""p4p's server on a port that another process takes at the same moment, and on ports that it cannot have."""

import socket
from typing import Any

import pytest
from p4p.nt import NTScalar
from p4p.server import Server, StaticProvider
from p4p.server.thread import SharedPV

from ioc.channels import pva
from ioc.channels.pva import PvaServer
from ioc.core.errors import UserError
from tests.support.epics import isolated_environment, random_prefix


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Return the ports that are configured, by the names of their variables."""
    environment = isolated_environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return {name: int(value) for name, value in environment.items() if name.endswith("_PORT")}


def provider() -> StaticProvider:
    """Return a provider of one channel."""
    made = StaticProvider("test")
    made.add(f"{random_prefix()}Value", SharedPV(nt=NTScalar("d"), initial=1.0))
    return made


def test_a_port_that_another_process_has_bound_but_not_yet_listens_at_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, ports: dict[str, int]
) -> None:
    asked: list[dict[str, Any]] = []

    def server(**options: Any) -> Server:
        asked.append(options)
        if len(asked) == 1:
            raise RuntimeError("Address already in use")  # what p4p says when it can bind, and not listen
        return Server(**options)

    monkeypatch.setattr(pva, "Server", server)
    served = PvaServer([provider()])
    served.start()
    try:
        assert len(asked) == 2
        assert served.port not in (None, ports["EPICS_PVAS_SERVER_PORT"])
    finally:
        served.stop()


def test_a_search_port_that_cannot_be_had_is_an_error_that_names_it(ports: dict[str, int]) -> None:
    search = ports["EPICS_PVA_BROADCAST_PORT"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("", search))  # not to be shared
        served = PvaServer([provider()])
        with pytest.raises(UserError, match=rf"EPICS_PVA_BROADCAST_PORT={search}, found .*in use.*; set EPICS_PVAS_"):
            served.start()
        assert served.port is None
