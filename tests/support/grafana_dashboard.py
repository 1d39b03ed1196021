"""The Grafana dashboard of the exported figures, made from the table of metrics: a panel a metric, a row a topic."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from ioc.core.status import Role
from ioc.supervisor.metrics import METRICS, Metric, Of

WIDTH, HEIGHT, ACROSS = 8, 7, 3
SOURCE = {"type": "prometheus", "uid": "${source}"}
UNITS = {
    "bytes_per_second": "Bps",
    "milliseconds": "ms",
    "seconds": "s",
    "bytes": "bytes",
    "percent": "percent",
    "hertz": "hertz",
}
"""Grafana's units by the ends of names; a counter is shown per second."""
ROWS: tuple[tuple[str, Of, Role | None], ...] = (
    ("Appliance", Of.APPLIANCE, None),
    ("Processes", Of.PROCESS, None),
    ("Groups of the distributor", Of.GROUP, None),
    ("Consumers", Of.STAGE, Role.CONSUMER),
    ("Collectors", Of.STAGE, Role.COLLECTOR),
    ("EJFAT out", Of.STAGE, Role.EGRESS),
    ("EJFAT in", Of.STAGE, Role.INGRESS),
    ("EJFAT load balancer", Of.STAGE, Role.BALANCER),
    ("Intakes", Of.STAGE, Role.INTAKE),
    ("Plug-ins", Of.STAGE, Role.PLUGINS),
)
LEGENDS = {Of.APPLIANCE: "{{prefix}}", Of.PROCESS: "{{process}}", Of.STAGE: "{{process}}", Of.GROUP: "{{group}}"}


def dashboard() -> str:
    """Return the dashboard as JSON, to be imported."""
    variables = [
        {"name": "source", "type": "datasource", "query": "prometheus", "label": "Data source"},
        {
            "name": "prefix",
            "type": "query",
            "label": "Appliance",
            "datasource": SOURCE,
            "query": {"query": "label_values(rayfan_health, prefix)", "refId": "prefix"},
            "refresh": 2,
        },
    ]
    page = {
        "uid": "rayfan",
        "title": "Rayfan",
        "tags": ["epics", "rayfan"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {"list": variables},
        "panels": list(_panels()),
    }
    return json.dumps(page, indent=1) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for title, of, role in ROWS:
        metrics = [one for one in METRICS if one.of is of and (role is None or role in one.roles)]
        inner = list(_grid(metrics, role, number + 1, top + 1))
        open_ = of is Of.APPLIANCE
        row = {"id": number, "type": "row", "title": title, "collapsed": not open_, "panels": [] if open_ else inner}
        yield row | {"gridPos": {"x": 0, "y": top, "w": WIDTH * ACROSS, "h": 1}}
        if open_:
            yield from inner
        number += 1 + len(inner)
        top += 1 + (HEIGHT * -(-len(inner) // ACROSS) if open_ else 0)


def _grid(metrics: Iterable[Metric], role: Role | None, number: int, top: int) -> Iterator[dict[str, Any]]:
    for place, metric in enumerate(metrics):
        y, x = divmod(place, ACROSS)
        yield {
            "id": number + place,
            "type": "timeseries",
            "title": metric.about + (", per second" if metric.is_counter else ""),
            "description": f"{metric.full_name}: the record {metric.record}_RBV",
            "datasource": SOURCE,
            "gridPos": {"x": x * WIDTH, "y": top + y * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": _unit(metric), "min": 0}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
            "targets": [{"refId": "A", "expr": expression(metric, role), "legendFormat": LEGENDS[metric.of]}],
        }


def expression(metric: Metric, role: Role | None) -> str:
    """Return the query of a metric, of the processes of one role if it is given."""
    chosen = f'{metric.full_name}{{prefix="$prefix"' + (f',role="{role.value}"' if role is not None else "") + "}"
    return f"rate({chosen}[1m])" if metric.is_counter else chosen


def _unit(metric: Metric) -> str:
    name = metric.name.removesuffix("_total")
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "short")
    if metric.is_counter:
        return {"bytes": "Bps"}.get(unit, "cps")
    return unit
