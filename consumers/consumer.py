"""The consumer process: a worker on the local channel, its records, its image channel and its status."""

import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime

from pydantic import ValidationError

from consumers.inputs import Inputs, open_given, open_inputs
from consumers.loading import load_processor
from consumers.local_output import LocalOutput
from consumers.metadata import open_stage
from consumers.metadata_face import changing, demands, read_backs
from consumers.outputs import ImageOutput
from consumers.processor import Context, Processor, checked_settings
from consumers.processor import Value as SettingValue
from consumers.quarantined import Quarantined
from consumers.records import consumer_records, metadata_records
from consumers.remote_output import GIVING_UP_SECONDS, remote_outputs, undelivered_ids
from consumers.worker import Worker
from ioc.channels.base import Publisher
from ioc.channels.images import open_images
from ioc.channels.local_door import Doorway
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.channels.memory_book import MemoryBook
from ioc.channels.pva import PvaServer
from ioc.core.clock import SystemClock
from ioc.core.config import GroupConfig
from ioc.core.errors import ConfigError, RefusedError, mismatch
from ioc.core.ledger import Reason
from ioc.core.overflow import Limits
from ioc.core.status import ExitCode, ProcessSpec, StageStatus, State, Status
from ioc.records.image_rules import ImageRules
from ioc.records.server import DATABASES, RecordServer, ServerOptions, Template
from ioc.records.status import StatusChannels
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live, stand_still
from ioc.supervisor.limits import Limits as ProcessLimits
from ioc.supervisor.limits import usage_figures
from ioc.supervisor.usage import UsageMeter

log = logging.getLogger(__name__)


class Consumer:
    """Everything of one consumer; made, started and drained by `main`."""

    def __init__(self, child: Child, inputs: Inputs | None = None) -> None:
        """Make a consumer that takes its frames where its spec says, or from `inputs`."""
        spec = child.spec
        assert spec.table is not None and spec.member is not None
        self.child = child
        self.name = spec.name
        self.group = spec.config.groups[spec.table]
        self.prefix = spec.config.prefix
        self.processor, self.settings = open_processor(self.group, f"groups.{spec.table}")
        self.given = open_given(spec)
        self.output = LocalOutput.of(spec, self.given)
        who = Hello(spec.name, spec.table, spec.member)
        self.inputs = inputs or open_inputs(spec, self.group.input, who, self.output)
        self.receiver, self.book = self.inputs.receiver, self.inputs.book
        clock = SystemClock()
        self.memory = MemoryBook(spec.memory_file, spec.name, spec.config.budget.channels)
        doorway = Doorway(spec.view_socket, self.memory)
        self.images = open_images(spec.config.image_server, f"{self.name} images", doorway=doorway)
        aside = self.images.add(f"{self.prefix}{self.name}:Quarantine:Image")
        self.quarantined = Quarantined(spec.quarantine_folder, self.name, aside, self.memory)
        self.usage = UsageMeter(os.getpid())
        self.shown = ImageOutput(self.images.add(f"{self.prefix}{self.name}:Image"), clock, self.memory)
        self.remote = remote_outputs(self.group, spec, self.given)
        outputs: list[Publisher] = [*self.remote, self.output] if self.output is not None else [*self.remote]
        if "pva" in self.group.outputs:
            outputs.append(self.shown)
        self.worker = Worker(self.receiver, self.book, self.processor, outputs, clock)
        self.metadata = self.worker.metadata = open_stage(self.group.metadata, self.prefix)
        if self.metadata is not None and isinstance(self.receiver, LocalReceiver):
            self.receiver.beside = self.metadata.filenos
        self.worker.carried = spec.config.carried_metadata(self.group.input)
        if self.output is not None:
            self.output.idle = self.worker.run_commands
        for remote in self.remote:
            remote.idle = self._while_delivering
        self.status_name = f"{self.prefix}{self.name}:Status"
        self.status_channels = StatusChannels([self.status_name], self.images.visits)
        self.pva = PvaServer([*self.images.providers, self.status_channels.provider])
        templates = (Template(DATABASES / "consumer.template", {"R": f"{self.name}:"}),)
        options = ServerOptions.of(child.spec, templates, self._refused)
        processor = self.processor
        table = consumer_records(self.name, processor.declared_settings, processor.declared_statistics)
        table += metadata_records(self.name, self.group.metadata.channels)
        self.records = RecordServer(self.prefix, table, self._put, options)
        self._begun = time.monotonic()
        self._message = ""

    def start(self) -> None:
        """Serve records and channels and begin to work."""
        spec = self.child.spec
        assert spec.table is not None and spec.member is not None
        folder = (spec.folder or spec.run_dir) / "files" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        channels = spec.config.metadata_pvs(spec.table)
        context = Context(self.name, spec.table, spec.member, self.group.count, folder, channels)
        try:
            self.processor.start(context)
        except Exception as error:  # stage boundary: the user's code, told with its file and line
            log.exception("the processor did not start")
            raise ConfigError(f"groups.{spec.table}.processor: start: {fault(error)}") from None
        self.records.start()
        self._show_settings()
        self.images.guard(ImageRules(self.records))
        self.images.start()
        self.pva.start()
        self._take_up_earlier_life()
        self.worker.start()
        self.records.restore()
        self.child.report_with(self.sample)
        self.child.running()

    def _take_up_earlier_life(self) -> None:
        """Show how the last life ended; a frame that was put aside because of it is shown before others are taken."""
        before = earlier_figures(self.child.spec)
        self.worker.failures.recall(self.child.spec.last_end)
        self.quarantined.look()
        if before is not None and before.get("QuarantineFile", "") != self.quarantined.path:
            self.child.quarantining()
            self.records.set(f"{self.name}:State_RBV", self.child.state.value)

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        now, counts = self.worker.snapshot, self.book.counts
        status = self.child.status()
        if status.state is State.RUNNING and not now.taking:
            status.state = State.STOPPED
        self._tell_if_stuck(status)
        status.rate = now.rate
        status.last_error = status.last_error or now.failure.text
        status.message = self._message
        status.stage = StageStatus(
            received=counts.received - counts.returned,
            processed=counts.processed,
            failed=counts.failed,
            queued=counts.in_hand,
            published=counts.published,
            withheld={Reason.FILTERED.value: counts.withheld} if counts.withheld else {},
        )
        status.groups = self.output.groups if self.output is not None else []
        status.groups = [*status.groups, *(remote.status() for remote in self.remote)]
        status.last_error = status.last_error or next((one.last_error for one in self.remote if one.last_error), "")
        figures = self._figures()
        status.figures = figures | (self.metadata.figures() if self.metadata is not None else {})
        self.records.set_many(self._values(status, figures))
        self.status_channels.post(self.status_name, status)
        return status

    def _while_delivering(self) -> None:
        self.worker.run_commands()
        if self.output is not None:
            self.output.tend()

    def _tell_if_stuck(self, status: Status) -> None:
        """Let the heartbeat stand still while the processor is over its time: the supervisor will act."""
        since, limit = self.worker.busy_since_ns, self.group.time_limit
        if (self.output is not None and self.output.waiting) or any(remote.waiting for remote in self.remote):
            return  # not the processor's time
        if since is not None:
            stand_still(status, since, limit, f"the processor takes more than time_limit = {limit:g} s at a time")

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the worker."""
        self.child.wait(lambda: self.worker.failure)

    def close(self) -> bool:
        """Leave the group, finish what is here and shut down; return whether all was finished."""
        limit = time.monotonic() + DRAIN_SECONDS
        for remote in self.remote:
            remote.give_up_at(limit - GIVING_UP_SECONDS)
        drained = self.worker.drain(DRAIN_SECONDS)
        self.records.finish()
        if drained and self.output is not None:
            drained = self.output.drain(max(0.0, limit - time.monotonic()))
        self.processor.stop()
        for remote in self.remote:
            remote.close(drain=True)
        self.pva.stop()
        self.inputs.close()
        self.images.close()
        self.memory.close()
        if self.metadata is not None:
            self.metadata.close()
        if self.given is not None:
            self.given.close()
        return drained

    def _put(self, name: str, value: Value) -> Future | None:
        field = name.removeprefix(f"{self.name}:")
        commands: dict[str, Callable[[], object]] = {
            "Start": self.worker.take,
            "Reset": self.worker.reset,
            "Configure": lambda: self._configure(_settings_of(name, str(value))),
        }
        if field == "Stop":
            return self._stop()
        if field in commands:
            return self.worker.submit(commands[field])
        if self.metadata is not None and field.startswith("Meta:"):
            return changing(self.worker, self.metadata, self.records, name, float(value))
        if field.startswith("Set:"):
            return self.worker.submit(lambda: self._configure({field.removeprefix("Set:"): value}))
        return None

    def _stop(self) -> Future:
        """Leave the group; done when what was on its way is finished, or frames are taken again."""
        left: Future[None] = Future()

        def look() -> None:
            if self.receiver.finished or self.worker.taking:
                left.set_result(None)
            else:
                self.worker.submit(look)

        self.worker.submit(self.worker.leave)
        self.worker.submit(look)
        return left

    def _configure(self, given: Mapping[str, object]) -> None:
        settings = checked_settings(self.processor.declared_settings, given, self.settings)
        self.processor.configure(settings)
        try:
            check_batch(self.processor, self.group, "batch size")
        except RefusedError:
            self.processor.configure(self.settings)
            raise
        self.settings = settings
        self._message = f"configured: {', '.join(given)}" if given else "configured: nothing changed"
        self.records.set_many({f"{self.name}:ConfigureMessage_RBV": self._message})
        self._show_settings()

    def _refused(self, name: str, message: str) -> None:
        self._message = message
        self.records.set_many({f"{self.name}:StatusMessage_RBV": message, f"{self.name}:ConfigureMessage_RBV": message})

    def _show_settings(self) -> None:
        self.child.files.write(self.child.spec.settings_file, json.dumps(self.settings))
        values: dict[str, Value] = {f"{self.name}:Configure_RBV": json.dumps(self.settings)}
        for name, value in self.settings.items():
            values[f"{self.name}:Set:{name}"] = values[f"{self.name}:Set:{name}_RBV"] = value
        self.records.set_many(values | demands(self.name, self.metadata))

    def _figures(self) -> dict[str, float | int | str]:
        """Return what the status tells besides what every status tells, by the name of its record."""
        now, counts = self.worker.snapshot, self.book.counts
        self.quarantined.look()
        self.usage.look(time.monotonic_ns())
        return {
            "Missed": self.receiver.missed,
            "Dropped": self.receiver.missed,
            "Published": counts.published,
            "Filtered": counts.withheld,
            "Shed": self.shown.shed,
            "Undelivered": sum(remote.counters().errors for remote in self.remote),
            "UndeliveredIds": undelivered_ids(self.remote),
            "MemoryUsed": self.memory.used,
            "MemoryLimit": self.memory.limit,
            "LatencyP50": now.latency_p50,
            "LatencyP99": now.latency_p99,
            "LatencyMax": now.latency_max,
            "ExecutionTime": now.execution_ms,
            "BatchCopies": now.batch_copies,
            "Series": now.series,
            "UniqueId": now.unique_id,
            "Processor": self.group.processor,
            "Uptime": time.monotonic() - self._begun,
            "LastErrorTime": utc(now.failure.wall_ns),
            "LastErrorSeries": now.failure.series,
            "LastErrorId": now.failure.unique_id,
            "Errors": now.failures,
            "Quarantined": self.quarantined.count,
            "QuarantineIds": self.quarantined.ids,
            "QuarantineFile": self.quarantined.path,
            **usage_figures(self.usage.usage, ProcessLimits.of(self.child.spec)),
            **{f"Stat:{name}": _figure(value) for name, value in now.statistics.items()},
        }

    def _values(self, status: Status, figures: Mapping[str, float | int | str]) -> dict[str, Value]:
        """Return what the records show: all that the status tells."""
        values: dict[str, Value] = {
            **figures,
            "State": status.state.value,
            "Received": status.stage.received,
            "Processed": status.stage.processed,
            "Failed": status.stage.failed,
            "Queued": status.stage.queued,
            "Rate": status.rate,
            "Pid": status.pid,
            "LastError": status.last_error,
            "StatusMessage": status.message,
            **read_backs(self.metadata),
        }
        return {f"{self.name}:{name}_RBV": value for name, value in values.items()}


def earlier_figures(spec: ProcessSpec) -> dict[str, float | int | str] | None:
    """Return the figures of the last status of an earlier life, None if there was none."""
    try:
        return Status.model_validate_json(spec.status_file.read_bytes()).figures
    except (OSError, ValidationError):
        return None


def utc(wall_ns: int) -> str:
    """Return a time since 1970 in words, to the millisecond; empty for 0: never."""
    if not wall_ns:
        return ""
    return datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def open_processor(group: GroupConfig, where: str) -> tuple[Processor, dict[str, SettingValue]]:
    """Return a group's processor, configured, with its settings.

    Raises:
        ConfigError: it does not import, its settings do not fit, or its batches do not fit the queue.
    """
    kind = load_processor(group.processor, f"{where}.processor")
    try:
        processor = kind()
        settings = checked_settings(processor.declared_settings, group.settings)
        processor.configure(settings)
        check_batch(processor, group, "queue_size")
    except RefusedError as error:
        raise ConfigError(f"{where}.settings: {error}") from None
    except Exception as error:  # stage boundary: the user's code, told with its file and line
        log.exception("the processor could not be made")
        raise ConfigError(f"{where}.processor: {fault(error)}") from None
    return processor, settings


def check_batch(processor: Processor, group: GroupConfig, what: str) -> None:
    """Refuse batches that could never be full, because the queue of a member is shorter.

    Raises:
        RefusedError: says how long the queue has to be.
    """
    if processor.batch_size > Limits(group.policy, group.queue_size, group.queue_bytes).window:
        expected = f"at least {2 * processor.batch_size}, for batches of {processor.batch_size}, and not policy latest"
        raise RefusedError(mismatch(what, f"a queue_size of {expected}", group.queue_size))


def fault(error: Exception) -> str:
    """Return what a user's code raised, with the file and line it came from."""
    calls = traceback.extract_tb(error.__traceback__)
    place = f"{calls[-1].filename}, line {calls[-1].lineno}: " if calls else ""
    return f"{place}{type(error).__name__}: {error}"


def _settings_of(name: str, text: str) -> dict[str, object]:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise RefusedError(f'{name}: expected JSON, for example {{"Name": 1}}, found {text!r}: {error}') from None
    if not isinstance(settings, dict):
        raise RefusedError(mismatch(name, "a JSON object with settings", text))
    return settings


def _figure(value: SettingValue) -> float | int | str:
    return int(value) if isinstance(value, bool) else value


def main(child: Child) -> ExitCode:
    """Run a consumer until it is asked to stop."""
    return live(child, Consumer)
