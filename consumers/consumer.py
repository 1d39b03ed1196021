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

from consumers.inputs import Inputs, open_inputs
from consumers.loading import load_processor
from consumers.metadata_face import MetadataFace
from consumers.outflow import Outflow
from consumers.processor import Context, Processor, checked_settings
from consumers.processor import Value as SettingValue
from consumers.quarantined import Quarantined
from consumers.records import consumer_records, metadata_records
from consumers.worker import Worker
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.core.clock import SystemClock
from ioc.core.config_group import GroupConfig
from ioc.core.errors import ConfigError, RefusedError, mismatch
from ioc.core.ledger import Reason
from ioc.core.overflow import Limits
from ioc.core.status import ExitCode, ProcessSpec, State, Status
from ioc.records.face import Face
from ioc.records.server import DATABASES, RecordServer, ServerOptions, Template
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
        self.outflow = Outflow(spec, self.group)
        who = Hello(spec.name, spec.table, spec.member)
        self.inputs = inputs or open_inputs(spec, self.group.input, who, self.outflow.local)
        self.receiver, self.book = self.inputs.receiver, self.inputs.book
        aside = self.outflow.images.add(f"{self.prefix}{self.name}:Quarantine:Image")
        self.quarantined = Quarantined(spec.quarantine_folder, self.name, aside, self.outflow.memory)
        self.usage = UsageMeter(os.getpid())
        self.worker = Worker(self.receiver, self.book, self.processor, self.outflow.publishers, SystemClock())
        self.outflow.meanwhile(self.worker.run_commands)
        self.metadata = MetadataFace(spec, self.group.metadata, self.worker)
        if self.metadata.stage is not None and isinstance(self.receiver, LocalReceiver):
            self.receiver.beside = self.metadata.stage.filenos
        self.worker.carried = spec.config.carried_metadata(self.group.input)
        templates = (Template(DATABASES / "consumer.template", {"R": f"{self.name}:"}),)
        options = ServerOptions.of(child.spec, templates, self._refused)
        processor = self.processor
        table = consumer_records(self.name, processor.declared_settings, processor.declared_statistics)
        table += metadata_records(self.name, self.group.metadata.channels)
        self.records = RecordServer(self.prefix, table, self._put, options)
        self.face = Face(spec, self.records, self.outflow.images)
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
        self.face.serve()
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
        status.stage = counts.stage()
        status.stage.published = counts.published
        status.stage.withheld = {Reason.FILTERED.value: counts.withheld} if counts.withheld else {}
        status.groups = self.outflow.groups
        status.last_error = status.last_error or self.outflow.last_error
        figures = self._figures()
        status.figures = figures | self.metadata.figures()
        self.face.tell(status, self._values(status, figures))
        return status

    def _tell_if_stuck(self, status: Status) -> None:
        """Let the heartbeat stand still while the processor is over its time: the supervisor will act."""
        since, limit = self.worker.busy_since_ns, self.group.time_limit
        if self.outflow.waiting:
            return  # not the processor's time
        if since is not None:
            stand_still(status, since, limit, f"the processor takes more than time_limit = {limit:g} s at a time")

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the worker."""
        self.child.wait(lambda: self.worker.failure)

    def close(self) -> bool:
        """Leave the group, finish what is here and shut down; return whether all was finished."""
        limit = time.monotonic() + DRAIN_SECONDS
        self.outflow.hurry(limit)
        drained = self.worker.drain(DRAIN_SECONDS)
        self.records.finish()
        drained = drained and self.outflow.drain(limit)
        self.processor.stop()
        self.face.close()
        self.outflow.close()
        self.inputs.close()
        self.metadata.close()
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
        if field.startswith("Meta:"):
            return self.metadata.put(self.records, name, float(value))
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
        self.records.set_many(values | self.metadata.demands())

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
            "Shed": self.outflow.shown.shed,
            "Undelivered": self.outflow.undelivered,
            "UndeliveredIds": self.outflow.undelivered_ids,
            "MemoryUsed": self.outflow.memory.used,
            "MemoryLimit": self.outflow.memory.limit,
            "LatencyP50": now.latency_p50,
            "LatencyP99": now.latency_p99,
            "LatencyMax": now.latency_max,
            "ExecutionTime": now.execution_ms,
            "BatchCopies": now.batch_copies,
            "Series": now.series,
            "UniqueId": now.unique_id,
            "Processor": self.group.processor,
            "Uptime": self.face.uptime,
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
        return {
            **figures,
            "Received": status.stage.received,
            "Processed": status.stage.processed,
            "Failed": status.stage.failed,
            "Queued": status.stage.queued,
            "Rate": status.rate,
            "StatusMessage": status.message,
            **self.metadata.read_backs(),
        }


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
