"""What `rayfan top` makes of the values of PVs."""

from io import StringIO
from typing import Any

from rich.console import Console

from ioc.core.status import State
from ioc.top_view import picture, status_name, summary_records, view_of, without_records

RECORDS: dict[str, Any] = {
    "Health_RBV": "OK",
    "StatusMessage_RBV": "Acquiring data",
    "Ledger:Published_RBV": 123456,
    "Ledger:Residue_RBV": 0,
    "Uptime_RBV": 61.0,
    **{f"Process{slot}:State_RBV": "Absent" for slot in range(3, 17)},
    "Process1:Name_RBV": "detector",
    "Process1:Role_RBV": "detector",
    "Process1:State_RBV": "Running",
    "Process2:Name_RBV": "Cons1",
    "Process2:Role_RBV": "consumer",
    "Process2:State_RBV": "Failed",
    "Process2:Restarts_RBV": 2,
    "Process2:LastError_RBV": "it broke",
}


def member(name: str, queued: int, present: bool = True, **dropped: int) -> dict[str, Any]:
    reasons = [{"reason": reason, "count": count} for reason, count in dropped.items()]
    return {"name": name, "present": present, "queued": queued, "inFlight": 1, "lagSeconds": 0.25, "dropped": reasons}


def statuses(*members: dict[str, Any]) -> dict[str, Any]:
    group = {"name": "stats", "policy": "bounded", "count": 2, "queueSize": 64, "members": list(members)}
    return {
        "detector": {"rate": 1000.0, "processed": 123456, "failed": 0, "dropped": [], "groups": [group]},
        "Cons1": {"rate": 500.0, "processed": 61000, "failed": 3, "dropped": [{"reason": "lost", "count": 7}]}
        | {"groups": []},
    }


def text_of(records: dict[str, Any], structures: dict[str, Any], silent: list[str]) -> str:
    console = Console(file=StringIO(), width=80, color_system=None, force_terminal=True)
    view = view_of("RF:", records, structures)
    console.print(picture(view, structures, silent, unlisted=without_records(view, records)))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_processes_groups_and_ledger_are_drawn() -> None:
    drawn = text_of(
        RECORDS, statuses(member("Cons1", 64, queue_full=4), member("Cons2", 3, present=False, queue_full=5)), []
    )
    rows = {line.split()[0]: line.split()[1:] for line in drawn.splitlines() if line.split()}
    assert rows["detector"] == ["Running", "1000.0", "0", "123456", "0", "0", "0"]
    assert rows["Cons1"] == ["Failed", "500.0", "65", "61000", "3", "11", "2"], (
        "7 that it missed, 4 that were not given to it"
    )
    assert rows["stats"] == ["bounded", "1", "of", "2", "██████████", "64/64", "0.250", "9"]
    assert "61 s  published 123456  residue 0" in drawn
    assert "residue 0  lost 9" in text_of(RECORDS | {"Ledger:Dropped_RBV": 9}, statuses(), [])
    assert all(len(line) <= 80 for line in drawn.splitlines())


def test_the_worst_state_is_that_of_the_appliance() -> None:
    assert view_of("RF:", RECORDS, {}).state is State.FAILED
    assert view_of("RF:", RECORDS | {"Process2:State_RBV": "Draining"}, {}).state is State.DRAINING
    assert view_of("RF:", {}, {}).state is State.STOPPED


def test_a_process_without_an_answer_is_named() -> None:
    silent = [f"RF:Cons{number}" for number in range(1, 6)]
    assert "no answer from RF:Cons1, RF:Cons2, RF:Cons3 and 2 more" in text_of(RECORDS, {}, silent)


def test_processes_beyond_the_slots_are_counted() -> None:
    assert "3 more processes run; the first 16 have records" in text_of(RECORDS | {"Processes_RBV": 5}, {}, [])
    assert "more processes" not in text_of(RECORDS | {"Processes_RBV": 2}, {}, [])


def test_names() -> None:
    assert status_name("detector", "detector") == "cam1:Status"
    assert status_name("Ejfat1", "egress") == "Ejfat1:Status"
    assert set(RECORDS) <= set(summary_records())
