"""The collector process: one stream in order out of what several consumers put out, with its records and channels."""

import time
from collections import Counter
from concurrent.futures import Future

from pydantic import ValidationError

from consumers.gathering import Gathering, Parts
from consumers.inputs import Givers, open_books, open_given
from consumers.local_output import LocalOutput
from consumers.outputs import ImageOutput
from consumers.records import collector_records
from consumers.remote_output import GIVING_UP_SECONDS, remote_outputs
from consumers.tiles import Numbering, Stitcher
from ioc.channels.base import Publisher
from ioc.channels.book import Book
from ioc.channels.images import open_images
from ioc.channels.local_door import Doorway
from ioc.channels.local_givers import Member
from ioc.channels.local_separate import Held, SeparateInputs
from ioc.channels.local_wire import Hello
from ioc.channels.memory_book import MemoryBook
from ioc.channels.pva import PvaServer
from ioc.core.clock import SystemClock
from ioc.core.config import Config, Policy, collector_group
from ioc.core.rate import RateMeter
from ioc.core.reorder import Bounds, Reorder
from ioc.core.status import ExitCode, ProcessSpec, StageStatus, Status
from ioc.core.topology import DETECTOR
from ioc.records.image_rules import ImageRules
from ioc.records.server import RecordServer, ServerOptions
from ioc.records.status import StatusChannels
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
        self.given = open_given(spec)
        self.output = LocalOutput.of(spec, self.given)
        self.books, self.journal = open_books(spec)
        self._withheld_before = withheld_before(spec, self.books.counts.withheld)
        who = Hello(spec.name, collector_group(spec.table), 0)
        self.inputs = SeparateInputs(Member(Givers(spec, self.config.input), who, self.books), self.output)
        self.memory = MemoryBook(spec.memory_file, spec.name, spec.config.budget.channels)
        doorway = Doorway(spec.view_socket, self.memory)
        self.images = open_images(spec.config.image_server, f"{self.name} images", doorway=doorway)
        prefix, clock = spec.config.prefix, SystemClock()
        self.remote = remote_outputs(self.config, spec, self.given)
        outputs: list[Publisher] = [*self.remote, self.output] if self.output is not None else [*self.remote]
        self.shown = ImageOutput(self.images.add(f"{prefix}{self.name}:Image"), clock, self.memory)
        if "pva" in self.config.outputs:
            outputs.append(self.shown)
        bounds = Bounds(self.config.wait, self.config.most_waiting, self.config.waiting_bytes)
        reorder: Reorder[Held] = Reorder(bounds, gives_in_order(spec.config, self.config.input))
        tiles = self.config.tiles
        stitcher = Stitcher(tiles, self.config.incomplete == "deliver") if tiles is not None else None
        place = Book(spec.run_dir / f"{self.name}.place")
        parts = Parts(self.inputs, reorder, Numbering(tiles or 1), stitcher, outputs, place, clock)
        self.gathering = Gathering(parts)
        if self.output is not None:
            self.output.idle = self.gathering.run_commands
        for remote in self.remote:
            remote.idle = self._while_delivering
        self.status_name = f"{prefix}{self.name}:Status"
        self.status_channels = StatusChannels([self.status_name], self.images.visits)
        self.pva = PvaServer([*self.images.providers, self.status_channels.provider])
        self.records = RecordServer(prefix, collector_records(self.name), self._put, ServerOptions.of(child.spec))
        self._begun = time.monotonic()
        self._rate = RateMeter()

    def start(self) -> None:
        """Serve the records and begin to gather."""
        self.records.start()
        self.records.set_many({f"{self.name}:Wait": self.config.wait})
        self.images.guard(ImageRules(self.records))
        self.images.start()
        self.pva.start()
        self.gathering.start()
        self.records.restore()
        self.child.report_with(self.sample)
        self.child.running()

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        now, counts = self.gathering.snapshot, self.books.counts
        status = self.child.status()
        if self.output is None or not self.output.waiting:
            stand_still(
                status, self.gathering.stepped_ns, STEP_SECONDS, f"its loop stands still for {STEP_SECONDS:g} s"
            )
        status.rate = self._rate.update(counts.published, time.monotonic_ns())
        status.last_error = status.last_error or now.last_error
        withheld = self.gathering.withheld + self._withheld_before
        status.stage = StageStatus(
            received=counts.received - counts.returned,
            processed=counts.processed,
            failed=counts.failed,
            queued=counts.in_hand,
            published=counts.published,
            withheld={reason: count for reason, count in withheld.items() if count},
        )
        status.groups = self.output.groups if self.output is not None else []
        status.groups = [*status.groups, *(remote.status() for remote in self.remote)]
        status.last_error = status.last_error or next((one.last_error for one in self.remote if one.last_error), "")
        figures: dict[str, Value] = {
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
            "Shed": self.shown.shed,
            "Undelivered": sum(remote.counters().errors for remote in self.remote),
            "MemoryUsed": self.memory.used,
            "MemoryLimit": self.memory.limit,
            "MissingRanges": now.missing_ranges,
            "Complete": int(now.complete),
            "Series": now.series,
            "UniqueId": now.unique_id,
        }
        status.figures = figures
        values: dict[str, Value] = {
            **figures,
            "State": status.state.value,
            "Rate": status.rate,
            "Wait": self.gathering.reorder.bounds.seconds,
            "Pid": status.pid,
            "Uptime": time.monotonic() - self._begun,
            "LastError": status.last_error,
        }
        self.records.set_many({f"{self.name}:{name}_RBV": value for name, value in values.items()})
        self.status_channels.post(self.status_name, status)
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the loop."""
        self.child.wait(lambda: self.gathering.failure)

    def close(self) -> bool:
        """Pass on what is on its way and shut down; return whether all of it was."""
        limit = time.monotonic() + DRAIN_SECONDS
        for remote in self.remote:
            remote.give_up_at(limit - GIVING_UP_SECONDS)
        drained = self.gathering.drain(DRAIN_SECONDS)
        self.records.finish()
        if drained and self.output is not None:
            drained = self.output.drain(max(0.0, limit - time.monotonic()))
        for remote in self.remote:
            remote.close(drain=True)
        self.pva.stop()
        self.images.close()
        self.memory.close()
        self.journal.close()
        if self.given is not None:
            self.given.close()
        return drained

    def _put(self, name: str, value: Value) -> Future | None:
        field = name.removeprefix(f"{self.name}:")
        if field == "Reset":
            return self.gathering.submit(self.gathering.reset)
        if field == "Wait":
            return self.gathering.submit(lambda: self._set_wait(float(value)))
        return None

    def _while_delivering(self) -> None:
        self.gathering.run_commands()
        if self.output is not None:
            self.output.tend()

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
