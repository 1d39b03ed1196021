"""The intake process: frames from outside, besides the detector's, for those who take them in this appliance."""

import threading
import time
from concurrent.futures import Future

from consumers.inputs import open_given
from consumers.intake_loop import IntakeLoop, Outlets
from consumers.local_output import LocalOutput
from consumers.outputs import ImageOutput
from consumers.records import intake_records
from ioc.channels.hdf5_stream import FileStream
from ioc.channels.images import open_images
from ioc.channels.journal import Journal
from ioc.channels.local_door import Doorway
from ioc.channels.memory_book import MemoryBook
from ioc.channels.pva import PvaServer
from ioc.channels.pva_intake import MonitoredStream, ServedStream
from ioc.channels.pva_member_stream import MemberStream
from ioc.channels.stream import Stream, StreamFigures, StreamSettings
from ioc.core.clock import Clock, SystemClock
from ioc.core.config import IntakeConfig
from ioc.core.config_modes import file_of, scheme_of
from ioc.core.ledger import Reason
from ioc.core.rate import RateMeter
from ioc.core.status import ExitCode, StageStatus, Status
from ioc.records.image_rules import ImageRules
from ioc.records.server import RecordServer, ServerOptions
from ioc.records.status import StatusChannels
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
        self.config = spec.config.intake[spec.table]
        budget, prefix, clock = spec.config.budget, spec.config.prefix, SystemClock()
        waiting = (budget.chain or budget.channels) // QUEUED_PART
        self.given = open_given(spec)
        self.output = LocalOutput.of(spec, self.given, waiting)
        self.memory = MemoryBook(spec.memory_file, spec.name, budget.channels)
        doorway = Doorway(spec.view_socket, self.memory)
        self.images = open_images(spec.config.image_server, f"{self.name} images", doorway=doorway)
        self.shown = ImageOutput(self.images.add(f"{prefix}{self.name}:Image"), clock, self.memory)
        self.journal = Journal(spec.journal_file)
        arrived = threading.Event()
        self.streams = open_streams(self.config, waiting, arrived, clock)
        outlets = Outlets(self.output, self.shown, self.journal, self.name)
        self.loop = IntakeLoop(self.streams, arrived, outlets, clock)
        self.status_name = f"{prefix}{self.name}:Status"
        self.status_channels = StatusChannels([self.status_name], self.images.visits)
        served = [stream.provider for stream in self.streams if isinstance(stream, ServedStream)]
        self.pva = PvaServer([*self.images.providers, self.status_channels.provider, *served])
        self.records = RecordServer(prefix, intake_records(self.name), self._put, ServerOptions.of(child.spec))
        self._begun = time.monotonic()
        self._rate, self._byte_rate = RateMeter(), RateMeter()

    def start(self) -> None:
        """Serve records and channels and begin to take frames."""
        self.records.start()
        self.images.guard(ImageRules(self.records))
        self.images.start()
        self.pva.start()
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
        status.groups = self.output.groups if self.output is not None else []
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
            "Shed": self.shown.shed,
            "Series": now.series,
            "UniqueId": now.unique_id,
            "Source": " ".join(self.config.url),
            "Way": total.way,
        }
        status.figures = {**figures, "MergedIds": ", ".join(ranges)}
        values: dict[str, Value] = {
            **figures,
            "State": status.state.value,
            "Rate": status.rate,
            "ByteRate": self._byte_rate.update(now.bytes, clock),
            "MergedIds": str(status.figures["MergedIds"]),
            "Pid": status.pid,
            "Uptime": time.monotonic() - self._begun,
            "LastError": status.last_error,
        }
        self.records.set_many({f"{self.name}:{name}_RBV": value for name, value in values.items()})
        self.status_channels.post(self.status_name, status)
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the loop."""
        self.child.wait(lambda: self.loop.failure)

    def close(self) -> bool:
        """Take in what has come, end the series and shut down; return whether all of it was passed on."""
        limit = time.monotonic() + DRAIN_SECONDS
        drained = self.loop.drain(DRAIN_SECONDS)
        if drained and self.output is not None:
            drained = self.output.drain(max(0.0, limit - time.monotonic()))
        self.pva.stop()
        self.images.close()
        self.memory.close()
        self.journal.close()
        if self.given is not None:
            self.given.close()
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
        config.way == "fastest",
    )
    streams: dict[Stream, int] = {}
    for url in config.url:
        scheme, name = scheme_of(url)
        if scheme == "file":
            stream: Stream = FileStream(file_of(url), config.dataset, config.frame_rate, config.loop, clock)
        elif scheme == "pva" and config.acknowledge:
            stream = MemberStream(name, settings)
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
        "; ".join(dict.fromkeys(one.way for one in figures if one.way)),
    )


def main(child: Child) -> ExitCode:
    """Run an intake until it is asked to stop."""
    return live(child, Intake)
