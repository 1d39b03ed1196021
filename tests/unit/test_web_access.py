"""Who may ask for the web page: hosts, origins, tokens; and how the configuration says so."""

import pytest

from ioc.core.config import Config, load
from ioc.core.config_web import WebConfig
from ioc.core.errors import ConfigError, ProtocolError, RefusedError
from ioc.web.access import Access, bearer

ACCESS = Access(frozenset({"localhost", "beamline1"}), frozenset({"https://displays:8443"}), "correct horse")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8090", "127.0.0.1:8090", "10.1.2.3", "[::1]:8090", "Beamline1:80"]
)
def test_a_browser_that_means_this_host_is_let_in(host: str) -> None:
    ACCESS.check_host(host)


@pytest.mark.parametrize(
    "host",
    [None, "", "evil.example", "evil.example:8090", "localhost.evil.example", "127.0.0.1.evil", "a@localhost", "[::1"],
)
def test_a_name_that_was_made_to_lead_here_is_turned_away(host: str | None) -> None:
    with pytest.raises(ProtocolError, match=r"Host: expected a name of this host.*web\.hosts"):
        ACCESS.check_host(host)


def test_only_our_own_pages_and_those_that_are_named_may_ask() -> None:
    host = "localhost:8090"
    for origin in (None, "http://localhost:8090", "https://LOCALHOST:8090", "https://displays:8443"):
        ACCESS.check_origin(origin, host)
    for origin in ("http://evil.example", "http://localhost:9999", "null", "file://", "http://localhost:8090.evil"):
        with pytest.raises(ProtocolError, match="Origin"):
            ACCESS.check_origin(origin, host)


def test_a_token_opens_only_if_it_is_the_one() -> None:
    ACCESS.check_token("correct horse")
    for wrong in ("", "correct hors", "correct horse ", "ä"):
        with pytest.raises(RefusedError, match="not the token"):
            ACCESS.check_token(wrong)
    with pytest.raises(RefusedError, match="looking only"):
        Access(frozenset()).check_token("")
    assert "horse" not in repr(ACCESS)


def test_a_token_may_come_in_a_header() -> None:
    assert bearer("Bearer abc") == "abc"
    for header in (None, "", "Bearer", "Bearer  ", "Basic abc"):
        assert bearer(header) is None


def test_the_page_is_on_this_host_only_and_for_looking_unless_told_otherwise() -> None:
    web = Config().web
    assert (web.enabled, web.address, web.token) == (True, "127.0.0.1", None)
    access = Access.of(WebConfig(hosts=["Beam.Lab"], token="123456789012"))
    assert {"localhost", "beam.lab"} <= access.hosts


@pytest.mark.parametrize(
    "line",
    ['address = "here"', 'token = "short"', 'hosts = ["a/b"]', 'origins = ["displays"]', "port = 70000", "clients = 0"],
)
def test_a_bad_key_is_named(line: str) -> None:
    with pytest.raises(ConfigError, match=rf"web\.{line.split()[0]}"):
        load(f"[web]\n{line}\n", "test")
