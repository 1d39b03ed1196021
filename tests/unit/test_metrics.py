"""What is exported to Prometheus: each metric is the figure of a record, and what is served can be read."""

import json
import re
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ioc.core.config_metrics import MetricsConfig
from ioc.core.errors import ConfigError
from ioc.core.status import GroupStatus, MemberStatus, Role, StageStatus, State, Status
from ioc.supervisor.appliance import Appliance, ProcessView
from ioc.supervisor.metrics import METRICS, Of, samples
from ioc.supervisor.metrics_server import Exposition, MetricsServer
from tests.support.epics import free_port
from tests.support.grafana_dashboard import ROWS, dashboard
from tests.support.ioc_tables import all_records
from tests.support.site_files import OPS

DEVICES = {
    Role.CONSUMER: "Cons1:",
    Role.COLLECTOR: "Coll1:",
    Role.EGRESS: "Ejfat1:",
    Role.INGRESS: "EjfatIn1:",
    Role.BALANCER: "EjfatLb1:",
    Role.INTAKE: "In1:",
    Role.PLUGINS: "Plug1:",
}
PLACES = {Of.APPLIANCE: ("",), Of.PROCESS: ("Process1:",), Of.GROUP: ("Dist1:",)}
VIEW = Appliance(
    prefix="RF:",
    pid=1,
    state=State.RUNNING,
    heartbeat_ns=12_500_000_000,
    started_ns=0,
    health="Degraded",
    published=1000,
    dropped=7,
    processes=[
        ProcessView(name="Cons1", role=Role.CONSUMER, state=State.RUNNING, pid=5, restarts=2, usage={"CPU": 12.5}),
        ProcessView(name="Cons2", role=Role.CONSUMER, state=State.FAILED),
    ],
)
STATUSES = [
    Status(
        role=Role.CONSUMER,
        name="Cons1",
        pid=5,
        state=State.RUNNING,
        heartbeat_ns=0,
        rate=99.5,
        stage=StageStatus(received=500, processed=498, failed=1, queued=1),
        figures={"LatencyP99": 0.25, "UndeliveredIds": "1:2"},
    ),
    Status(
        role=Role.DETECTOR,
        name="detector",
        pid=4,
        state=State.RUNNING,
        heartbeat_ns=0,
        groups=[
            GroupStatus(slot=0, name="Pva1", count=0, sets=1, updates=1, policy="latest", queue_size=4, queue_bytes=0),
            GroupStatus(
                slot=1,
                name='st"ats',
                count=2,
                sets=2,
                updates=1,
                policy="lossless",
                queue_size=64,
                queue_bytes=0,
                members=[
                    MemberStatus(name="Cons1", present=True, queued=3, in_flight=1, dropped={"full": 2}),
                    MemberStatus(name="Cons2", present=False, queued=1, lag_seconds=0.5, dropped={"full": 1}),
                ],
            ),
        ],
    ),
]


def exported() -> dict[tuple[str, str], float]:
    """Return the figures by metric and PV."""
    return {(one.metric.full_name, one.labels["pv"]): one.value for one in samples(VIEW, STATUSES)}


def test_every_metric_is_the_figure_of_a_record() -> None:
    readbacks = {record.readback for record in all_records()}
    for metric in METRICS:
        assert bool(metric.roles) == (metric.of is Of.STAGE), metric
        for place in PLACES.get(metric.of) or [DEVICES[role] for role in metric.roles]:
            assert f"{place}{metric.record}_RBV" in readbacks, f"{metric.full_name}: {place}{metric.record}"


def test_names_are_unique_and_valid() -> None:
    names = [metric.full_name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"rayfan_[a-z0-9_]+", name)] == []


def test_figures_come_from_what_the_records_come_from() -> None:
    found = exported()
    assert found["rayfan_published_frames_total", "RF:Ledger:Published_RBV"] == 1000
    assert found["rayfan_health", "RF:Health_RBV"] == 1, "an enum is its number"
    assert found["rayfan_uptime_seconds", "RF:Uptime_RBV"] == 12
    assert found["rayfan_process_restarts_total", "RF:Process1:Restarts_RBV"] == 2
    assert found["rayfan_process_cpu_percent", "RF:Process1:CPU_RBV"] == 12.5
    assert ("rayfan_process_cpu_percent", "RF:Process2:CPU_RBV") not in found, "it has no figure yet"
    assert found["rayfan_process_state", "RF:Process2:State_RBV"] == 5
    assert found["rayfan_rate_hertz", "RF:Cons1:Rate_RBV"] == 99.5
    assert found["rayfan_latency_p99_seconds", "RF:Cons1:LatencyP99_RBV"] == 0.25
    assert found["rayfan_group_members", "RF:Dist1:Members_RBV"] == 1
    assert found["rayfan_group_dropped_frames_total", "RF:Dist1:Dropped_RBV"] == 3
    assert found["rayfan_group_lag_frames", "RF:Dist1:Lag_RBV"] == 4
    assert not any(pv.startswith("RF:Dist0") for _, pv in found), "the image channel has no slot"


@pytest.fixture
def served() -> Iterator[tuple[Exposition, str]]:
    """An exposition, and where it is served."""
    exposition = Exposition()
    port = free_port()
    server = MetricsServer(MetricsConfig(port=port), exposition)
    yield exposition, f"http://127.0.0.1:{port}/metrics"
    server.close()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
        pass


def read(url: str) -> dict[tuple[str, str], float]:
    """Return what a Prometheus server would read."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(one.name, one.labels["pv"]): one.value for family in families for one in family.samples}


def test_what_is_served_is_read_as_it_was_exported(served: tuple[Exposition, str]) -> None:
    exposition, url = served
    assert read(url) == {}, "nothing was seen yet"
    exposition.show(VIEW, STATUSES)
    assert read(url) == exported()


def test_a_port_that_is_taken_is_a_bad_configuration() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"\[metrics\]: expected .* free.*127.0.0.1:{port}"):
            MetricsServer(MetricsConfig(port=port), Exposition())


def test_the_dashboard_asks_for_what_is_exported_and_for_all_of_it() -> None:
    page = json.loads(dashboard())
    rows = [panel for panel in page["panels"] if panel["type"] == "row"]
    panels = [panel for panel in page["panels"] if panel["type"] != "row"] + [
        one for row in rows for one in row["panels"]
    ]
    asked = {re.search(r"rayfan_\w+", target["expr"])[0] for panel in panels for target in panel["targets"]}  # type: ignore[index]
    assert asked == {metric.full_name for metric in METRICS}
    numbers = [panel["id"] for panel in (*rows, *panels)]
    assert len(set(numbers)) == len(numbers), "Grafana tells panels by their ids"
    assert {role for _, of, role in ROWS if of is Of.STAGE} == set(DEVICES)


def test_alert_rules_ask_for_what_is_exported() -> None:
    asked = set(re.findall(r"rayfan_\w+", (OPS / "prometheus" / "rules.yml").read_text()))
    assert asked and asked <= {metric.full_name for metric in METRICS}
