"""CA and PVA clients in a process of their own: pyepics and p4p; see ioc_process."""

import threading
import time
from typing import Any

import epics
from p4p.client.thread import Context, RemoteError

from tests.support.ioc_process import answer_lines

WITHIN = 30
"""s; a deadline, not a measure."""


class Clients:
    """Answers the test's requests; PV objects are kept."""

    def __init__(self) -> None:
        self._pvs: dict[str, epics.PV] = {}
        self._events: dict[str, list[Any]] = {}
        self._pva_events: dict[str, list[Any]] = {}
        self._subscriptions: dict[str, Any] = {}
        self._done: dict[str, threading.Event] = {}
        self._news = threading.Condition()
        self._context: Any = Context("pva")

    def pv(self, name: str) -> epics.PV:
        if name not in self._pvs:
            self._pvs[name] = epics.PV(name, auto_monitor=False)
        assert self._pvs[name].wait_for_connection(WITHIN), f"{name} did not connect"
        return self._pvs[name]

    def get(self, name: str) -> Any:
        pv = self.pv(name)
        return pv.get(use_monitor=False, as_string=pv.type == "time_enum" or pv.nelm > 1, timeout=WITHIN)

    def severity(self, name: str) -> int:
        self.get(name)
        return int(self.pv(name).severity or 0)

    def ctrl(self, name: str) -> dict[str, Any]:
        found: Any = self.pv(name).get_ctrlvars(timeout=WITHIN)
        keys = ("units", "precision", "lower_disp_limit", "upper_disp_limit", "enum_strs")
        return {key: found[key] for key in keys if key in found}

    def put(self, name: str, value: Any, wait: bool) -> Any:
        return self.pv(name).put(value, wait=wait, timeout=WITHIN)

    def begin_put(self, name: str, value: Any) -> None:
        done = self._done[name] = threading.Event()
        self.pv(name).put(value, wait=False, callback=lambda **_: done.set())
        epics.ca.flush_io()

    def is_done(self, name: str) -> bool:
        return self._done[name].is_set()

    def done(self, name: str) -> bool:
        return self._done[name].wait(WITHIN)

    def writable(self, name: str) -> bool:
        return bool(self.pv(name).write_access)

    def monitor(self, name: str) -> None:
        events: list[Any] = []
        self._events[name] = events
        pv = epics.PV(name, auto_monitor=epics.dbr.DBE_VALUE | epics.dbr.DBE_ALARM, callback=self._on_event)
        self._pvs["monitor " + name] = pv
        assert pv.wait_for_connection(WITHIN), f"{name} did not connect"
        self.events(name, 1)
        events.clear()

    def events(self, name: str, count: int) -> list[Any]:
        with self._news:
            self._news.wait_for(lambda: len(self._events[name]) >= count, WITHIN)
            return list(self._events[name])

    def pva_get(self, name: str) -> Any:
        value = self._context.get(name, timeout=WITHIN)
        raw = value.raw.todict()
        if isinstance(raw.get("value"), dict):
            return {"value": str(value), "choices": list(raw["value"]["choices"])}
        return {"value": raw["value"], "display": raw.get("display")}

    def pva_status(self, name: str) -> Any:
        value = self._context.get(name, timeout=WITHIN)
        return value.todict() | {"id": value.getID()}

    def pva_monitor(self, name: str, field: str) -> None:
        events = self._pva_events[name] = []

        def on_value(value: Any) -> None:
            with self._news:
                events.append(value[field])
                self._news.notify_all()

        self._subscriptions[name] = self._context.monitor(name, on_value)

    def pva_events(self, name: str, count: int) -> list[Any]:
        with self._news:
            self._news.wait_for(lambda: len(self._pva_events[name]) >= count, WITHIN)
            return list(self._pva_events[name])

    def pva_close(self, name: str) -> None:
        self._subscriptions.pop(name).close()

    def pva_put(self, name: str, value: Any, block: bool) -> str:
        request = "record[block=true]field()" if block else None
        try:
            self._context.put(name, value, request=request, timeout=WITHIN)
        except RemoteError as error:
            return str(error)
        return ""

    def wait_value(self, name: str, value: Any) -> Any:
        deadline = time.monotonic() + WITHIN
        while (found := self.get(name)) != value and time.monotonic() < deadline:
            epics.ca.poll(0.005)
        return found

    def missing(self, names: list[str]) -> list[str]:
        found = self._context.get(names, timeout=WITHIN, throw=False)
        return [name for name, value in zip(names, found, strict=True) if isinstance(value, Exception)]

    def _on_event(self, pvname: str, value: Any, **_: Any) -> None:
        with self._news:
            self._events[pvname].append(value)
            self._news.notify_all()


def main() -> None:
    """Answer requests until standard input ends."""
    clients = Clients()
    names = [name for name in dir(clients) if not name.startswith("_")]
    answer_lines({name: getattr(clients, name) for name in names}, "ready")


if __name__ == "__main__":
    main()
