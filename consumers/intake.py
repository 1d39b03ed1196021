"""The intake process: frames from outside, besides the detector's, for those who take them in this appliance."""

import threading
import time
from concurrent.futures import Future

from consumers.intake_loop import IntakeLoop, Outlets
from consumers.outflow import Outflow
from consumers.records import intake_records
from ioc.channels.hdf5_stream import FileStream
from ioc.channels.journal import Journal
from ioc.channels.pva_intake import MonitoredStream, ServedStream
from ioc.channels.stream import Stream, StreamFigures, StreamSettings
from ioc.core.clock import Clock, SystemClock
from ioc.core.config_modes import IntakeConfig, file_of, scheme_of
from ioc.core.ledger import Reason
from ioc.core.rate import RateMeter
from ioc.core.status import ExitCode, StageStatus, Status
from ioc.records.face import Face
from ioc.records.server import RecordServer, ServerOptions
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live

QUEUED_PART = 4
"""One part in so many of the process's memory is for frames that wait to be taken in."""
SHOWN_RANGES = 16


class Intake:
    """Everything of one intake; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        assert spec.table is not None
        self.child = child
        self.name = spec.name
        self.config = spec.config.intake[spec.table].under(spec.config.prefix)
        budget, clock = spec.config.budget, SystemClock()
        waiting = (budget.chain or budget.channels) // QUEUED_PART
        self.outflow = Outflow(spec, reserved=waiting)
        self.journal = Journal(spec.journal_file)
        arrived = threading.Event()
        self.streams = open_streams(self.config, waiting, arrived, clock)
        outlets = Outlets(self.outflow.local, self.outflow.shown, self.journal, self.name)
        self.loop = IntakeLoop(self.streams, arrived, outlets, clock)
        served = [stream.provider for stream in self.streams if isinstance(stream, ServedStream)]
        self.records = RecordServer(
            spec.config.prefix, intake_records(self.name), self._put, ServerOptions.of(child.spec)
        )
        self.face = Face(spec, self.records, self.outflow.images, served)
        self._rate, self._byte_rate = RateMeter(), RateMeter()

    def start(self) -> None:
        """Serve records and channels and begin to take frames."""
        self.records.start()
        self.face.serve()
        self.loop.start()
        self.child.report_with(self.sample)
        self.child.running()

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        now, clock = self.loop.snapshot, time.monotonic_ns()
        status = self.child.status()
        status.rate = self._rate.update(now.frames, clock)
        status.stage = StageStatus(received=now.frames, processed=now.frames, published=now.frames)
        if now.missed:
            status.stage.dropped = {Reason.MERGED.value: now.missed}
        status.groups = self.outflow.groups
        total = total_of([stream.figures() for stream in self.streams])
        status.last_error = status.last_error or total.last_error
        ranges = [f"{one.series}:{one.first}-{one.last}" for one in list(self.loop.ranges)[-SHOWN_RANGES:]]
        figures: dict[str, float | int | str] = {
            "Frames": now.frames,
            "Bytes": now.bytes,
            "Streams": len(self.streams),
            "Connected": total.connected,
            "Disconnects": total.disconnects,
            "Merged": now.missed,
            "Repeated": now.repeated,
            "Refused": total.refused,
            "Bad": total.errors,
            "Shed": self.outflow.shown.shed,
            "Series": now.series,
            "UniqueId": now.unique_id,
            "Source": " ".join(self.config.url),
        }
        status.figures = {**figures, "MergedIds": ", ".join(ranges)}
        values: dict[str, Value] = {
            **figures,
            "Rate": status.rate,
            "ByteRate": self._byte_rate.update(now.bytes, clock),
            "MergedIds": str(status.figures["MergedIds"]),
        }
        self.face.tell(status, values)
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the loop."""
        self.child.wait(lambda: self.loop.failure)

    def close(self) -> bool:
        """Take in what has come, end the series and shut down; return whether all of it was passed on."""
        limit = time.monotonic() + DRAIN_SECONDS
        drained = self.loop.drain(DRAIN_SECONDS) and self.outflow.drain(limit)
        self.face.close()
        self.outflow.close()
        self.journal.close()
        return drained

    def _put(self, name: str, value: Value) -> Future | None:
        return None


def open_streams(config: IntakeConfig, queue_bytes: int, arrived: threading.Event, clock: Clock) -> dict[Stream, int]:
    """Return the streams of a table, each with what its ids grow by; together they may keep `queue_bytes` waiting.

    Raises:
        InputError: a file cannot be read as frames.
    """
    settings = StreamSettings(
        config.queue_size,
        min(config.queue_bytes or queue_bytes, queue_bytes) // len(config.url),
        config.id_field,
        config.first_id,
        tuple(config.fields),
        config.skip_initial,
        config.pipeline,
        config.structure == "pvapy",
    )
    streams: dict[Stream, int] = {}
    for url in config.url:
        scheme, name = scheme_of(url)
        if scheme == "file":
            stream: Stream = FileStream(file_of(url), config.dataset, config.frame_rate, config.loop, clock)
        elif scheme == "pva":
            stream = MonitoredStream(name, settings, arrived.set)
        else:
            stream = ServedStream(name, scheme == "rpc", settings, arrived.set)
        streams[stream] = config.step_of(scheme)
    return streams


def total_of(figures: list[StreamFigures]) -> StreamFigures:
    """Return the figures of several streams together."""
    return StreamFigures(
        sum(one.connected for one in figures),
        sum(one.disconnects for one in figures),
        sum(one.errors for one in figures),
        sum(one.refused for one in figures),
        next((one.last_error for one in figures if one.last_error), ""),
    )


def main(child: Child) -> ExitCode:
    """Run an intake until it is asked to stop."""
    return live(child, Intake)
