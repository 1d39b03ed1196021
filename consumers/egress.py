"""The egress process: a member of a group of its own that sends every frame as an EJFAT event over UDP."""

import time
from concurrent.futures import Future

from consumers.processors.passthrough import Passthrough
from consumers.records import egress_records
from consumers.worker import Worker
from ioc.channels import ejfat_uri
from ioc.channels.book import Book
from ioc.channels.ejfat import EjfatPublisher, PublisherSettings
from ioc.channels.journal import Journal, open_member
from ioc.channels.local_receiver import LocalReceiver
from ioc.channels.local_wire import Hello
from ioc.channels.pva import PvaServer
from ioc.core.clock import SystemClock
from ioc.core.config import EgressConfig, egress_group
from ioc.core.errors import ConfigError, mismatch
from ioc.core.rate import RateMeter
from ioc.core.status import ExitCode, ProcessSpec, StageStatus, Status
from ioc.records.server import RecordServer
from ioc.records.status import StatusChannels
from ioc.records.table import Value
from ioc.supervisor.child import DRAIN_SECONDS, Child, live


class Egress:
    """Everything of one egress; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        assert spec.table is not None
        self.child = child
        self.name = spec.name
        self.config = spec.config.egress[spec.table]
        self.host, self.port = destination(spec, self.config)
        self.publisher = EjfatPublisher.open(
            PublisherSettings(
                self.host,
                self.port,
                mtu=self.config.mtu,
                rate_gbps=self.config.rate,
                data_id=self.config.data_id,
                lb_version=self.config.lb_version,
                offload=self.config.offload,
                checksum=self.config.checksum,
            )
        )
        self.book = Book(spec.book_file)
        self.journal = Journal(spec.journal_file, booked=True)
        account = open_member(self.journal, self.book, self.name)
        self.receiver = LocalReceiver(spec.socket, Hello(spec.name, egress_group(spec.table), 0), self.book, account)
        self.worker = Worker(self.receiver, self.book, Passthrough(), [self.publisher], SystemClock())
        prefix = spec.config.prefix
        self.status_name = f"{prefix}{self.name}:Status"
        self.status_channels = StatusChannels([self.status_name])
        self.pva = PvaServer([self.status_channels.provider])
        self.records = RecordServer(prefix, egress_records(self.name), self._put)
        self._begun = time.monotonic()
        self._byte_rate = RateMeter()

    def start(self) -> None:
        """Serve the records and begin to send."""
        self.records.start()
        self.records.set_many({f"{self.name}:TargetRate": self.config.rate or 0.0})
        self.pva.start()
        self.worker.start()
        self.child.report_with(self.sample)
        self.child.running()

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        counts, figures, now = self.book.counts, self.publisher.figures(), self.worker.snapshot
        status = self.child.status()
        status.rate = now.rate
        status.last_error = status.last_error or now.last_error or figures.last_error
        status.stage = StageStatus(
            received=counts.received - counts.returned,
            processed=counts.processed,
            failed=counts.failed,
            queued=counts.in_hand,
        )
        values: dict[str, Value] = {
            "Frames": figures.frames,
            "Bytes": figures.bytes,
            "Packets": figures.packets,
            "Errors": figures.errors,
            "ByteRate": self._byte_rate.update(figures.bytes, time.monotonic_ns()),
            "Destination": f"{self.host}:{self.port}",
            "MTU": self.config.mtu,
            "Offload": figures.offload,
        }
        status.figures = {name: int(value) if isinstance(value, bool) else value for name, value in values.items()}
        values |= {
            "State": status.state.value,
            "Rate": now.rate,
            "Queued": status.stage.queued,
            "TargetRate": self.publisher.rate_gbps or 0.0,
            "Pid": status.pid,
            "Uptime": time.monotonic() - self._begun,
            "LastError": status.last_error,
        }
        self.records.set_many({f"{self.name}:{name}_RBV": value for name, value in values.items()})
        self.status_channels.post(self.status_name, status)
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the worker."""
        self.child.wait(lambda: self.worker.failure)

    def close(self) -> bool:
        """Send what is on its way and shut down; return whether all was sent."""
        drained = self.worker.drain(DRAIN_SECONDS)
        self.publisher.close(drain=True)
        self.pva.stop()
        self.journal.close()
        return drained

    def _put(self, name: str, value: Value) -> Future | None:
        if name == f"{self.name}:TargetRate":
            return self.worker.submit(lambda: self.publisher.set_rate(float(value) or None))
        return None


def destination(spec: ProcessSpec, config: EgressConfig) -> tuple[str, int]:
    """Return address and port that an egress sends to.

    Raises:
        ConfigError: the URI has no data address.
    """
    where = f"egress.{spec.table}.uri"
    if config.uri is None:
        if spec.destination is None:
            raise ConfigError(mismatch(f"egress.{spec.table}", "the address of its ingress", "none"))
        host, _, port = spec.destination.rpartition(":")
        return host, int(port)
    endpoint = ejfat_uri.parse(config.uri, where).data
    if endpoint is None:
        raise ConfigError(mismatch(where, "a data address, ...?data=ip:port", config.uri))
    return endpoint.address, endpoint.port


def main(child: Child) -> ExitCode:
    """Run an egress until it is asked to stop."""
    return live(child, Egress)
