"""The status structures `$(P)cam1:Status`, `$(P)Cons1:Status`, ..., `$(P)Status`: all that a process says of itself.

One PVA structure each, served with p4p beside the records. Nothing is built while nobody looks.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from p4p import Type, Value
from p4p.server import ServerOperation
from p4p.server.thread import SharedPV

from ioc.channels.pva_images_visitor import Visit
from ioc.core.status import GroupStatus, MemberStatus, State, Status
from ioc.records.client_table import SUFFIX, ClientTable

TYPE_ID = "rayfan:Status:1.0"
MAJOR_SEVERITY = 2
"""`alarm.severity` of a process that failed (EPICS normative types, alarm_t)."""
DEVICE_STATUS = 1
"""`alarm.status` of an alarm that the device raised (EPICS normative types, alarm_t)."""

_REASONS = ("aS", None, [("reason", "s"), ("count", "l")])
_MEMBERS = (
    "aS",
    None,
    [
        ("name", "s"),
        ("present", "?"),
        ("assigned", "l"),
        ("completed", "l"),
        ("queued", "l"),
        ("inFlight", "l"),
        ("highWater", "l"),
        ("lagSeconds", "d"),
        ("dropped", _REASONS),
    ],
)
_GROUPS = (
    "aS",
    None,
    [
        ("slot", "i"),
        ("name", "s"),
        ("count", "i"),
        ("sets", "i"),
        ("updates", "i"),
        ("policy", "s"),
        ("queueSize", "l"),
        ("queueBytes", "l"),
        ("drop", "s"),
        ("turns", "l"),
        ("nobody", "l"),
        ("members", _MEMBERS),
    ],
)
STATUS_TYPE = Type(
    [
        ("name", "s"),
        ("role", "s"),
        ("state", "s"),
        ("pid", "i"),
        ("message", "s"),
        ("lastError", "s"),
        ("rate", "d"),
        ("received", "l"),
        ("processed", "l"),
        ("failed", "l"),
        ("queued", "l"),
        ("dropped", _REASONS),
        ("series", ("aS", None, [("id", "l"), ("published", "l"), ("ended", "?")])),
        ("groups", _GROUPS),
        ("figures", ("aS", None, [("name", "s"), ("value", "d"), ("text", "s")])),
        ("alarm", ("S", "alarm_t", [("severity", "i"), ("status", "i"), ("message", "s")])),
        ("timeStamp", ("S", "time_t", [("secondsPastEpoch", "l"), ("nanoseconds", "i"), ("userTag", "i")])),
    ],
    id=TYPE_ID,
)
"""Counts in frames, rate in Hz, lagSeconds in s; a figure that is no number has its text and value NaN."""


class StatusChannel:
    """One status structure; give `pv` to a p4p Server under its name."""

    def __init__(self) -> None:
        """Make the channel; it is served from the first `post` on, until then clients wait."""
        self._guard = threading.Lock()
        self._latest: Status | None = None
        self._watched = False
        self._open = False
        self.pv = SharedPV(handler=self)

    def post(self, status: Status) -> None:
        """Keep the newest status, and send it if a client is connected; any thread may call."""
        with self._guard:
            self._latest = status
            if self._watched:
                self._send(status)

    def onFirstConnect(self, _pv: SharedPV) -> None:  # noqa: N802 - p4p's name
        """Begin to send: a client is there."""
        with self._guard:
            self._watched = True
            if self._latest is not None:
                self._send(self._latest)

    def onLastDisconnect(self, pv: SharedPV) -> None:  # noqa: N802 - p4p's name
        """Stop sending: the last client has left."""
        with self._guard:
            self._watched = False
            if self._open:
                self._open = False
                pv.close()

    def put(self, _pv: SharedPV, operation: ServerOperation) -> None:
        """Refuse: a status is read only."""
        operation.done(error="a status structure is read only; put to the records instead")

    def _send(self, status: Status) -> None:
        value = status_value(status, time.time_ns())
        if self._open:
            self.pv.post(value)
        else:
            self.pv.open(value)
            self._open = True


class StatusChannels:
    """The status structures of a process by full PV name; `provider` goes into `p4p.server.Server(providers=[...])`.

    Beside a status stands the table of the clients that look at the images of the process, if it has any.
    """

    def __init__(self, names: Iterable[str], visits: Callable[[], Sequence[Visit]] | None = None) -> None:
        """Make one channel a name, for example `RF:cam1:Status`; `visits` says who looks at images."""
        self._channels = {name: StatusChannel() for name in names}
        self._tables: dict[str, ClientTable] = {}
        if visits is not None:
            self._tables = {name: ClientTable(visits) for name in self._channels}

    @property
    def provider(self) -> dict[str, SharedPV]:
        """What p4p's server takes."""
        tables = {name.removesuffix("Status") + SUFFIX: table.pv for name, table in self._tables.items()}
        return {name: channel.pv for name, channel in self._channels.items()} | tables

    def post(self, name: str, status: Status) -> None:
        """Keep, and send if somebody looks, the newest status of `name`."""
        self._channels[name].post(status)
        if name in self._tables:
            self._tables[name].post()


def status_value(status: Status, wall_ns: int) -> Value:
    """Return the PVA structure of a status; `wall_ns` is its time stamp."""
    failed = status.state is State.FAILED
    stage = status.stage
    return Value(
        STATUS_TYPE,
        {
            "name": status.name,
            "role": status.role.value,
            "state": status.state.value,
            "pid": status.pid,
            "message": status.message,
            "lastError": status.last_error,
            "rate": status.rate,
            "received": stage.received,
            "processed": stage.processed,
            "failed": stage.failed,
            "queued": stage.queued,
            "dropped": _reasons(stage.dropped),
            "series": [{"id": one.id, "published": one.published, "ended": one.ended} for one in status.series],
            "groups": [_group(group) for group in status.groups],
            "figures": [_figure(name, figure) for name, figure in status.figures.items()],
            "alarm": {
                "severity": MAJOR_SEVERITY if failed else 0,
                "status": DEVICE_STATUS if failed else 0,
                "message": status.last_error if failed else "",
            },
            "timeStamp": {"secondsPastEpoch": wall_ns // 10**9, "nanoseconds": wall_ns % 10**9},
        },
    )


def _reasons(dropped: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"reason": reason, "count": count} for reason, count in dropped.items()]


def _figure(name: str, figure: float | int | str) -> dict[str, Any]:
    if isinstance(figure, str):
        return {"name": name, "value": float("nan"), "text": figure}
    return {"name": name, "value": float(figure), "text": str(figure)}


def _member(member: MemberStatus) -> dict[str, Any]:
    return {
        "name": member.name,
        "present": member.present,
        "assigned": member.assigned,
        "completed": member.completed,
        "queued": member.queued,
        "inFlight": member.in_flight,
        "highWater": member.high_water,
        "lagSeconds": member.lag_seconds,
        "dropped": _reasons(member.dropped),
    }


def _group(group: GroupStatus) -> dict[str, Any]:
    return {
        "slot": group.slot,
        "name": group.name,
        "count": group.count,
        "sets": group.sets,
        "updates": group.updates,
        "policy": group.policy,
        "queueSize": group.queue_size,
        "queueBytes": group.queue_bytes,
        "drop": group.drop,
        "turns": group.turns,
        "nobody": group.nobody,
        "members": [_member(member) for member in group.members],
    }
