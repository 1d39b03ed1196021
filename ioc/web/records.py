"""The records of the web page's process, `$(P)Web1:`."""

from ioc.core.status import ProcessSpec, State
from ioc.records.table import Alarms, Kind, Record, Severity, under

TEXT_SIZE = 256
"""Bytes of a message."""

WEB = (
    Record(
        "State",
        Kind.ENUM,
        "Where the process is in its life",
        choices=tuple(state.value for state in State),
        severities=tuple(Severity.MAJOR if state is State.FAILED else Severity.NO_ALARM for state in State),
    ),
    Record("Address", Kind.STRING, "Where the page is", size=TEXT_SIZE),
    Record("Clients", Kind.INT, "Browsers that are connected"),
    Record("PVs", Kind.INT, "PVs that they watch"),
    Record("Pictures", Kind.COUNT, "Pictures drawn for them"),
    Record("Puts", Kind.COUNT, "Puts done for them"),
    Record("Refused", Kind.COUNT, "Puts and tokens refused", alarms=Alarms(high=1)),
    Record("Pid", Kind.INT, "Process id"),
    Record("Uptime", Kind.FLOAT, "Time since the process began", unit="s", precision=0),
    Record("LastError", Kind.STRING, "Last error, empty: none", size=TEXT_SIZE),
    Record("StatusMessage", Kind.STRING, "What happened last", size=TEXT_SIZE),
)


def web_records(name: str) -> list[Record]:
    """Return the records of the process `name`, for example `Web1`."""
    return under(f"{name}:", WEB)


def records_of(spec: ProcessSpec) -> list[Record]:
    """Return the records of the process of a spec."""
    return web_records(spec.name)
