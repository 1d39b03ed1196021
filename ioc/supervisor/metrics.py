"""What is exported to Prometheus: one table of metrics, each the figure of a record, under the record's own name.

A metric has no source of its own. Those of the appliance and of its processes are taken from what the supervisor's
records show, the others from the status that the process writes in the same moment as its records. Each sample has the
label `pv`, the name of the record that shows the same figure. The Grafana dashboard is made from this table, too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ioc.core.status import GroupStatus, Role, Status
from ioc.records.ledger_records import PROCESS_SLOTS, supervisor_records
from ioc.records.table import Kind, Value
from ioc.supervisor.appliance import Appliance
from ioc.supervisor.readbacks import values

PREFIX = "rayfan_"


class Of(Enum):
    """What a metric is a figure of."""

    APPLIANCE = "appliance"
    PROCESS = "process"
    STAGE = "stage"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `record` is without what stands before it and without `_RBV`, `roles` are those that have it."""

    name: str
    record: str
    of: Of
    about: str
    roles: tuple[Role, ...] = ()

    @property
    def full_name(self) -> str:
        """The name that is exported: a counter's ends in `_total`."""
        return f"{PREFIX}{self.name}"

    @property
    def is_counter(self) -> bool:
        """Whether it only grows while its process lives."""
        return self.name.endswith("_total")


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure: `labels` are prefix, pv, and process or group."""

    metric: Metric
    labels: Mapping[str, str]
    value: float


CONSUMER, COLLECTOR, EGRESS, INGRESS = Role.CONSUMER, Role.COLLECTOR, Role.EGRESS, Role.INGRESS
BALANCER, INTAKE, PLUGINS = Role.BALANCER, Role.INTAKE, Role.PLUGINS

METRICS = (
    Metric("published_frames_total", "Ledger:Published", Of.APPLIANCE, "Frames that the detector published"),
    Metric("residue_frames", "Ledger:Residue", Of.APPLIANCE, "Frames unaccounted for, 0 is good"),
    Metric("dropped_frames_total", "Ledger:Dropped", Of.APPLIANCE, "Frames dropped, all reasons"),
    Metric("failed_frames_total", "Ledger:Failed", Of.APPLIANCE, "Frames that a processor failed on"),
    Metric("unseen_frames", "Ledger:Unseen", Of.APPLIANCE, "Of both, what nobody acknowledged yet"),
    Metric("queued_frames", "Ledger:Queued", Of.APPLIANCE, "Frames on their way"),
    Metric("series_published_frames", "Ledger:SeriesPublished", Of.APPLIANCE, "Frames of the newest series"),
    Metric("series_complete", "Ledger:SeriesComplete", Of.APPLIANCE, "Whether it ended and all is settled"),
    Metric("health", "Health", Of.APPLIANCE, "0 OK, 1 Degraded, 2 Failed"),
    Metric("processes", "Processes", Of.APPLIANCE, "Processes that run"),
    Metric("restarts_total", "Restarts", Of.APPLIANCE, "Restarts since the start"),
    Metric("uptime_seconds", "Uptime", Of.APPLIANCE, "Time since the start"),
    Metric("quarantine_frames", "Quarantine:Frames", Of.APPLIANCE, "Frames set aside, on file"),
    Metric("quarantine_bytes", "Quarantine:Bytes", Of.APPLIANCE, "Bytes of their files"),
    Metric("process_state", "State", Of.PROCESS, "0 Absent, 1 Starting, 2 Running, 3 Draining, 4 Stopped, 5 Failed"),
    Metric("process_restarts_total", "Restarts", Of.PROCESS, "Restarts since the start"),
    Metric("process_failures", "Failures", Of.PROCESS, "Failures lately"),
    Metric("process_backoff_seconds", "Backoff", Of.PROCESS, "Time until it is started again"),
    Metric("process_rss_bytes", "RSS", Of.PROCESS, "Memory in RAM, frames included"),
    Metric("process_private_bytes", "PrivateMemory", Of.PROCESS, "Memory of its own, without frames"),
    Metric("process_cpu_percent", "CPU", Of.PROCESS, "Processor time, 100: one core"),
    Metric("group_members", "Members", Of.GROUP, "Members that are there"),
    Metric("group_queued_frames", "Queued", Of.GROUP, "Frames that wait for members"),
    Metric("group_in_flight_frames", "InFlight", Of.GROUP, "Frames at members, not acknowledged"),
    Metric("group_high_water_frames", "HighWater", Of.GROUP, "Most frames that waited for a member"),
    Metric("group_dropped_frames_total", "Dropped", Of.GROUP, "Frames dropped for members, all reasons"),
    Metric("group_lag_frames", "Lag", Of.GROUP, "Frames that the slowest member is behind"),
    Metric("group_lag_seconds", "LagTime", Of.GROUP, "Time that the slowest member is behind"),
    Metric(
        "rate_hertz", "Rate", Of.STAGE, "Frames per second", (CONSUMER, COLLECTOR, EGRESS, INGRESS, INTAKE, PLUGINS)
    ),
    Metric("received_frames_total", "Received", Of.STAGE, "Frames received", (CONSUMER, PLUGINS)),
    Metric("processed_frames_total", "Processed", Of.STAGE, "Frames processed", (CONSUMER, PLUGINS)),
    Metric("failed_stage_frames_total", "Failed", Of.STAGE, "Frames failed on", (CONSUMER, COLLECTOR, PLUGINS)),
    Metric("waiting_frames", "Queued", Of.STAGE, "Frames received, not finished with", (CONSUMER, EGRESS)),
    Metric("put_out_frames_total", "Published", Of.STAGE, "Frames put out", (CONSUMER, COLLECTOR)),
    Metric("missed_frames_total", "Missed", Of.STAGE, "Ids of its series never completed", (CONSUMER,)),
    Metric("shed_frames_total", "Shed", Of.STAGE, "Frames dropped for lack of memory", (CONSUMER, COLLECTOR, INGRESS)),
    Metric("undelivered_frames_total", "Undelivered", Of.STAGE, "Frames no output took", (CONSUMER, COLLECTOR)),
    Metric("memory_bytes", "MemoryUsed", Of.STAGE, "Bytes of frames that wait", (CONSUMER, COLLECTOR, INGRESS)),
    Metric("latency_p50_seconds", "LatencyP50", Of.STAGE, "Median time from stamp to done", (CONSUMER,)),
    Metric("latency_p99_seconds", "LatencyP99", Of.STAGE, "99th percentile of stamp to done", (CONSUMER,)),
    Metric("latency_longest_seconds", "LatencyMax", Of.STAGE, "Longest time from stamp to done", (CONSUMER,)),
    Metric("execution_milliseconds", "ExecutionTime", Of.STAGE, "Time that one frame takes", (CONSUMER,)),
    Metric("processor_errors_total", "Errors", Of.STAGE, "Errors of the processor", (CONSUMER,)),
    Metric("quarantined_frames", "Quarantined", Of.STAGE, "Frames that killed it, on file", (CONSUMER,)),
    Metric("gaps_frames_total", "Missing", Of.STAGE, "Ids that never came", (COLLECTOR,)),
    Metric("late_frames_total", "Late", Of.STAGE, "Frames that came too late", (COLLECTOR,)),
    Metric("held_frames", "Waiting", Of.STAGE, "Frames that wait for those before them", (COLLECTOR,)),
    Metric("incomplete_frames_total", "Incomplete", Of.STAGE, "Frames with parts missing", (COLLECTOR, INGRESS)),
    Metric("carried_frames_total", "Frames", Of.STAGE, "Frames sent or received", (EGRESS, INGRESS, INTAKE)),
    Metric("carried_bytes_total", "Bytes", Of.STAGE, "Bytes of these frames", (EGRESS, INGRESS, INTAKE)),
    Metric("bytes_per_second", "ByteRate", Of.STAGE, "Bytes sent or received per second", (EGRESS, INGRESS)),
    Metric("sent_packets_total", "Packets", Of.STAGE, "Packets sent", (EGRESS,)),
    Metric("send_errors_total", "Errors", Of.STAGE, "Frames or packets that could not be sent", (EGRESS, BALANCER)),
    Metric("unreachable_packets_total", "Unreachable", Of.STAGE, "Packets that found no way", (EGRESS,)),
    Metric("resent_packets_total", "Resent", Of.STAGE, "Packets that were sent again", (EGRESS, INGRESS)),
    Metric("lost_frames_total", "Lost", Of.STAGE, "Frames of which no packet came", (INGRESS,)),
    Metric("corrupt_frames_total", "Corrupt", Of.STAGE, "Events whose check failed", (INGRESS,)),
    Metric("kernel_dropped_packets_total", "KernelDrops", Of.STAGE, "Packets without room", (INGRESS, BALANCER)),
    Metric("forwarded_packets_total", "Forwarded", Of.STAGE, "Packets handed on to workers", (BALANCER,)),
    Metric("workers_ready", "WorkersReady", Of.STAGE, "Workers that take frames", (BALANCER,)),
    Metric("merged_frames_total", "Merged", Of.STAGE, "Frames lost on the way in", (INTAKE,)),
)


def samples(view: Appliance, statuses: Iterable[Status]) -> Iterator[Sample]:
    """Yield the figures of the appliance as its supervisor sees it, and as its processes said last."""
    shown = values(view)
    yield from _of_appliance(view, shown)
    yield from _of_processes(view, shown)
    for status in statuses:
        yield from _of_stage(view.prefix, status)
        if status.role is Role.DETECTOR:
            yield from _of_groups(view.prefix, status.groups)


def _of_appliance(view: Appliance, shown: Mapping[str, Value]) -> Iterator[Sample]:
    for metric in METRICS:
        if metric.of is Of.APPLIANCE:
            yield _sample(view.prefix, metric, "", shown[f"{metric.record}_RBV"], {})


def _of_processes(view: Appliance, shown: Mapping[str, Value]) -> Iterator[Sample]:
    for slot, process in enumerate(view.processes[:PROCESS_SLOTS], 1):
        labels = {"process": process.name, "role": process.role.value}
        for metric in METRICS:
            record = f"Process{slot}:{metric.record}_RBV"
            if metric.of is Of.PROCESS and record in shown:
                yield _sample(view.prefix, metric, f"Process{slot}:", shown[record], labels)


def _of_stage(prefix: str, status: Status) -> Iterator[Sample]:
    stage = status.stage
    shown: dict[str, Value] = {
        "Rate": status.rate,
        "Received": stage.received,
        "Processed": stage.processed,
        "Failed": stage.failed,
        "Queued": stage.queued,
        **status.figures,
    }
    labels = {"process": status.name, "role": status.role.value}
    for metric in METRICS:
        if status.role in metric.roles and metric.record in shown:
            yield _sample(prefix, metric, f"{status.name}:", shown[metric.record], labels)


def _of_groups(prefix: str, groups: Sequence[GroupStatus]) -> Iterator[Sample]:
    for group in groups:
        if not group.slot:
            continue  # the image channel has no slot of records
        members = group.members
        shown: dict[str, Value] = {
            "Members": sum(one.present for one in members),
            "Queued": sum(one.queued for one in members),
            "InFlight": sum(one.in_flight for one in members),
            "HighWater": max((one.high_water for one in members), default=0),
            "Dropped": sum(sum(one.dropped.values()) for one in members),
            "Lag": max((one.queued + one.in_flight for one in members), default=0),
            "LagTime": max((one.lag_seconds for one in members), default=0.0),
        }
        for metric in METRICS:
            if metric.of is Of.GROUP:
                yield _sample(prefix, metric, f"Dist{group.slot}:", shown[metric.record], {"group": group.name})


def _sample(prefix: str, metric: Metric, device: str, value: Value, labels: Mapping[str, str]) -> Sample:
    record = f"{device}{metric.record}"
    number = CHOICES[record].index(str(value)) if record in CHOICES else float(value)
    return Sample(metric, {"prefix": prefix, "pv": f"{prefix}{record}_RBV", **labels}, float(number))


CHOICES = {one.name: one.choices for one in supervisor_records() if one.kind is Kind.ENUM}
"""The choices of the supervisor's records: an enum is exported as its number."""
