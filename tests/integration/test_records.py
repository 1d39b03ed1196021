"""An IOC with all tables, and clients that others wrote: pyepics (libca), p4p (pvxs) and caproto's command line.

One IOC and one client process for the whole module; each test uses records of its own.
"""

import getpass
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ioc.core.status import (
    GroupStatus,
    MemberStatus,
    Role,
    SeriesStatus,
    StageStatus,
    State,
    Status,
)
from ioc.records.status import status_value
from tests.support.epics import isolated_environment, random_prefix
from tests.support.ioc_process import Helper
from tests.support.ioc_tables import all_records

REFUSED_BY_PVA = "Operation not permitted"
NO_ALARM, MINOR, MAJOR, INVALID = range(4)


@dataclass(frozen=True)
class Stand:
    prefix: str
    environment: dict[str, str]
    ioc: Helper
    clients: Helper
    folder: Path

    def get(self, name: str) -> Any:
        return self.clients.ask("get", self.prefix + name)

    def put(self, name: str, value: Any, wait: bool = True) -> Any:
        return self.clients.ask("put", self.prefix + name, value, wait)

    def client(self, function: str, name: str, *arguments: Any) -> Any:
        return self.clients.ask(function, self.prefix + name, *arguments)

    def refusals(self, name: str) -> list[str]:
        return [message for refused, message in self.ioc.ask("refusals") if refused == name]

    def wait_pending(self, name: str) -> None:
        """Wait until the owner has got a put."""
        for _ in range(1000):
            if self.ioc.ask("is_pending", name):
                return
        raise AssertionError(f"the owner never got the put to {name}")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("records")
    environment, prefix = isolated_environment(), random_prefix()
    with (
        Helper("ioc_server", [prefix, str(folder)], environment, folder / "ioc.log") as ioc,
        Helper("ioc_client", [], environment, folder / "client.log") as clients,
    ):
        yield Stand(prefix, environment, ioc, clients, folder)


PAIRS = [
    ("cam1:AcquireTime", 0.25, 0.25),
    ("cam1:NumImages", 7, 7),
    ("Dist1:QueueBytes", 2**40, 2.0**40),
    ("cam1:ArrayCallbacks", 0, "Disable"),
    ("cam1:ImageMode", "Multiple", "Multiple"),
    ("cam1:DataType", 3, "UInt16"),
    ("Dist1:Name", "stats", "stats"),
    ("Cons1:Configure", '{"threshold": 3, "long": "' + "x" * 300 + '"}', None),
]


@pytest.mark.parametrize(("name", "value", "shown"), PAIRS)
def test_ca_put_reaches_the_owner_and_the_readback(stand: Stand, name: str, value: Any, shown: Any) -> None:
    expected = value if shown is None else shown
    assert stand.put(name, value) == 1
    assert stand.get(name) == expected
    assert stand.get(name + "_RBV") == expected


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("cam1:AcquirePeriod", 0.5, 0.5),
        ("Dist2:Count", 4, 4),
        ("Dist2:QueueBytes", 2**40, 2**40),
        ("Dist2:Policy", "Latest", "Latest"),
        ("Dist2:Name", "peaks", "peaks"),
    ],
)
def test_pva_put_reaches_the_owner_and_the_readback(stand: Stand, name: str, value: Any, shown: Any) -> None:
    assert stand.client("pva_put", name, value, True) == ""
    assert stand.client("pva_get", name)["value"] == shown
    assert stand.client("pva_get", name + "_RBV")["value"] == shown


def test_puts_are_handed_over_by_one_thread_of_their_own(stand: Stand) -> None:
    stand.put("Dist3:Count", 2)
    assert stand.ioc.ask("threads") == ["record-puts"]


def test_units_precision_limits_and_description_are_record_fields(stand: Stand) -> None:
    assert stand.get("cam1:AcquireTime.EGU") == "s"
    assert stand.get("cam1:AcquireTime.PREC") == 6
    assert stand.get("cam1:AcquireTime_RBV.DESC") == "Exposure of one frame"
    assert stand.get("cam1:AcquireTime_RBV.HOPR") == 3600
    assert stand.get("cam1:AcquireTime.RTYP") == "ao"
    assert stand.client("ctrl", "cam1:AcquireTime_RBV") == {
        "units": "s",
        "precision": 6,
        "lower_disp_limit": 0,
        "upper_disp_limit": 3600,
    }
    display = stand.client("pva_get", "cam1:AcquireTime")["display"]
    assert (display["units"], display["precision"], display["limitHigh"]) == ("s", 6, 3600)
    assert stand.get("cam1:DataType_RBV.DISA") == 0


def test_enums_show_their_choices_in_both_protocols(stand: Stand) -> None:
    choices = ["Single", "Multiple", "Continuous"]
    assert stand.client("pva_get", "cam1:ImageMode_RBV")["choices"] == choices
    assert stand.client("ctrl", "cam1:ImageMode")["enum_strs"] == choices


@pytest.mark.parametrize(
    ("name", "bad", "before"),
    [
        ("cam1:FrameRate", 1e9, 0.0),
        ("cam1:FrameRate", float("nan"), 0.0),
        ("cam1:NumExposures", 0, 1),
        ("cam1:ColorMode", 7, "Mono"),
        ("cam1:ArrayCounter", -1, 0),
        ("Test:Write", 5, "No"),
        ("Test:Refuse", 9, 5),
        ("Test:Broken", 9, 0),
    ],
)
@pytest.mark.parametrize("wait", [True, False])
def test_a_refused_ca_put_changes_nothing_and_says_why(
    stand: Stand, name: str, bad: Any, before: Any, wait: bool
) -> None:
    told = len(stand.refusals(name))
    stand.put(name, bad, wait)
    assert stand.client("wait_value", name, before) == before
    stand.put("cam1:NumImages", 3)  # puts are handled in order: now the refusal is known
    assert len(stand.refusals(name)) == told + 1
    assert name in stand.refusals(name)[-1]
    if name != "Test:Write":
        assert stand.get(name + "_RBV") == before
    assert stand.client("severity", name) == NO_ALARM


@pytest.mark.parametrize(("name", "bad", "before"), [("Dist4:Count", 99, 0), ("Dist4:Policy", 9, "Lossless")])
def test_a_plain_pva_put_that_is_refused_is_an_error(stand: Stand, name: str, bad: Any, before: Any) -> None:
    assert stand.client("pva_put", name, bad, False) == REFUSED_BY_PVA
    assert stand.client("pva_get", name)["value"] == before


def test_put_callbacks_carry_no_error_of_the_record(stand: Stand) -> None:
    assert stand.client("pva_put", "Dist4:Count", 99, True) == ""
    assert stand.client("pva_get", "Dist4:Count")["value"] == 0


def test_a_plain_ca_put_that_is_refused_is_an_error_for_clients_that_listen(stand: Stand) -> None:
    assert "ECA_PUTFAIL" in caproto_put(stand, "Dist4:Count", "99").stdout
    assert "ECA_PUTFAIL" in caproto_put(stand, "cam1:ColorMode", "Purple").stdout
    assert "ECA_NOWTACCESS" in caproto_put(stand, "cam1:ColorMode_RBV", "Mono").stdout
    assert stand.get("Dist4:Count") == 0


def test_a_put_while_another_is_pending_follows_it(stand: Stand) -> None:
    name = "Test:SlowAgain"
    stand.client("begin_put", name, 1)
    stand.wait_pending(name)
    stand.put(name, 2, False)
    assert stand.client("wait_value", name, 2) == 2
    stand.ioc.ask("refuse", name, f"{name}: not 1")
    assert stand.client("done", name)
    stand.wait_pending(name)
    stand.ioc.ask("finish", name)
    assert stand.client("wait_value", name + ".PACT", 0) == 0
    assert stand.get(name) == 2
    assert [value for put, value in stand.ioc.ask("puts") if put == name] == [1, 2]


def test_the_owner_may_set_a_demand_while_a_put_to_it_is_pending(stand: Stand) -> None:
    name = "Test:Slow"
    puts = len(stand.ioc.ask("puts"))
    stand.client("begin_put", name, 1.25)
    stand.wait_pending(name)
    stand.ioc.ask("set", name, 1.0)
    stand.ioc.ask("finish", name)
    assert stand.client("done", name)
    assert stand.client("wait_value", name, 1.0) == 1.0
    stand.put("cam1:NumImages", 3)
    stand.put("cam1:NumImages", 3)
    assert stand.ioc.ask("puts")[puts] == [name, 1.25]
    assert [name, 1.0] not in stand.ioc.ask("puts")[puts:]
    assert stand.ioc.ask("get", name) == 1.0


@pytest.mark.parametrize(("name", "value", "before"), [("Test:RefuseLate", 1, "A"), ("Test:RefuseText", "x", "before")])
def test_monitors_never_see_a_put_that_is_refused_later(stand: Stand, name: str, value: Any, before: Any) -> None:
    stand.client("monitor", name)
    stand.client("begin_put", name, value)
    stand.wait_pending(name)
    assert not stand.client("is_done", name)
    stand.ioc.ask("refuse", name, f"{name}: not now")
    assert stand.client("done", name)
    assert stand.get(name) == before
    assert stand.refusals(name) == [f"{name}: not now"]
    assert stand.ioc.ask("get", name) == before
    if name == "Test:RefuseLate":
        assert 1 not in stand.client("events", name, 0)


def test_a_put_callback_completes_when_the_command_has(stand: Stand) -> None:
    stand.client("begin_put", "Test:Slow", 2.5)
    stand.wait_pending("Test:Slow")
    assert not stand.client("is_done", "Test:Slow")
    stand.ioc.ask("finish", "Test:Slow")
    assert stand.client("done", "Test:Slow")
    assert stand.get("Test:Slow") == 2.5


def test_a_command_goes_back_to_zero(stand: Stand) -> None:
    stand.client("begin_put", "Cons1:Start", 1)
    stand.wait_pending("Cons1:Start")
    stand.ioc.ask("finish", "Cons1:Start")
    assert stand.client("done", "Cons1:Start")
    assert stand.get("Cons1:Start") == "No"
    puts = len(stand.ioc.ask("puts"))
    stand.put("Cons1:Start", 0)
    assert len(stand.ioc.ask("puts")) == puts


def test_the_same_value_twice_is_two_puts(stand: Stand) -> None:
    for _ in range(2):
        stand.put("cam1:ArrayCounter", 0)
    assert stand.ioc.ask("puts").count(["cam1:ArrayCounter", 0]) >= 2


def test_the_owner_may_round_what_was_put(stand: Stand) -> None:
    puts = len(stand.ioc.ask("puts"))
    stand.put("Test:Coerced", 3.4)
    assert stand.client("wait_value", "Test:Coerced", 3.0) == 3.0
    assert stand.get("Test:Coerced_RBV") == 3.0
    stand.put("cam1:NumImages", 3)
    assert stand.ioc.ask("puts")[puts:] == [["Test:Coerced", 3.4], ["cam1:NumImages", 3]]


def test_a_demand_that_the_owner_sets_is_posted_and_not_handed_back(stand: Stand) -> None:
    puts = len(stand.ioc.ask("puts"))
    stand.client("monitor", "Dist5:Updates")
    stand.ioc.ask("set_each", "Dist5:Updates", [2, 3, 4])
    assert stand.client("events", "Dist5:Updates", 3) == [2, 3, 4]
    stand.put("cam1:NumImages", 3)
    assert stand.ioc.ask("puts")[puts:] == [["cam1:NumImages", 3]]


def test_readbacks_refuse_clients(stand: Stand) -> None:
    assert not stand.client("writable", "cam1:AcquireTime_RBV")
    assert stand.client("writable", "cam1:AcquireTime")
    assert stand.client("pva_put", "cam1:ArrayRate_RBV", 1.0, False) == "Put not permitted"


def test_acquire_completes_when_the_acquisition_ends(stand: Stand) -> None:
    for name in ("cam1:Acquire", "cam1:Acquire_RBV", "cam1:AcquireBusy"):
        stand.client("monitor", name)
    stand.client("begin_put", "cam1:Acquire", 1)
    stand.wait_pending("cam1:Acquire")
    assert stand.client("wait_value", "cam1:AcquireBusy", "Acquiring") == "Acquiring"
    assert stand.client("severity", "cam1:AcquireBusy") == MINOR
    assert not stand.client("is_done", "cam1:Acquire")
    stand.ioc.ask("finish", "cam1:Acquire")
    assert stand.client("done", "cam1:Acquire")
    assert stand.get("cam1:DetectorState_RBV") == "Idle"
    for name in ("cam1:Acquire", "cam1:Acquire_RBV", "cam1:AcquireBusy"):
        assert stand.client("events", name, 2) == [1, 0], name


def test_a_plain_put_of_0_ends_the_acquisition_and_releases_the_waiting_put(stand: Stand) -> None:
    for _ in range(12):  # more often than EPICS lets an active record be asked (MAX_LOCK)
        stand.client("begin_put", "cam1:Acquire", 1)
        stand.wait_pending("cam1:Acquire")
        assert not stand.client("is_done", "cam1:Acquire")
        stand.put("cam1:Acquire", 0, False)
        assert stand.client("done", "cam1:Acquire")
        assert stand.get("cam1:Acquire_RBV") == "Done"
        assert stand.client("severity", "cam1:Acquire") == NO_ALARM


def test_a_burst_of_starts_and_stops_ends_at_rest(stand: Stand) -> None:
    for _ in range(100):
        stand.put("cam1:Acquire", 1, False)
        stand.put("cam1:Acquire", 0, False)
    stand.put("cam1:Acquire", 0)
    for name in ("cam1:Acquire", "cam1:Acquire_RBV", "cam1:AcquireBusy"):
        assert stand.client("wait_value", name, "Done") == "Done", name
    assert not stand.ioc.ask("is_pending", "cam1:Acquire")


def test_a_put_callback_during_an_acquisition_that_a_plain_put_began_waits_for_its_end(stand: Stand) -> None:
    for _ in range(5):
        stand.put("cam1:Acquire", 1, False)
        stand.wait_pending("cam1:Acquire")
        stand.client("begin_put", "cam1:Acquire", 1)
        assert stand.client("wait_value", "cam1:AcquireWait.PACT", 1) == 1
        assert not stand.client("is_done", "cam1:Acquire")
        stand.put("cam1:Acquire", 0, False)
        assert stand.client("done", "cam1:Acquire")
        assert stand.get("cam1:AcquireBusy") == "Done"


def test_pva_with_block_waits_for_the_acquisition_too(stand: Stand) -> None:
    put = "from p4p.client.thread import Context; import sys; " + (
        "Context('pva').put(sys.argv[1], 1, request='record[block=true]field()')"
    )
    command = [sys.executable, "-c", put, stand.prefix + "cam1:Acquire"]
    with subprocess.Popen(command, env=stand.environment) as client:
        stand.clients.ask("wait_value", stand.prefix + "cam1:Acquire_RBV", "Acquiring")
        stand.wait_pending("cam1:Acquire")
        assert client.poll() is None
        assert stand.client("pva_put", "cam1:Acquire", 0, False) == ""
        assert client.wait(60) == 0


def test_an_acquisition_that_the_owner_began_shows_on_acquire(stand: Stand) -> None:
    stand.ioc.ask("own_acquisition")
    assert stand.client("wait_value", "cam1:Acquire", "Acquire") == "Acquire"
    assert stand.get("cam1:AcquireBusy") == "Acquiring"
    stand.ioc.ask("finish", "cam1:Acquire")
    assert stand.client("wait_value", "cam1:Acquire", "Done") == "Done"
    assert stand.get("cam1:AcquireBusy") == "Done"


def test_successive_values_are_never_merged(stand: Stand) -> None:
    stand.client("monitor", "cam1:NumImagesCounter_RBV")
    values = [*range(1, 51)]
    stand.ioc.ask("set_each", "cam1:NumImagesCounter_RBV", values)
    assert stand.client("events", "cam1:NumImagesCounter_RBV", len(values)) == values


def test_set_many_writes_what_has_changed(stand: Stand) -> None:
    stand.client("monitor", "Cons1:Rate_RBV")
    stamp = stand.client("pva_get", "Cons1:Received_RBV")
    for rate in (1.5, 1.5, 2.5):
        stand.ioc.ask("set_many", {"Cons1:Rate_RBV": rate, "Cons1:Received_RBV": 0})
    assert stand.client("events", "Cons1:Rate_RBV", 2) == [1.5, 2.5]
    assert stand.client("pva_get", "Cons1:Received_RBV") == stamp


def test_readbacks_go_into_alarm_by_their_limits_states_and_when_unknown(stand: Stand) -> None:
    for name, bad, severity, good in (
        ("Ledger:Residue_RBV", 1, MAJOR, 0),
        ("Ledger:Residue_RBV", -1, MAJOR, 0),
        ("Cons1:Dropped_RBV", 1, MINOR, 0),
        ("Cons1:State_RBV", "Failed", MAJOR, "Running"),
    ):
        stand.ioc.ask("set", name, bad)
        assert stand.client("severity", name) == severity, name
        stand.ioc.ask("set", name, good)
        assert stand.client("severity", name) == NO_ALARM, name
    stand.ioc.ask("invalidate", ["Cons1:Processed_RBV", "Process1:State_RBV"])
    assert stand.client("severity", "Cons1:Processed_RBV") == INVALID
    assert stand.client("severity", "Process1:State_RBV") == INVALID
    stand.ioc.ask("set_many", {"Cons1:Processed_RBV": 0})
    assert stand.client("severity", "Cons1:Processed_RBV") == NO_ALARM


def test_numbers_saturate_and_texts_are_cut(stand: Stand) -> None:
    stand.ioc.ask("set", "cam1:UniqueId_RBV", 2**40)
    assert stand.get("cam1:UniqueId_RBV") == 2**31 - 1
    stand.ioc.ask("set", "Cons1:LastError_RBV", "e" * 1000)
    assert stand.get("Cons1:LastError_RBV") == "e" * 255
    stand.ioc.ask("set", "Cons1:LastError_RBV", "")
    assert stand.get("Cons1:LastError_RBV") == ""


def test_derived_records_of_the_templates_follow(stand: Stand) -> None:
    stand.ioc.ask("set_many", {"Cons1:Received_RBV": 75, "Cons1:Dropped_RBV": 25})
    assert stand.client("wait_value", "Cons1:LossPercent_RBV", 25.0) == 25.0
    assert stand.client("severity", "Cons1:LossPercent_RBV") == MAJOR
    stand.ioc.ask("set_many", {"cam1:ArrayRate_RBV": 1000.0, "cam1:ArraySize_RBV": 262144})
    assert stand.client("wait_value", "cam1:ByteRate_RBV", 262.144) == 262.144
    stand.ioc.ask("set", "cam1:NumImagesCounter_RBV", 77)
    assert stand.get("cam1:ImageCounter_RBV") == 77
    stand.ioc.ask("set", "Ledger:Residue_RBV", 1)
    assert stand.client("wait_value", "Alarm_RBV", 1.0) == 1.0
    assert stand.client("severity", "Alarm_RBV") == MAJOR


def caproto_put(stand: Stand, name: str, value: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "caproto.commandline.put", "--no-repeater", stand.prefix + name, value]
    return subprocess.run(command, env=stand.environment, capture_output=True, text=True, timeout=60)


def test_caproto_reads_and_writes(stand: Stand) -> None:
    result = caproto_put(stand, "Dist6:QueueSize", "128")
    assert result.returncode == 0, result.stderr
    command = [sys.executable, "-m", "caproto.commandline.get", "--no-repeater", "--terse"]
    names = [stand.prefix + "Dist6:QueueSize_RBV", stand.prefix + "Dist6:Policy_RBV.DESC"]
    found = subprocess.run([*command, *names], env=stand.environment, capture_output=True, text=True, timeout=60)
    assert "128" in found.stdout
    assert "What happens if a member is slow" in found.stdout


STATUS = Status(
    role=Role.DETECTOR,
    name="detector",
    pid=4711,
    state=State.RUNNING,
    heartbeat_ns=0,
    message="first",
    series=[SeriesStatus(id=3, published=100, ended=True)],
    stage=StageStatus(
        received=90,
        processed=88,
        failed=2,
        dropped={"queue_full": 7, "lost": 1},
    ),
    groups=[
        GroupStatus(
            slot=1,
            name="stats",
            count=2,
            sets=2,
            updates=1,
            policy="latest",
            queue_size=64,
            queue_bytes=0,
            turns=100,
            members=[MemberStatus(name="Cons1", present=True, assigned=100, completed=90, dropped={"replaced": 10})],
        )
    ],
    figures={"LatencyP50": 0.002, "Codec": "none"},
)


def test_the_status_structure_says_all_that_the_process_does() -> None:
    value = status_value(STATUS, wall_ns=1_700_000_000_123_456_789)
    assert value.getID() == "rayfan:Status:1.0"
    found = value.todict()
    assert (found["role"], found["state"], found["pid"], found["received"]) == ("detector", "Running", 4711, 90)
    assert found["dropped"] == [{"reason": "queue_full", "count": 7}, {"reason": "lost", "count": 1}]
    assert found["series"] == [{"id": 3, "published": 100, "ended": True}]
    assert found["groups"][0]["members"][0]["dropped"] == [{"reason": "replaced", "count": 10}]
    assert [figure["text"] for figure in found["figures"]] == ["0.002", "none"]
    assert found["timeStamp"]["nanoseconds"] == 123_456_789
    assert found["alarm"]["severity"] == NO_ALARM


def test_the_status_of_a_failed_process_is_in_alarm() -> None:
    failed = STATUS.model_copy(update={"state": State.FAILED, "last_error": "no memory"})
    assert status_value(failed, 0).todict()["alarm"] == {"severity": MAJOR, "status": 1, "message": "no memory"}


def test_the_status_structure_is_served_beside_the_records(stand: Stand) -> None:
    def post(message: str) -> None:
        stand.ioc.ask("post", STATUS.model_copy(update={"message": message}).model_dump(mode="json"))

    post("nobody looks")
    post("first")
    assert stand.client("pva_status", "cam1:Status")["message"] == "first"
    for _ in range(2):  # the second time after the last client has left
        stand.client("pva_monitor", "cam1:Status", "message")
        assert stand.client("pva_events", "cam1:Status", 1) == ["first"]
        post("second")
        assert stand.client("pva_events", "cam1:Status", 2) == ["first", "second"]
        stand.client("pva_close", "cam1:Status")
        post("first")
    assert "read only" in stand.client("pva_put", "cam1:Status", {"message": "mine"}, False)


def test_every_pv_of_the_tables_is_served(stand: Stand) -> None:
    names = [name for record in all_records() for name in record.names]
    assert stand.clients.ask("missing", [stand.prefix + name for name in names]) == []


def put_lines(stand: Stand, name: str, lines: int, told: str = "") -> list[str]:
    """Return the lines of the put log on a record that hold `told`, once there are so many."""
    limit = time.monotonic() + 20.0
    while True:
        text = (stand.folder / "puts").read_text() if (stand.folder / "puts").exists() else ""
        found = [line.split(" ", 1)[1] for line in text.splitlines() if f" {stand.prefix}{name} " in line]
        found = [line for line in found if told in line]
        if len(found) >= lines:
            return found
        assert time.monotonic() < limit, f"{name}: {lines} lines in the put log, found {found}"
        time.sleep(0.02)  # polled: a file has no event


WHO = rf"{getpass.getuser()} \S+ "


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("Dist7:QueueBytes", 2**40, "new=1099511627776 old=0"),
        ("Dist7:Policy", "Latest", "new=Latest old=Lossless"),
        ("Dist7:Name", "a group", 'new="a group" old=""'),
        ("cam1:AcquirePeriod.HOPR", 2.5, "new=2.5 old="),
        ("Cons1:Configure.DESC", "new words", 'new="new words" old='),
    ],
)
def test_the_put_log_says_who_put_what_over_channel_access(stand: Stand, name: str, value: Any, told: str) -> None:
    stand.put(name, value)
    assert re.fullmatch(f"{WHO}{re.escape(f'{stand.prefix}{name} {told}')}.*", put_lines(stand, name, 1, told)[-1])


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("Dist8:QueueBytes", 77, "new=77 old=0"),
        ("Dist8:Policy", "Latest", "new=Latest old=Lossless"),
        ("Dist8:Name", "pva", 'new=pva old=""'),
        ("cam1:AcquirePeriod", 0.125, "new=0.125 old="),
    ],
)
def test_the_put_log_says_who_put_what_over_pvaccess(stand: Stand, name: str, value: Any, told: str) -> None:
    assert stand.client("pva_put", name, value, False) == ""
    assert re.fullmatch(WHO + re.escape(f"{stand.prefix}{name} {told}") + ".*", put_lines(stand, name, 1, told)[-1])


def test_the_put_log_says_what_was_refused(stand: Stand) -> None:
    stand.put("Dist8:QueueSize", -1)
    lines = put_lines(stand, "Dist8:QueueSize", 2)
    assert re.fullmatch(rf"{WHO}{stand.prefix}Dist8:QueueSize new=-1 old=\d+", lines[0])
    assert f"- - {stand.prefix}Dist8:QueueSize refused: Dist8:QueueSize: expected" in lines[1]


def test_ioc_stats_are_served_and_no_client_ends_the_process(stand: Stand) -> None:
    assert stand.get("Test:RECORD_CNT") > len(all_records())
    for name in ("Test:SYSRESET", "Test:READACF", "Test:ACCESS"):
        assert not stand.client("writable", name)


def wait_saved(path: Path, names: list[str]) -> None:
    limit = time.monotonic() + 20.0
    while not path.exists() or list(json.loads(path.read_text())) != names:
        assert time.monotonic() < limit, f"autosave: expected {names}, found {path.exists() and path.read_text()}"
        time.sleep(0.02)  # polled: a file has no event


def test_what_was_put_is_there_again_and_only_operators_put(tmp_path: Path) -> None:
    rules = tmp_path / "operators.acf"
    rules.write_text(
        "UAG(operators) { opr }\n"
        "ASG(DEFAULT) { RULE(1, READ) RULE(1, WRITE, TRAPWRITE) { UAG(operators) } }\n"
        "ASG(READONLY) { RULE(1, READ) }\n"
    )
    prefix, environment = random_prefix(), isolated_environment()
    arguments = [prefix, str(tmp_path), str(rules)]

    def put(user: str, name: str, value: str) -> bool:
        command = [sys.executable, "-m", "caproto.commandline.put", "--no-repeater", prefix + name, value]
        as_user = {**environment, "LOGNAME": user}
        done = subprocess.run(command, env=as_user, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode == 0 and "denied" not in done.stdout + done.stderr

    with Helper("ioc_server", arguments, environment, tmp_path / "ioc.log") as ioc:
        assert put("opr", "cam1:NumImages", "7")
        assert put("opr", "cam1:ArrayCounter", "5"), "accepted, but not kept"
        assert put("opr", "Test:Coerced", "3.2")
        put("guest", "cam1:NumImages", "8")
        assert ioc.ask("get", "cam1:NumImages") == 7
        wait_saved(tmp_path / "test.autosave", ["cam1:NumImages", "Test:Coerced"])
        ioc.process.kill()
        ioc.process.wait()
    puts = (tmp_path / "puts").read_text()
    assert " opr " in puts and " guest " not in puts, "access rules stop it before it is a put"
    with Helper("ioc_server", arguments, environment, tmp_path / "ioc2.log") as ioc:
        assert ioc.ask("get", "cam1:NumImages") == ioc.ask("get", "cam1:NumImages_RBV") == 7
        assert ioc.ask("get", "cam1:ArrayCounter") == 0
        assert ioc.ask("get", "Test:Coerced") == 3.0
        assert ioc.ask("puts") == [["cam1:NumImages", 7], ["Test:Coerced", 3.0]]


def test_an_ioc_ends_cleanly_and_keeps_standard_output_clean(tmp_path: Path) -> None:
    with Helper("ioc_server", [random_prefix()], isolated_environment(), tmp_path / "ioc.log") as ioc:
        assert set(ioc.first["value"]) == {"seconds", "megabytes"}  # the first line of all on standard output
        assert ioc.ask("get", "cam1:Model_RBV") == "Soft detector"
        ioc.ask("set", "Ledger:Residue_RBV", 0)
        assert ioc.end() == 0
    log = ioc.log.read_text()
    assert not re.search("(?i)iocInit|iocRun|EPICS R?7", log), log


def test_an_acf_without_a_group_for_readbacks_is_refused(tmp_path: Path) -> None:
    rules = tmp_path / "open.acf"
    rules.write_text("ASG(DEFAULT) { RULE(1, READ) RULE(1, WRITE) }\n")
    script = (
        "import sys; from pathlib import Path\n"
        "from ioc.core.errors import ConfigError\n"
        "from ioc.records.server import RecordServer, ServerOptions\n"
        "server = RecordServer('X:', [], lambda name, value: None, ServerOptions(access_rules=Path(sys.argv[1])))\n"
        "try:\n    server.start()\nexcept ConfigError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", script, str(rules)]
    found = subprocess.run(command, env=isolated_environment(), capture_output=True, text=True, timeout=60)
    assert "open.acf: expected a group ASG(READONLY), found 'none'; add ASG(READONLY)" in found.stdout, found.stderr
