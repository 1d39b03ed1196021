"""The site over Starlette's test client, with values and frames that the test sets."""

import json
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from ioc.web import clients
from ioc.web.site import STATIC, site
from tests.support.web_parts import TOKEN, FakeFrames, FakeValues, parts, process, write_view

WITHIN = 20.0


class Site:
    """A client of a site, and what is behind it."""

    def __init__(self, folder: Path, token: str | None = TOKEN) -> None:
        self.folder = folder
        self.values = FakeValues()
        self.frames = FakeFrames()
        self.parts = parts(folder, self.values, self.frames, token)
        self.client = TestClient(site(self.parts), base_url="http://localhost:8090")

    def socket(self, **headers: str) -> WebSocketTestSession:
        return self.client.websocket_connect("/pvws/pv", headers={"host": "localhost:8090", **headers})

    def close(self) -> None:
        self.parts.clients.close()
        self.parts.viewer.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(clients, "WRONG_SECONDS", 0.0)
    write_view(tmp_path, process("detector", "detector"), process("Cons1", "consumer"), process("Web1", "web"))
    made = Site(tmp_path)
    yield made
    made.close()


def ask(socket: WebSocketTestSession, **message: Any) -> dict[str, Any]:
    """Send a message and return what comes next."""
    socket.send_text(json.dumps(message))
    return socket.receive_json()


def wait_gone(here: Site) -> None:
    limit = time.monotonic() + WITHIN
    while here.values.watchers or len(here.parts.clients):
        assert time.monotonic() < limit, f"{here.values.watchers} are still watched"
        time.sleep(0.002)  # polled: the connection ends in the server's own loop


def test_the_page_and_all_that_it_names_are_there_and_from_nowhere_else(here: Site) -> None:
    page = here.client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    files = [*re.findall(r'(?:src|href)="(/[^"#]*)"', page.text), *(f"/static/{one.name}" for one in STATIC.iterdir())]
    assert len(files) > 15
    for file in files:
        answer = here.client.get(file)
        assert answer.status_code == 200, file
        if file.endswith((".js", ".css", ".html")):
            outside = re.findall(r"""(?:https?:)?//[a-z][\w.-]+\.[a-z]{2,}[^\s"']*""", answer.text)
            assert outside == ["http://www.w3.org/2000/svg"] * len(outside), f"{file} names {outside}"
            assert "innerHTML" not in answer.text, f"{file} makes HTML of texts"
            for name in re.findall(r'from "\./([\w.]+)"', answer.text):
                assert (STATIC / name).exists(), f"{file} imports {name}"


def test_every_element_that_a_script_looks_for_is_on_the_page() -> None:
    page = (STATIC / "index.html").read_text()
    ids = set(re.findall(r'\bid="([\w-]+)"', page))
    for script in STATIC.glob("*.js"):
        for name in re.findall(r'getElementById\("([\w-]+)"\)', script.read_text()):
            assert name in ids, f"{script.name} looks for {name}"


def test_strangers_are_turned_away(here: Site) -> None:
    assert here.client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert here.client.get("/api/log", headers={"origin": "http://evil.example"}).status_code == 403
    assert here.client.get("/static/%2e%2e/site.py").status_code == 404
    assert here.client.post("/api/overview").status_code == 405
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        with pytest.raises(WebSocketDisconnect), here.socket(**headers):
            pass
    with here.socket(origin="https://displays") as socket:
        assert ask(socket, type="list") == {"type": "list", "pvs": []}


def test_a_pv_is_told_followed_and_let_go(here: Site) -> None:
    here.values.numbers["RF:a"] = 1.0
    with here.socket(origin="http://localhost:8090") as socket:
        first = ask(socket, type="subscribe", pvs=["pva://RF:a"])
        assert (first["pv"], first["value"], first["units"], first["readonly"]) == ("pva://RF:a", 1.0, "Hz", True)
        here.values.put("RF:a", 2.0, 1.0)
        second = socket.receive_json()
        assert (second["value"], "units" in second) == (2.0, False)
        assert ask(socket, type="list")["pvs"] == ["pva://RF:a"]
        assert here.client.get("/pvws/pool").json() == [{"refs": 1, "pv": "RF:a"}]
        assert here.client.get("/pvws/summary").json()["sockets"][0]["pvs"] == 1
        assert here.client.get("/pvws/socket").json()["sockets"][0]["pvs"] == [{"name": "pva://RF:a"}]
        assert here.client.get("/pvws/info").json()["server"] == "rayfan 0"
        socket.send_text('{"type":"ping"}')
        assert ask(socket, type="echo", x=1) == {"type": "echo", "x": 1}
    wait_gone(here)


def test_a_put_needs_the_token_and_is_written_down(here: Site) -> None:
    here.values.numbers["RF:a"] = 1.0
    with here.socket() as socket:
        ask(socket, type="subscribe", pvs=["RF:a"])
        refused = ask(socket, type="write", pv="RF:a", value=5)
        assert refused == {"type": "error", "message": "RF:a: not written: show the token first"}
        assert ask(socket, type="token", token="wrong")["write"] is False
        assert here.values.numbers["RF:a"] == 1.0
        assert ask(socket, type="token", token=TOKEN) == {"type": "token", "write": True, "message": ""}
        assert socket.receive_json()["readonly"] is False
        socket.send_text(json.dumps({"type": "write", "pv": "RF:a", "value": 5}))
        assert socket.receive_json()["value"] == 5.0
    wait_gone(here)
    told = [line.split(" ", 1)[1] for line in (here.folder / "puts").read_text().splitlines()]
    assert told == [
        "web:testclient testhost RF:a refused: RF:a: not written: show the token first",
        "web:testclient testhost RF:a new=5.0 old=1.0",
    ]
    counts = here.parts.clients.counts
    assert (counts.puts, counts.refused) == (1, 2)


def test_a_program_may_bring_the_token_with_it_and_learns_why_a_put_was_refused(here: Site) -> None:
    here.values.numbers["RF:Bad"] = 1.0
    with here.socket(authorization=f"Bearer {TOKEN}") as socket:
        assert socket.receive_json()["write"] is True
        assert ask(socket, type="subscribe", pvs=["RF:Bad"])["readonly"] is False
        assert "Operation not permitted" in ask(socket, type="write", pv="RF:Bad", value=1)["message"]


def test_without_a_token_in_the_configuration_nobody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "WRONG_SECONDS", 0.0)
    write_view(tmp_path)
    made = Site(tmp_path, token=None)
    assert made.client.get("/api/appliance").json()["writable"] is False
    with made.socket() as socket:
        answer = ask(socket, type="token", token=TOKEN)
        assert (answer["write"], "web.token" in answer["message"]) == (False, True)
    made.close()


def test_nonsense_is_answered_and_too_much_of_it_ends_the_connection(here: Site) -> None:
    with here.socket() as socket:
        assert ask(socket, type="subscribe", pvs=["XF:a"])["pv"] == "XF:a"
        assert ask(socket, type="subscribe", pvs=["RF:Pva1:Image"])["type"] == "error"
        for _ in range(50):
            socket.send_text("{")
            assert socket.receive_json()["type"] == "error"
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()
    with here.socket() as socket:
        socket.send_bytes(b"\0")
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_more_browsers_than_allowed_are_sent_away(here: Site) -> None:
    sockets = [here.socket().__enter__() for _ in range(4)]
    for socket in sockets:
        assert ask(socket, type="list")["type"] == "list"
    with here.socket() as fifth, pytest.raises(WebSocketDisconnect):
        fifth.receive_json()
    for socket in sockets:
        socket.close()
    wait_gone(here)


def image(here: Site, **parameters: str | int) -> tuple[dict[str, Any], bytes]:
    answer = here.client.get("/api/image", params={"channel": "Pva1:Image", **parameters})
    assert answer.status_code == 200, answer.text
    (length,) = struct.unpack(">I", answer.content[:4])
    return json.loads(answer.content[4 : 4 + length]), answer.content[4 + length :]


def test_a_picture_is_what_was_asked_for(here: Site) -> None:
    facts, pixels = image(here, low=0, high=220, x=3, y=2)
    assert (facts["size"], facts["shown"], facts["colors"]) == ([4, 3], [4, 3], 1)
    assert facts["cursor"] == {"x": 3, "y": 2, "text": "220"}
    assert [round(value * 220 / 255) for value in pixels][-1] == 220
    again = {"channel": "Pva1:Image", "after": facts["key"]}
    assert here.client.get("/api/image", params=again).status_code == 204
    here.frames.unique_id = 2
    limit = time.monotonic() + WITHIN
    while here.client.get("/api/image", params=again).status_code == 204:
        assert time.monotonic() < limit, "the newer frame is not shown"
        time.sleep(0.002)  # polled: that is how a browser learns of it, too


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/image?channel=Nobody:Image", 404),
        ("/api/image?channel=Pva1:Image&low=x", 400),
        ("/api/image?channel=Pva1:Image&low=inf", 400),
        ("/api/image?channel=Pva1:Image&after=x.1", 400),
        ("/api/image?channel=" + "x" * 300, 400),
        ("/api/log?level=LOUD", 400),
        ("/api/ledger?series=x", 400),
        ("/api/history?after=nan", 400),
        ("/api/nothing", 404),
    ],
)
def test_bad_requests_are_named(here: Site, path: str, code: int) -> None:
    assert here.client.get(path).status_code == code


def test_the_history_begins_when_the_site_is_served(here: Site) -> None:
    with here.client:
        limit = time.monotonic() + WITHIN
        while not (found := here.client.get("/api/history").json())["times"]:
            assert time.monotonic() < limit, "no sample was taken"
    assert found["lines"]["Cons1 rate"][0] == 10.0
    assert here.client.get("/api/history", params={"after": found["times"][-1]}).json()["times"] == []
