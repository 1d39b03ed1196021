"""The reference page of the status structures, made from their PVA type; what a field means stands here."""

from collections.abc import Iterator
from typing import Any

from ioc.records.status import STATUS_TYPE, TYPE_ID

HEAD = f"""\
# Status structures

Made from the type `{TYPE_ID}` by `{{command}}`; do not edit.

Each process serves one pvAccess structure with all that it says of itself in one moment: `$(P)Status` (supervisor),
`$(P)cam1:Status` (detector), `$(P)Cons1:Status`, `$(P)Coll1:Status`, `$(P)Ejfat1:Status`, `$(P)EjfatIn1:Status`, ...
It is updated five times a second while somebody looks, and cannot be put to. Figures of one moment fit together, which
those of several records need not.

    pvget RF:cam1:Status

| field | type | |
| --- | --- | --- |
"""
TYPES = {"s": "text", "i": "int32", "l": "int64", "d": "float64", "?": "boolean"}
REASONS = {"reason": "why frames were dropped", "count": "how many, for that reason"}
MEANINGS = {
    "name": "name of the process: `detector`, `Cons1`, ...",
    "role": "kind of process",
    "state": "where it is in its life",
    "pid": "process id on its host",
    "message": "what it waits for, or did last",
    "lastError": "last error, empty: none",
    "rate": "frames per second, Hz",
    "received": "frames received",
    "processed": "frames processed",
    "failed": "frames failed on",
    "queued": "frames received, not finished with: `received = processed + failed + queued`",
    "dropped": "frames dropped, by reason",
    **{f"dropped.{name}": text for name, text in REASONS.items()},
    "series": "newest series, one entry each",
    "series.id": "id of the series",
    "series.published": "frames published, at an ingress: arrived",
    "series.ended": "whether its end marker is out",
    "groups": "distributor groups that the process deals frames out to",
    "groups.slot": "number of the slot: `$(P)Dist1:` is 1, 0 is the image channel",
    "groups.name": "name of the group",
    "groups.count": "members that it is to have",
    "groups.sets": "sets that take turns; members of one set see the same frames",
    "groups.updates": "frames in a row for one set",
    "groups.policy": "`latest`, `bounded`, `lossless` or `acknowledged`",
    "groups.queueSize": "frames that may wait for one member",
    "groups.queueBytes": "bytes that may wait for one member, 0: any",
    "groups.drop": "which frame a full queue drops: `oldest` or `newest`",
    "groups.turns": "frames times members whose turn it was",
    "groups.nobody": "frames that no member was there for",
    "groups.members": "members, present and past",
    "groups.members.name": "name of the member",
    "groups.members.present": "whether it is there",
    "groups.members.assigned": "frames meant for it: `assigned = completed + dropped + queued + inFlight`",
    "groups.members.completed": "frames that it finished with",
    "groups.members.queued": "frames that wait for it",
    "groups.members.inFlight": "frames at it, not acknowledged",
    "groups.members.highWater": "most frames that ever waited",
    "groups.members.lagSeconds": "age of the oldest frame that it has not finished with, s",
    "groups.members.dropped": "frames dropped for it, by reason",
    **{f"groups.members.dropped.{name}": text for name, text in REASONS.items()},
    "figures": "further figures, by the name of their record without `_RBV`",
    "figures.name": "name of the figure",
    "figures.value": "number, NaN for a text",
    "figures.text": "text, empty for a number",
    "alarm": "MAJOR if the process failed",
    "alarm.severity": "0 none, 1 minor, 2 major, 3 invalid",
    "alarm.status": "EPICS alarm status",
    "alarm.message": "last error",
    "timeStamp": "when it was sent",
    "timeStamp.secondsPastEpoch": "s since 1970",
    "timeStamp.nanoseconds": "ns",
    "timeStamp.userTag": "unused",
}


def status_page(command: str) -> str:
    """Return docs/reference/status.md."""
    return HEAD.format(command=command) + "".join(_lines(STATUS_TYPE.aspy()[2], ""))


def _lines(fields: Any, above: str) -> Iterator[str]:
    for name, kind in fields:
        path = f"{above}{name}"
        nested = not isinstance(kind, str)
        words = TYPES[kind] if not nested else "array of structures" if kind[0] == "aS" else "structure"
        yield f"| `{path}` | {words} | {MEANINGS[path]} |\n"
        if nested:
            yield from _lines(kind[2], f"{path}.")
