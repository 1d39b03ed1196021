"""An IOC with all tables of Rayfan and some records that make trouble; see ioc_process.

Arguments: prefix, and optionally a folder for put log and autosave, and a file of access rules.
"""

import logging
import resource
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

_begin = time.monotonic()

from p4p.server import Server  # noqa: E402 - the import time is part of what is reported

from ioc.core.errors import RefusedError  # noqa: E402
from ioc.core.status import Status  # noqa: E402
from ioc.records.server import ACCESS_RULES, DATABASES, RecordServer, ServerOptions, Template  # noqa: E402
from ioc.records.status import StatusChannels  # noqa: E402
from ioc.records.table import Access, Kind, Limits, Record, Value  # noqa: E402
from tests.support.ioc_process import answer_lines  # noqa: E402
from tests.support.ioc_tables import all_records  # noqa: E402

TROUBLE = (
    Record("Test:Slow", Kind.FLOAT, "Done when the test says so", Access.PAIR),
    Record("Test:SlowAgain", Kind.INT, "Done when the test says so", Access.PAIR),
    Record("Test:Refuse", Kind.INT, "Refused at once", Access.PAIR, initial=5),
    Record("Test:RefuseLate", Kind.ENUM, "Refused later", Access.PAIR, choices=("A", "B")),
    Record("Test:RefuseText", Kind.STRING, "Refused later", Access.PAIR, size=200, initial="before"),
    Record("Test:Broken", Kind.INT, "The owner raises", Access.PAIR),
    Record("Test:Coerced", Kind.FLOAT, "The owner rounds", Access.PAIR, accepted=Limits(0, 10)),
    Record("Test:Write", Kind.BOOL, "No read-back", Access.WRITE),
)

LATER = ("Test:RefuseLate", "Test:RefuseText", "Test:Slow", "Test:SlowAgain", "Cons1:Start")


class Appliance:
    """The owner of the records: does what the test asks for."""

    def __init__(self, prefix: str, folder: Path | None = None, access_rules: Path = ACCESS_RULES) -> None:
        self.puts: list[list[Any]] = []
        self.refusals: list[list[str]] = []
        self.threads: set[str] = set()
        self.pending: dict[str, Future[None]] = {}
        options = ServerOptions(
            templates=(
                Template(DATABASES / "detector.template", {"R": "cam1:"}),
                Template(DATABASES / "consumer.template", {"R": "Cons1:"}),
                Template(DATABASES / "appliance.template", {}),
            ),
            on_refused=lambda name, message: self.refusals.append([name, message]),
            access_rules=access_rules,
            put_log=folder / "puts" if folder else None,
            autosave=folder / "test.autosave" if folder else None,
            ioc_stats="Test",
        )
        self.server = RecordServer(prefix, [*all_records(), *TROUBLE], self.on_put, options)

    def on_put(self, name: str, value: Value) -> Future[None] | None:
        self.puts.append([name, value])
        self.threads.add(threading.current_thread().name)
        if name == "cam1:Acquire":
            return self.acquire(bool(value))
        if name == "Test:Refuse":
            raise RefusedError("Test:Refuse: never")
        if name == "Test:Broken":
            raise RuntimeError("a defect of the owner")
        if name in LATER:
            return self.pending.setdefault(name, Future())
        if name == "Test:Coerced":
            value = round(float(value))
            self.server.set(name, value)
        if name + "_RBV" in self.server.names:
            self.server.set(name + "_RBV", value)
        return None

    def acquire(self, start: bool) -> Future[None] | None:
        if not start:
            self.finish("cam1:Acquire")
            return None
        if "cam1:Acquire" not in self.pending:
            self.server.set("cam1:Acquire_RBV", True)
            self.server.set("cam1:DetectorState_RBV", "Acquire")
        return self.pending.setdefault("cam1:Acquire", Future())

    def finish(self, name: str) -> bool:
        future = self.pending.pop(name, None)
        if future is None:
            return False
        if name == "cam1:Acquire":
            self.server.set("cam1:Acquire_RBV", False)
            self.server.set("cam1:DetectorState_RBV", "Idle")
        future.set_result(None)
        return True

    def refuse(self, name: str, message: str) -> None:
        self.pending.pop(name).set_exception(RefusedError(message))

    def own_acquisition(self) -> None:
        self.server.set("cam1:Acquire_RBV", True)
        self.server.follow("cam1:Acquire", self.pending.setdefault("cam1:Acquire", Future()))

    def set_each(self, name: str, values: list[Value]) -> None:
        for value in values:
            self.server.set(name, value)


def main() -> None:
    """Serve until standard input ends."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    prefix = sys.argv[1]
    appliance = Appliance(prefix, *map(Path, sys.argv[2:]))
    appliance.server.start()
    appliance.server.restore()
    status_name = f"{prefix}cam1:Status"
    channels = StatusChannels([status_name])
    seconds = time.monotonic() - _begin

    functions = {
        "puts": lambda: appliance.puts,
        "refusals": lambda: appliance.refusals,
        "threads": lambda: sorted(appliance.threads),
        "is_pending": lambda name: name in appliance.pending,
        "set": appliance.server.set,
        "set_each": appliance.set_each,
        "set_many": appliance.server.set_many,
        "get": appliance.server.get,
        "invalidate": appliance.server.invalidate,
        "finish": appliance.finish,
        "refuse": appliance.refuse,
        "own_acquisition": appliance.own_acquisition,
        "post": lambda status: channels.post(status_name, Status.model_validate(status)),
    }
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with Server(providers=[channels.provider]):
        answer_lines(functions, {"seconds": round(seconds, 2), "megabytes": round(memory)})
    appliance.server.stop()


if __name__ == "__main__":
    main()
