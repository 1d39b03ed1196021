"""What `rayfan top` draws of an appliance, made of nothing but the values of its PVs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ioc.console_display import OTHER_LINES, Facts, drawing
from ioc.core.status import Role, State
from ioc.records.ledger_records import ABSENT, PROCESS_SLOTS
from ioc.supervisor.appliance import Appliance, ProcessView

SUMMARY = {
    "health": "Health_RBV",
    "message": "StatusMessage_RBV",
    "published": "Ledger:Published_RBV",
    "series_published": "Ledger:SeriesPublished_RBV",
    "residue": "Ledger:Residue_RBV",
    "complete": "Ledger:Complete_RBV",
    "dropped": "Ledger:Dropped_RBV",
    "failed": "Ledger:Failed_RBV",
    "queued": "Ledger:Queued_RBV",
}
"""Records of the supervisor, by the field of the view that each gives."""
UPTIME = "Uptime_RBV"
RUNNING = "Processes_RBV"
SLOT_RECORDS = ("Name", "Role", "State", "Pid", "Restarts", "LastError")
BAR = 10
"""Characters of the bar of a queue."""


def summary_records() -> list[str]:
    """Return the names, without prefix, of all records that are looked at."""
    slots = [f"Process{slot}:{name}_RBV" for slot in range(1, PROCESS_SLOTS + 1) for name in SLOT_RECORDS]
    return [*SUMMARY.values(), UPTIME, RUNNING, *slots]


def status_name(process: str, role: str) -> str:
    """Return the name, without prefix, of a process's status structure."""
    return "cam1:Status" if role == Role.DETECTOR.value else f"{process}:Status"


def view_of(prefix: str, records: Mapping[str, Any], statuses: Mapping[str, Mapping[str, Any]]) -> Appliance:
    """Return the appliance that the values show; `statuses` are the structures by process."""
    lags = _lags(statuses)
    processes = []
    for slot in range(1, PROCESS_SLOTS + 1):
        state = records.get(f"Process{slot}:State_RBV", ABSENT)
        if state != ABSENT:
            processes.append(_process(f"Process{slot}:", records, statuses, lags))
    states = [process.state for process in processes]
    chosen = {field: records[name] for field, name in SUMMARY.items() if name in records}
    uptime = int(records.get(UPTIME, 0)) * 10**9
    return Appliance.model_validate(
        {"prefix": prefix, "pid": 0, "state": _worst(states), "heartbeat_ns": uptime, "started_ns": 0, **chosen}
        | {"processes": processes, "running_since_ns": 0}
    )


def without_records(view: Appliance, records: Mapping[str, Any]) -> int:
    """Return how many processes run that the supervisor has no records of."""
    return max(0, int(records.get(RUNNING, 0)) - len(view.processes))


def picture(
    view: Appliance,
    statuses: Mapping[str, Mapping[str, Any]],
    silent: Sequence[str],
    height: int | None = None,
    unlisted: int = 0,
) -> RenderableType:
    """Return the drawing, in `height` lines (None: as many as it needs).

    `silent` are PVs that gave no value, `unlisted` is the number of processes that have no records.
    """
    groups = [group for status in statuses.values() for group in status["groups"] if group["members"]]
    rows = None if height is None else height - OTHER_LINES - bool(groups) - len(groups) - bool(silent) - bool(unlisted)
    parts: list[RenderableType] = [drawing(view, view.heartbeat_ns / 1e9, Facts(), rows)]
    if groups:
        parts.append(_groups(groups))
    if unlisted:
        parts.append(Text(f"{unlisted} more processes run; the first {PROCESS_SLOTS} have records", style="dim"))
    if silent:
        shown = ", ".join(silent[:3]) + (f" and {len(silent) - 3} more" if len(silent) > 3 else "")
        parts.append(Text(f"no answer from {shown}", style="red"))
    return Group(*parts)


def _process(
    place: str, records: Mapping[str, Any], statuses: Mapping[str, Mapping[str, Any]], lags: Mapping[str, int]
) -> ProcessView:
    name = str(records.get(f"{place}Name_RBV", "?"))
    status = statuses.get(name, {})
    return ProcessView(
        name=name,
        role=Role(records[f"{place}Role_RBV"]),
        state=State(records[f"{place}State_RBV"]),
        restarts=int(records.get(f"{place}Restarts_RBV", 0)),
        last_error=str(records.get(f"{place}LastError_RBV", "")),
        rate=float(status.get("rate", 0.0)),
        lag=lags.get(name, 0),
        processed=int(status.get("processed", 0)),
        failed=int(status.get("failed", 0)),
        lost=_sum(status.get("dropped", ())) + _dropped_for(name, statuses),
    )


def _lags(statuses: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    lags: dict[str, int] = {}
    for status in statuses.values():
        for group in status["groups"]:
            for member in group["members"]:
                lags[member["name"]] = lags.get(member["name"], 0) + member["queued"] + member["inFlight"]
    return lags


def _dropped_for(name: str, statuses: Mapping[str, Mapping[str, Any]]) -> int:
    """Return what those who give frames to a process have dropped for it."""
    groups = (group for status in statuses.values() for group in status["groups"])
    return sum(_sum(member["dropped"]) for group in groups for member in group["members"] if member["name"] == name)


def _groups(groups: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for column in ("Group", "policy", "members"):
        table.add_column(column, no_wrap=True)
    for column in ("fullest queue", "lag/s", "dropped"):
        table.add_column(column, justify="right", no_wrap=True)
    for group in groups:
        members = group["members"]
        fullest = max(member["queued"] for member in members)
        dropped = sum(_sum(member["dropped"]) for member in members)
        there = sum(member["present"] for member in members)
        table.add_row(
            group["name"],
            group["policy"],
            Text(f"{there} of {len(members)}", style="red" if there < group["count"] else ""),
            _bar(fullest, group["queueSize"]),
            f"{max(member['lagSeconds'] for member in members):.3f}",
            Text(str(dropped), style="red" if dropped else ""),
        )
    return table


def _bar(count: int, size: int) -> Text:
    full = min(BAR, -(-count * BAR // size)) if size else 0
    style = "red" if full > 0.8 * BAR else "yellow" if full > 0.5 * BAR else "green"
    return Text.assemble(("█" * full, style), ("░" * (BAR - full), "dim"), f" {count}/{size}")


def _sum(reasons: Sequence[Mapping[str, Any]]) -> int:
    return sum(reason["count"] for reason in reasons)


def _worst(states: Sequence[State]) -> State:
    for state in (State.FAILED, State.STARTING, State.DRAINING, State.RUNNING):
        if state in states:
            return state
    return State.STOPPED
