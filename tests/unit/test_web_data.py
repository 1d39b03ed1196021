"""What the page shows besides PVs: the chain, the history, the logs, the ledger; read from a run folder."""

import json
from pathlib import Path

from ioc.channels.trail import Run
from ioc.core.config import load
from ioc.supervisor.ledger_store import FILE, LedgerStore
from ioc.supervisor.series import Ended, Place, Row, Series
from ioc.web.chain import Chain
from ioc.web.history import COARSE, EVERY, FINE, History
from ioc.web.ledger import ledger
from ioc.web.log_lines import Filter, newest
from tests.support.web_parts import CHAIN, process, write_view


def test_the_chain_has_a_column_a_stage_and_an_edge_a_passage(tmp_path: Path) -> None:
    names = {"detector": "detector", "Cons1": "consumer", "Cons2": "consumer", "Cons3": "consumer", "HDF1": "writer"}
    names |= {"Plug1": "plugins", "Ejfat1": "egress", "EjfatIn1": "ingress", "Web1": "web", "Cons4": "consumer"}
    write_view(tmp_path, *(process(name, role) for name, role in names.items()))
    (tmp_path / "Cons4.spec").write_text(json.dumps({"spec": {"table": "stats"}}))
    view = Chain(load(CHAIN, "test"), tmp_path).overview()
    boxes = {box["name"]: box for box in view["processes"]}
    assert "Web1" not in boxes
    columns = {name: box["column"] for name, box in boxes.items()}
    first = {"Cons1": 1, "Cons2": 1, "Cons4": 1, "HDF1": 1, "Plug1": 1, "Ejfat1": 1}
    assert columns == {"detector": 0, **first, "Cons3": 2, "EjfatIn1": 3}
    givers = {name: sorted(box["givers"]) for name, box in boxes.items()}
    assert givers["detector"] == []
    assert {name for name, found in givers.items() if found == ["detector"]} == set(first)
    assert givers["Cons3"] == ["Cons1", "Cons2", "Cons4"]
    assert givers["EjfatIn1"] == ["Ejfat1"]
    assert boxes["Cons4"]["table"] == "stats"
    assert [name for name, box in boxes.items() if box["startStop"]] == ["Cons1", "Cons2", "Cons3", "Cons4"]
    able = [name for name, box in boxes.items() if box["noRestart"] is None]
    assert sorted(able) == ["Cons1", "Cons2", "Cons3", "Cons4", "Ejfat1"]
    assert boxes["EjfatIn1"]["noRestart"] == "packets that come meanwhile would be lost"
    channels = {one["channel"] for one in view["images"]}
    assert {"Pva1:Image", "Cons1:Image", "EjfatIn1:Image", "ROI1:Image"} <= channels
    assert "Stats1:Image" not in channels


def test_a_balancer_stands_between_egress_and_ingress(tmp_path: Path) -> None:
    text = '[egress.out]\nbalancer = "lab"\n[ingress.in]\nbalancer = "lab"\n[balancers.lab]\n'
    names = {"detector": "detector", "EjfatLb1": "balancer", "Ejfat1": "egress", "EjfatIn1": "ingress"}
    write_view(tmp_path, *(process(name, role) for name, role in names.items()))
    boxes = {box["name"]: box for box in Chain(load(text, "test"), tmp_path).overview()["processes"]}
    assert {name: (box["column"], box["givers"]) for name, box in boxes.items()} == {
        "detector": (0, []),
        "Ejfat1": (1, ["detector"]),
        "EjfatLb1": (2, ["Ejfat1"]),
        "EjfatIn1": (3, ["EjfatLb1"]),
    }


def test_without_a_supervisor_there_is_nothing_to_show(tmp_path: Path) -> None:
    chain = Chain(load(CHAIN, "test"), tmp_path)
    assert (chain.overview()["processes"], chain.image_names()) == ([], set())
    (tmp_path / "appliance.json").write_text("{")
    assert chain.overview()["processes"] == []


def test_history_keeps_seconds_for_long_and_tens_of_them_for_longer(tmp_path: Path) -> None:
    write_view(tmp_path, process("detector", "detector"), process("Cons1", "consumer", rate=5.5))
    members = [{"present": True, "lag_seconds": 0.25}, {"present": False, "lag_seconds": 9.0}]
    (tmp_path / "detector.status").write_text(json.dumps({"groups": [{"name": "stats", "members": members}]}))
    (tmp_path / "Cons1.status").write_text(json.dumps({"figures": {"LatencyP50": 0.001, "LatencyP99": 0.002}}))
    history = History(tmp_path)
    history.sample(1000.0)
    found = history.since(0.0)
    assert found["times"] == [1000.0]
    assert {name: line[0] for name, line in found["lines"].items() if name.startswith(("Cons1", "stats"))} == {
        "Cons1 rate": 5.5, "Cons1 lag": 1, "Cons1 lost": 2, "Cons1 p50": 0.001, "Cons1 p99": 0.002,
        "stats lagSeconds": 0.25,
    }  # fmt: skip
    write_view(tmp_path)
    for second in range(1, FINE + EVERY * 5):
        history.sample(1000.0 + second)
    found = history.since(0.0)
    assert found["times"] == sorted(set(found["times"]))
    assert found["times"][0] == 1000.0
    assert len(found["times"]) == FINE + 5
    assert found["lines"]["Cons1 rate"][:2] == [5.5, None], "a process that is gone leaves a gap"
    assert history.since(found["times"][-2])["times"] == found["times"][-1:]
    assert COARSE * EVERY > 4 * FINE


def test_lines_of_all_logs_are_in_order_and_filtered(tmp_path: Path) -> None:
    (tmp_path / "Cons1.log").write_text(
        "cut off\n"
        "2026-11-21 10:00:02,000 INFO consumers.consumer: here\n"
        "2026-11-21 10:00:04,000 ERROR consumers.consumer: it broke\nTraceback\n  File x\n"
    )
    (tmp_path / "supervisor.log").write_text("2026-11-21 10:00:03,000 DEBUG ioc.supervisor: quiet\n")
    puts = tmp_path / "puts"
    puts.write_text("2026-11-21T10:00:01.123Z - - RF:a refused: no\nnonsense\n2026-02-31T10:00:01.123Z x y z new=1\n")
    found = newest(tmp_path, Filter(), puts)
    assert [(one["process"], one["level"]) for one in found if one["process"] != "puts"] == [
        ("Cons1", "INFO"),
        ("Cons1", "ERROR"),
    ]
    assert next(one for one in found if one["level"] == "ERROR")["text"] == "it broke\nTraceback\n  File x"
    assert [one["level"] for one in found if one["process"] == "puts"] == ["INFO", "WARNING"]
    assert [one["text"] for one in newest(tmp_path, Filter("supervisor", "DEBUG"), puts)] == ["quiet"]
    assert [one["text"] for one in newest(tmp_path, Filter(text="HERE"), puts)] == ["here"]
    assert newest(tmp_path, Filter("../etc/passwd"), puts) == []


def test_the_ledger_tells_the_newest_series_and_what_was_missed(tmp_path: Path) -> None:
    assert ledger(tmp_path, None) == {}
    store = LedgerStore(tmp_path / FILE)
    place = Place("stats", "Cons1")
    store.begin("RF:")
    row = Row(10, 7)
    row.dropped["queue_full"] = 3
    series = {number: Series(10, Ended.NORMAL, {place: row}) for number in range(1, 26)}
    store.save(series, [(place, Run(25, 4, 1, 3), "queue_full"), (place, Run(24, 1, 1, 1), "lost")], {})
    found = ledger(tmp_path, None)
    assert [one["id"] for one in found["series"]] == list(range(6, 26))
    assert found["series"][-1]["accounts"][0]["dropped"] == {"queue_full": 3}
    assert [(one["series"], one["first"], one["last"], one["reason"]) for one in found["missed"]] == [
        (24, 1, 1, "lost"),
        (25, 4, 6, "queue_full"),
    ]
    assert [one["series"] for one in ledger(tmp_path, 25)["missed"]] == [25]
    store.close()
