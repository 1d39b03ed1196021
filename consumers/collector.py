"""The collector process: one stream in order out of what several consumers put out, with its records and channels."""

import time
from collections import Counter
from concurrent.futures import Future

from pydantic import ValidationError

from consumers.gathering import Gathering, Parts
from consumers.inputs import Givers, open_books
from consumers.outflow import Outflow
from consumers.records import collector_records
from consumers.tiles import Numbering, Stitcher
from ioc.channels.book import Book
from ioc.channels.local_givers import Member
from ioc.channels.local_separate import Held, SeparateInputs
from ioc.channels.local_wire import Hello
from ioc.core.clock import SystemClock
from ioc.core.config import Config
from ioc.core.config_table import Policy
from ioc.core.rate import RateMeter
from ioc.core.reorder import Bounds, Reorder
from ioc.core.status import ExitCode, ProcessSpec, Status
from ioc.core.topology import DETECTOR, collector_group
from ioc.records.face import Face
from ioc.records.server import RecordServer, ServerOptions
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live, stand_still

STEP_SECONDS = 10.0
"""s that one round may take at most, besides waiting for those behind: what is stuck is started anew."""
BEFORE = "before_restart"
"""Reason of frames that a killed life of this process withheld after its last status: for what, died with it."""


class Collector:
    """Everything of one collector; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        assert spec.table is not None
        self.child = child
        self.name = spec.name
        self.config = spec.config.collectors[spec.table]
        self.outflow = Outflow(spec, self.config)
        self.books, self.journal = open_books(spec)
        self._withheld_before = withheld_before(spec, self.books.counts.withheld)
        who = Hello(spec.name, collector_group(spec.table), 0)
        self.inputs = SeparateInputs(Member(Givers(spec, self.config.input), who, self.books), self.outflow.local)
        bounds = Bounds(self.config.wait, self.config.most_waiting, self.config.waiting_bytes)
        reorder: Reorder[Held] = Reorder(bounds, gives_in_order(spec.config, self.config.input))
        tiles = self.config.tiles
        stitcher = Stitcher(tiles, self.config.incomplete == "deliver") if tiles is not None else None
        place, clock = Book(spec.run_dir / f"{self.name}.place"), SystemClock()
        publishers = self.outflow.publishers
        parts = Parts(self.inputs, reorder, Numbering(tiles or 1), stitcher, publishers, place, clock)
        self.gathering = Gathering(parts)
        self.outflow.meanwhile(self.gathering.run_commands)
        self.records = RecordServer(
            spec.config.prefix, collector_records(self.name), self._put, ServerOptions.of(child.spec)
        )
        self.face = Face(spec, self.records, self.outflow.images)
        self._rate = RateMeter()

    def start(self) -> None:
        """Serve the records and begin to gather."""
        self.records.start()
        self.records.set_many({f"{self.name}:Wait": self.config.wait})
        self.face.serve()
        self.gathering.start()
        self.records.restore()
        self.child.report_with(self.sample)
        self.child.running()

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        now, counts = self.gathering.snapshot, self.books.counts
        status = self.child.status()
        if not self.outflow.waiting:
            stand_still(
                status, self.gathering.stepped_ns, STEP_SECONDS, f"its loop stands still for {STEP_SECONDS:g} s"
            )
        status.rate = self._rate.update(counts.published, time.monotonic_ns())
        status.last_error = status.last_error or now.last_error
        withheld = self.gathering.withheld + self._withheld_before
        status.stage = counts.stage()
        status.stage.published = counts.published
        status.stage.withheld = {reason: count for reason, count in withheld.items() if count}
        status.groups = self.outflow.groups
        status.last_error = status.last_error or self.outflow.last_error
        status.figures = self._figures(status)
        values = {"Rate": status.rate, "Wait": self.gathering.reorder.bounds.seconds}
        self.face.tell(status, status.figures | values)
        return status

    def _figures(self, status: Status) -> dict[str, float | int | str]:
        now, counts = self.gathering.snapshot, self.books.counts
        return {
            "Received": status.stage.received,
            "Published": counts.published,
            "Inputs": now.inputs,
            "Waiting": now.waiting,
            "OldestWait": now.oldest_wait,
            "Missing": now.missing,
            "Late": now.late,
            "Duplicates": now.duplicates,
            "Filtered": now.filtered,
            "Incomplete": now.incomplete,
            "Failed": counts.failed,
            "Dropped": self.inputs.missed,
            "Shed": self.outflow.shown.shed,
            "Undelivered": self.outflow.undelivered,
            "MemoryUsed": self.outflow.memory.used,
            "MemoryLimit": self.outflow.memory.limit,
            "MissingRanges": now.missing_ranges,
            "Complete": int(now.complete),
            "Series": now.series,
            "UniqueId": now.unique_id,
        }

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the loop."""
        self.child.wait(lambda: self.gathering.failure)

    def close(self) -> bool:
        """Pass on what is on its way and shut down; return whether all of it was."""
        limit = time.monotonic() + DRAIN_SECONDS
        self.outflow.hurry(limit)
        drained = self.gathering.drain(DRAIN_SECONDS, renewed=self.child.spec.renewed_file.exists())
        self.records.finish()
        drained = drained and self.outflow.drain(limit)
        self.face.close()
        self.outflow.close()
        self.journal.close()
        return drained

    def _put(self, name: str, value: Value) -> Future | None:
        field = name.removeprefix(f"{self.name}:")
        if field == "Reset":
            return self.gathering.submit(self.gathering.reset)
        if field == "Wait":
            return self.gathering.submit(lambda: self._set_wait(float(value)))
        return None

    def _set_wait(self, seconds: float) -> None:
        reorder = self.gathering.reorder
        reorder.bounds = Bounds(seconds, reorder.bounds.items, reorder.bounds.size_bytes)


def withheld_before(spec: ProcessSpec, count: int) -> Counter[str]:
    """Return why earlier lives withheld `count` frames, as their last status says; the rest has reason `BEFORE`."""
    try:
        told = Counter(Status.model_validate_json(spec.status_file.read_bytes()).stage.withheld)
    except (OSError, ValidationError):
        told = Counter()
    if told.total() > count:
        return Counter({BEFORE: count})
    return told + Counter({BEFORE: count - told.total()})


def gives_in_order(config: Config, giver: str) -> bool:
    """Return whether each process of a giver gives rising ids, so that what it has passed it cannot bring any more.

    Not so where frames of a member that died go to others (Acknowledged), nor where members mix several streams, nor
    where several streams or senders come in from outside, nor behind an ingress.
    """
    kind, _, table = giver.partition(".")
    if kind == "intake":
        urls = config.intake[table].url
        return len(urls) == 1 and urls[0].startswith(("pva://", "file://"))
    if kind == "ingress":
        return False  # packets overtake each other, and what is sent again comes late
    if kind != "groups":
        return True
    group = config.groups[table]
    mixes = group.input.startswith("groups.") and config.groups[group.input.removeprefix("groups.")].count > 1
    ordered = group.input == DETECTOR or gives_in_order(config, group.input)
    return ordered and group.policy is not Policy.ACKNOWLEDGED and not mixes


def main(child: Child) -> ExitCode:
    """Run a collector until it is asked to stop."""
    return live(child, Collector)
