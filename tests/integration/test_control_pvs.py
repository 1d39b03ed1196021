"""The control PVs of a running appliance, by pyepics and p4p: they exist, act, read back and refuse."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.sync.client import connect

from ioc.channels.book import BookReader
from ioc.console import read_config
from ioc.pvlist_command import rows
from tests.support.appliance import RAYFAN, appliance
from tests.support.clients import User, user_of
from tests.support.epics import free_port
from tests.support.promised_pvs import PRECISIONS, REFUSED, UNITS, every_name
from tests.support.site_services import ServiceManager, assert_metrics_are_pvs, gateway

STAGE = "RAYFAN_PVA_STAGE"
TOKEN = "nobody-guesses-this"
WEB = ("web.port=0", f"web.token={TOKEN}")
STATUSES = {"cam1": "detector", "Cons1": "Cons1", "Cons2": "Cons2", "Ejfat1": "Ejfat1", "EjfatIn1": "EjfatIn1"}
METRICS = free_port()
GUARDED = {"cam1:FrameRate": 90.0, "cam1:NumExposures": 2, "Dist1:Count": 1}
"""Puts of an operator through the gateway: the first is let through, for the others nobody or experts only."""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Somebody at the demo with small, slow frames; at the end every frame is accounted for."""
    folder = tmp_path_factory.mktemp("demo")
    settings = ("detector.acquire_at_start=false", "detector.size=[32, 32]", "detector.frame_rate=100", *WEB)
    arguments = (argument for one in (*settings, f"metrics.port={METRICS}") for argument in ("--set", one))
    with ServiceManager(folder) as manager, appliance(folder, *arguments, **manager.environment) as run:
        run.wait_running("detector", "Cons1", "Cons2", "Ejfat1", "EjfatIn1", "Web1")
        with user_of(run) as user:
            user.wait("Dist1:Members_RBV", 2)
            yield user
        run.stop()
        manager.assert_whole_life()


@pytest.fixture
def flowing(user: User) -> Iterator[User]:
    """Frames flow, without end."""
    user.put("cam1:ImageMode", "Continuous")
    user.put_plain("cam1:Acquire", 1)
    user.wait("cam1:Acquire_RBV", "Acquiring")
    yield user
    user.put("cam1:Acquire", 0)
    user.wait("cam1:Acquire_RBV", "Done")


def test_every_pv_is_there_by_ca_and_by_pva(user: User) -> None:
    names = every_name()
    assert user.ask_all("absent", names) == []
    assert user.ask_all("missing", names) == []


def test_what_pvlist_lists_is_served_and_nothing_else(user: User) -> None:
    config = read_config(None, [])
    assert user.ask_all("missing", [row.name.removeprefix(config.prefix) for row in rows(config)]) == []
    listed = [row for row in rows(config, "detector") if row.kind not in ("structure", "NTNDArray", "NTTable")]
    own = [row for row in listed if not row.description.startswith("Alias of ")]
    hidden = 1  # what holds the put-callback of Acquire
    assert int(user.get("detector:RECORD_CNT")) in (len(own) + hidden, len(listed) + hidden)


def test_top_shows_every_process_and_group(user: User) -> None:
    command = [str(RAYFAN), "top", user.run.prefix, "--once"]
    told: list[str] = []

    def complete() -> bool:
        """Ask once; the command waits 5 s for answers, which a busy machine may not give in time."""
        done = subprocess.run(
            command, env=user.run.environment, capture_output=True, text=True, timeout=60, check=False
        )
        told.append(done.stdout + done.stderr)
        return done.returncode == 0 and "no answer" not in done.stdout

    user.run.wait_until(complete, "rayfan top has all answers", 120.0)
    rows = {line.split()[0]: line.split()[1:] for line in told[-1].splitlines() if line.split()}
    for name in (*STATUSES.values(), "Web1"):
        assert rows[name][0] == "Running", told[-1]
    assert rows["stats"][:4] == ["lossless", "2", "of", "2"]
    assert all(len(line) <= 80 for line in told[-1].splitlines())


def test_a_web_client_with_the_token_puts_and_is_written_down(user: User) -> None:
    url = str(user.get("Web_RBV"))
    assert url == user.run.status("Web1")["figures"]["Address"]
    pv, before = f"{user.run.prefix}cam1:Temperature", user.get("cam1:Temperature_RBV")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with connect(f"ws{url[4:]}pvws/pv", additional_headers=bearer, open_timeout=60, proxy=None) as web:
        assert json.loads(web.recv(60))["write"] is True
        web.send(json.dumps({"type": "subscribe", "pvs": [pv]}))
        told = json.loads(web.recv(60))
        assert (told["vtype"], told["units"], told["value"], told["readonly"]) == ("VDouble", "C", before, False)
        web.send(json.dumps({"type": "write", "pv": pv, "value": before + 1}))
        assert json.loads(web.recv(60))["value"] == before + 1
    user.wait("cam1:Temperature_RBV", before + 1)
    puts = user.run.run_dir / "puts"
    line = f" web:127.0.0.1 {socket.gethostname()} {pv} new={before + 1} old={before}\n"
    user.run.wait_until(lambda: line in puts.read_text(), f"{line} in the log of puts")


def test_every_exported_figure_is_that_of_its_pv(user: User) -> None:
    user.wait_until("Ledger:Queued_RBV", lambda found: found == 0, "0: what is shown does not change any more")
    assert_metrics_are_pvs(user, METRICS)


@pytest.mark.skipif(STAGE not in os.environ, reason=f"takes long: 'make pva' runs it ({STAGE} is not set)")
def test_a_gateway_lets_through_what_its_rules_say(user: User) -> None:
    with gateway(user.run) as outside:
        assert outside.ask("pva_get", f"{user.run.prefix}cam1:FrameRate_RBV")["value"] == 100.0
        refused = {name: outside.ask("pva_put", user.run.prefix + name, value, True) for name, value in GUARDED.items()}
        assert [name for name, why in refused.items() if not why] == ["cam1:FrameRate"], refused
    user.wait("cam1:FrameRate_RBV", 90.0)
    assert user.get("cam1:NumExposures") == 1 and user.get("Dist1:Count") == 2
    user.put("cam1:FrameRate", 100.0)


def test_every_record_says_what_it_is(user: User) -> None:
    described = user.ask_all("ca_fields", [f"{name}.DESC" for name in every_name()])
    assert [name for name, text in described.items() if not text] == []


@pytest.mark.parametrize(("field", "shown", "expected"), [("EGU", "units", UNITS), ("PREC", "precision", PRECISIONS)])
def test_numbers_have_units_and_digits_by_ca_and_by_pva(
    user: User, field: str, shown: str, expected: dict[str, Any]
) -> None:
    by_ca = user.ask_all("ca_fields", [f"{name}.{field}" for name in expected])
    by_pva = user.ask_all("displays", list(expected))
    prefix = user.run.prefix
    assert {name: by_ca[f"{prefix}{name}.{field}"] for name in expected} == expected
    assert {name: by_pva[f"{prefix}{name}"][shown] for name in expected} == expected


@pytest.mark.parametrize(("mode", "frames"), [("Single", 1), ("Multiple", 20)])
def test_a_put_callback_of_acquire_returns_when_the_acquisition_has_ended(user: User, mode: str, frames: int) -> None:
    user.put("cam1:ImageMode", mode)
    user.put("cam1:NumImages", 20)
    before = user.get("cam1:ArrayCounter_RBV")
    user.put("cam1:Acquire", 1)
    assert user.get("cam1:NumImagesCounter_RBV") == frames
    assert user.get("cam1:Acquire") == "Done"
    assert user.get("cam1:Acquire_RBV") == "Done"
    assert user.get("cam1:DetectorState_RBV") == "Idle"
    user.wait("cam1:ArrayCounter_RBV", before + frames)


def test_a_blocking_pva_put_of_acquire_returns_when_the_acquisition_has_ended(user: User) -> None:
    user.put("cam1:ImageMode", "Multiple")
    user.put("cam1:NumImages", 20)
    assert user.ask("pva_put", "cam1:Acquire", 1, True) == ""
    assert user.get("cam1:NumImagesCounter_RBV") == 20
    assert user.get("cam1:Acquire_RBV") == "Done"


@pytest.mark.parametrize(("mode", "state"), [("Multiple", "Aborted"), ("Continuous", "Idle")])
@pytest.mark.parametrize("by", ["CA", "PVA"])
def test_a_plain_put_of_0_stops_at_once_while_a_put_callback_waits(user: User, mode: str, state: str, by: str) -> None:
    user.put("cam1:ImageMode", mode)
    user.put("cam1:NumImages", 1_000_000)
    user.ask("begin_put", "cam1:Acquire", 1)
    user.wait("cam1:Acquire_RBV", "Acquiring")
    user.wait_until("cam1:NumImagesCounter_RBV", lambda found: found > 0, "above 0")
    assert not user.ask("is_done", "cam1:Acquire")
    if by == "CA":
        user.put_plain("cam1:Acquire", 0)
    else:
        assert user.ask("pva_put", "cam1:Acquire", 0, False) == ""
    assert user.ask("done", "cam1:Acquire")
    assert user.get("cam1:Acquire_RBV") == "Done"
    assert user.get("cam1:DetectorState_RBV") == state
    assert 0 < user.get("cam1:NumImagesCounter_RBV") < 1_000_000


def test_frame_rate_and_acquire_period_are_twins(user: User) -> None:
    try:
        user.put("cam1:FrameRate", 50.0)
        for name in ("cam1:AcquirePeriod", "cam1:AcquirePeriod_RBV"):
            user.wait(name, 0.02)
        assert user.ask("pva_put", "cam1:AcquirePeriod", 0.25, True) == ""
        for name in ("cam1:FrameRate", "cam1:FrameRate_RBV"):
            user.wait(name, 4.0)
        assert user.ask("pva_get", "cam1:FrameRate_RBV")["value"] == 4.0
    finally:
        user.put("cam1:FrameRate", 100.0)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cam1:AcquireTime", [0.0002, 0.0001]),
        ("cam1:NumImages", [7, 100]),
        ("cam1:ImageMode", ["Single", "Multiple"]),
        ("cam1:SizeX", [48, 32]),
        ("cam1:SizeY", [16, 32]),
        ("cam1:DataType", ["Float32", "UInt8"]),
        ("cam1:ColorMode", ["RGB1", "Mono"]),
        ("cam1:MinX", [5, 0]),
        ("cam1:BinY", [2, 1]),
        ("cam1:ReverseX", ["Yes", "No"]),
        ("cam1:SimMode", ["Offset&Noise", "Rayfan peaks"]),
        ("cam1:XSine2Phase", [90.0, 0.0]),
        ("cam1:NumExposures", [3, 1]),
        ("cam1:FrameType", ["FlatField", "Normal"]),
        ("Dist1:Sets", [1, 2]),
        ("Dist1:Updates", [3, 1]),
        ("Dist1:QueueSize", [32, 64]),
        ("Dist1:QueueBytes", [1_000_000, 0]),
        ("Dist1:Policy", ["Bounded", "Lossless"]),
    ],
)
def test_readbacks_follow(user: User, name: str, values: list[Any]) -> None:
    first, second = values
    user.put(name, first)
    assert user.get(name) == first
    user.wait(f"{name}_RBV", first)
    assert user.ask("pva_put", name, second, True) == ""
    assert user.ask("pva_get", name)["value"] == second
    user.wait(f"{name}_RBV", second)


@pytest.mark.parametrize(("name", "bad", "found"), REFUSED)
@pytest.mark.parametrize("by", ["CA", "PVA"])
def test_a_bad_put_changes_nothing_and_is_explained(user: User, name: str, bad: float, found: str, by: str) -> None:
    before = user.get(name), user.get(f"{name}_RBV")
    user.put("cam1:NumImages", 100)
    if by == "CA":
        user.put(name, bad)
    else:
        assert user.ask("pva_put", name, bad, True) == ""
    words = (name, "expected", f"found {found}")
    user.wait_until("cam1:StatusMessage_RBV", lambda text: all(word in text for word in words), f"about {words}")
    user.wait(name, before[0])
    assert user.get(f"{name}_RBV") == before[1]


def test_the_readout_is_shown_as_soon_as_its_put_is_complete_and_is_what_frames_have(user: User) -> None:
    """The read-backs are right before the first frame: clients describe their data by them."""
    places = {"MinX": 4, "MinY": 2, "SizeX": 24, "SizeY": 20, "BinX": 2, "BinY": 4, "SimMode": "LinearRamp"}
    places["ReverseY"] = 1

    def told() -> list[tuple[int, ...]]:
        user.put("cam1:Acquire", 1)
        names = ("size", "offset", "fullSize", "binning", "reverse")
        return [tuple(one[name] for name in names) for one in user.ask("image_fields", "Pva1:Image")["dimension"]]

    try:
        for name, value in places.items():
            user.put(f"cam1:{name}", value)
        assert (user.get("cam1:ArraySizeX_RBV"), user.get("cam1:ArraySizeY_RBV")) == (12, 5)
        assert user.get("Pva1:ArraySize0_RBV") == 12
        user.put("cam1:ImageMode", "Single")
        user.run.wait_until(lambda: told() == [(12, 4, 12, 2, False), (5, 2, 5, 4, True)], "the image tells its region")
        user.put("cam1:MinX", 60000)
        last = user.get("cam1:MaxSizeX_RBV") - 1
        assert (user.get("cam1:MinX_RBV"), user.get("cam1:SizeX_RBV")) == (last, 1)
    finally:
        back = {"MinX": 0, "MinY": 0, "BinX": 1, "BinY": 1, "SizeX": 32, "SizeY": 32, "ReverseY": 0}
        for name, value in back.items():
            user.put(f"cam1:{name}", value)
        user.put("cam1:SimMode", "Rayfan peaks")


def test_attributes_are_on_the_frames(user: User) -> None:
    user.put("cam1:ImageMode", "Single")
    text = "<Attributes><Attribute name='Sample' type='CONST' source='gold'/>"
    text += f"<Attribute name='Width' source='{user.run.prefix}cam1:SizeX_RBV'/></Attributes>"
    user.put("cam1:NDAttributesFile", text)
    assert user.get("cam1:NDAttributesStatus") == "Attributes file OK"

    def found() -> dict:
        user.put("cam1:Acquire", 1)
        return user.ask("image_fields", "Pva1:Image")["attribute"]

    user.run.wait_until(lambda: {"Sample", "Width"} <= set(found()), "both attributes are on a frame")
    attributes = found()
    assert (attributes["Sample"], attributes["Width"]) == ("gold", user.get("cam1:SizeX_RBV"))
    user.put("cam1:NDAttributesFile", "/no/such/file.xml")
    user.wait("cam1:NDAttributesStatus", "File not found")
    user.put("cam1:NDAttributesFile", "")


def test_acquire_waits_for_the_members_if_told_to(user: User) -> None:
    user.put("cam1:WaitForPlugins", 1)
    user.put("cam1:ImageMode", "Multiple")
    user.put("cam1:NumImages", 20)
    before = user.get("Cons1:Processed_RBV") + user.get("Cons2:Processed_RBV")
    user.put("cam1:Acquire", 1)
    for name in ("Cons1.book", "Cons2.book"):
        counts = BookReader(user.run.run_dir / name).read()
        assert counts.in_hand == 0
    user.wait_until("cam1:NumQueuedArrays", lambda count: count == 0, "0")
    done = [BookReader(user.run.run_dir / f"Cons{n}.book").read().processed for n in (1, 2)]
    assert sum(done) >= before + 20
    user.put("cam1:WaitForPlugins", 0)


def test_fewer_members_than_sets_are_refused_in_the_name_of_the_put(user: User) -> None:
    user.put("Dist1:Sets", 2)
    user.put("Dist1:Count", 1)
    message = user.get("cam1:StatusMessage_RBV")
    assert all(word in message for word in ("Dist1:Count", "at least Sets = 2", "found 1")), message
    assert user.get("Dist1:Count") == user.get("Dist1:Count_RBV") == 2


def test_stop_and_start_of_a_consumer_complete_when_done(flowing: User) -> None:
    flowing.wait_until("Cons2:Processed_RBV", lambda count: count > 0, "above 0")
    flowing.put("Cons2:Stop", 1)
    flowing.wait("Dist1:Members_RBV", 1)
    flowing.wait("Cons2:State_RBV", "Stopped")
    assert flowing.get("Cons2:Queued_RBV") == 0
    still = flowing.get("Cons2:Processed_RBV")
    going = flowing.get("Cons1:Processed_RBV")
    flowing.wait_until("Cons1:Processed_RBV", lambda count: count > going + 20, "20 frames more")
    assert flowing.get("Cons2:Processed_RBV") == still
    flowing.put("Cons2:Start", 1)
    flowing.wait("Cons2:State_RBV", "Running")
    flowing.wait_until("Cons2:Processed_RBV", lambda count: count > still, f"above {still}")
    assert flowing.get("Cons2:Start") == flowing.get("Cons2:Stop") == "No"


def test_reset_begins_latencies_anew(flowing: User) -> None:
    flowing.wait_until("Cons1:LatencyMax_RBV", lambda seconds: seconds > 0, "above 0")
    flowing.put("cam1:Acquire", 0)
    flowing.wait("Cons1:Queued_RBV", 0)
    flowing.put("Cons1:Reset", 1)
    flowing.wait("Cons1:LatencyMax_RBV", 0.0)


def test_configure_changes_a_setting_and_refuses_with_a_reason(user: User) -> None:
    setting = "Cons1:Set:CentroidThreshold"
    user.put("Cons1:Configure", json.dumps({"CentroidThreshold": 12.5}))
    user.wait(f"{setting}_RBV", 12.5)
    user.wait_until("Cons1:Configure_RBV", lambda text: json.loads(text) == {"CentroidThreshold": 12.5}, "12.5")
    for bad, words in (("{nonsense", ("JSON", "nonsense")), ('{"Speed": 3}', ("Speed", "CentroidThreshold"))):
        user.put("Cons1:Configure", bad)
        user.wait_until("Cons1:ConfigureMessage_RBV", lambda text, words=words: all(w in text for w in words), words[0])
        user.wait_until("Cons1:StatusMessage_RBV", lambda text, words=words: all(w in text for w in words), words[0])
        assert user.get(f"{setting}_RBV") == 12.5
    user.put(setting, 0.0)
    user.wait(f"{setting}_RBV", 0.0)
    user.wait_until("Cons1:Configure_RBV", lambda text: json.loads(text) == {"CentroidThreshold": 0.0}, "0.0")


def test_every_process_has_a_status_structure(flowing: User) -> None:
    flowing.wait_until("EjfatIn1:Frames_RBV", lambda count: count > 0, "above 0")
    for device, name in STATUSES.items():
        status = flowing.ask("pva_status", f"{device}:Status")
        assert (status["id"], status["name"], status["state"]) == ("rayfan:Status:1.0", name, "Running")
        assert status["received"] == status["processed"] + status["failed"] + status["queued"] > 0, status
    detector = flowing.ask("pva_status", "cam1:Status")
    assert [group["name"] for group in detector["groups"]][1:] == ["stats", "egress.demo"]
    assert flowing.ask("pva_status", "Status")["state"] == "Running"


def test_counters_grow_on_every_way_of_a_frame(flowing: User) -> None:
    names = [f"{name}_RBV" for name in ("Cons1:Processed", "Cons2:Processed", "Ledger:Published")]
    names += [f"Ejfat1:{name}_RBV" for name in ("Frames", "Bytes", "Packets")]
    names += [f"EjfatIn1:{name}_RBV" for name in ("Frames", "Bytes")]
    for name in names:
        before = flowing.get(name)
        flowing.wait_until(name, lambda found, before=before: found > before, f"above {before}")
    for name in ("Cons1:Rate_RBV", "Ejfat1:Rate_RBV", "EjfatIn1:Rate_RBV", "cam1:ArrayRate_RBV"):
        flowing.wait_until(name, lambda rate: rate > 0, "above 0")
    assert flowing.get("Ejfat1:Destination_RBV").startswith("127.0.0.1:")
    assert flowing.get("Ejfat1:Errors_RBV") == 0


def test_latencies_are_in_order(flowing: User) -> None:
    flowing.wait_until("Cons1:LatencyP50_RBV", lambda seconds: seconds > 0, "above 0")
    status = flowing.ask("pva_status", "Cons1:Status")  # one structure: figures of one moment
    figures = {one["name"]: one["value"] for one in status["figures"]}
    assert 0 < figures["LatencyP50"] <= figures["LatencyP99"] <= figures["LatencyMax"]


def test_the_residue_is_0_while_frames_flow(flowing: User) -> None:
    """A frame that is on the wire to a starved ingress for longer than a second is residue until it arrives."""
    before = flowing.get("Ledger:Published_RBV")
    flowing.wait_until("Ledger:Published_RBV", lambda count: count > before + 100, "100 frames more")
    flowing.wait("Ledger:Residue_RBV", 0)
