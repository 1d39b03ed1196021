"""The process of a lab's load balancer: makes one reservation and leaves its URI for egress and ingress."""

import logging
import os
import secrets
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from consumers.records import balancer_records
from ioc.balancer.faults import Faults
from ioc.balancer.lab import Lab, LabSettings
from ioc.balancer.registry import Wanted
from ioc.balancer.reservation import Pace
from ioc.channels import ejfat_uri
from ioc.channels.ejfat_kernel import advice, input_errors
from ioc.channels.ejfat_uri import EjfatUri
from ioc.core.config_ejfat import BalancerConfig
from ioc.core.errors import ConfigError
from ioc.core.status import ExitCode, ProcessSpec, Status
from ioc.records.face import Face
from ioc.records.server import RecordServer, ServerOptions
from ioc.records.table import Value
from ioc.supervisor.child import Child, live

log = logging.getLogger(__name__)

FAULTS = {"Loss": "loss", "Duplicate": "duplicate", "Reorder": "reorder", "Delay": "delay", "Jitter": "jitter"}
"""Records of what is done to packets on purpose, and the faults that they set."""


class Balancer:
    """Everything of one load balancer; made, started and drained by `main`."""

    def __init__(self, child: Child) -> None:
        spec = child.spec
        assert spec.table is not None
        self.child = child
        self.name = spec.name
        config = self.config = spec.config.balancers[spec.table]
        earlier = _earlier(spec.uri_file(spec.table))
        self.lab = Lab(_settings(config, earlier))
        self.uri = self.lab.reserve(_wanted(spec, earlier))
        _save(spec.uri_file(spec.table), ejfat_uri.to_text(self.uri))
        self.reserved = self.lab.registry.all()[0]
        self.records = RecordServer(
            spec.config.prefix, balancer_records(self.name), self._put, ServerOptions.of(child.spec)
        )
        self.face = Face(spec, self.records)

    def start(self) -> None:
        """Serve the records and begin to forward."""
        self.records.start()
        self.records.set_many({f"{self.name}:{name}": getattr(self._faults, key) for name, key in FAULTS.items()})
        self.face.serve()
        self.lab.start()
        self.records.restore()
        self.child.report_with(self.sample)
        self.child.running()

    def sample(self) -> Status:
        """Return the status, and show it on the records."""
        figures, balancer = self.reserved.plane.figures(), self.reserved.balancer
        status = self.child.status()
        status.port = self.lab.port
        newest = balancer.epochs.newest
        values: dict[str, Value] = {
            "Received": figures.received,
            "Forwarded": sum(figures.forwarded.values()),
            "Nobody": figures.nobody,
            "Strangers": figures.strangers,
            "Malformed": figures.malformed,
            "KernelDrops": figures.kernel_drops,
            "ReceiveBufferAsked": self.config.receive_buffer,
            "ReceiveBuffer": self.reserved.plane.receive_buffer,
            "UdpInErrors": input_errors(),
            "FaultsLost": figures.lost,
            "FaultsDoubled": figures.doubled,
            "FaultsHeldBack": figures.held_back,
            "Errors": figures.send_errors,
            "Syncs": figures.syncs,
            "Workers": len(balancer.workers),
            "WorkersReady": sum(balancer.ready(worker) for worker in list(balancer.workers.values())),
            "Epoch": newest.number if newest else 0,
            "Port": self.lab.port,
            "DataPort": self.reserved.plane.port,
        }
        status.figures = dict(values)
        values |= {name: getattr(self._faults, key) for name, key in FAULTS.items()}
        values |= {
            "BufferAdvice": advice(
                "receive", self.config.receive_buffer, self.reserved.plane.receive_buffer, figures.kernel_drops
            ),
            "Uri": ejfat_uri.to_text(self.uri, with_token=False),
        }
        self.face.tell(status, values)
        return status

    def wait(self) -> None:
        """Return when the supervisor asks to stop, or raise what ended the epochs."""
        self.child.wait(lambda: self.lab.failure)

    def close(self) -> bool:
        """Send on what has arrived and shut down."""
        self.records.finish()
        self.lab.close()
        self.face.close()
        return True

    @property
    def _faults(self) -> Faults:
        return self.reserved.plane.faults

    def _put(self, name: str, value: Value) -> Future | None:
        key = FAULTS.get(name.removeprefix(f"{self.name}:"))
        if key is not None:
            self.reserved.plane.hurt(replace(self._faults, **{key: float(value)}))
        return None


def _settings(config: BalancerConfig, earlier: EjfatUri | None) -> LabSettings:
    faults = Faults(config.loss, config.duplicate, config.reorder, config.delay, config.jitter, config.seed)
    return LabSettings(
        address=config.address,
        port=config.port or (earlier.port if earlier and earlier.port else 0),
        admin_token=secrets.token_urlsafe(24),
        pace=Pace(config.epoch, config.lead),
        faults=faults,
        receive_buffer=config.receive_buffer,
    )


def _wanted(spec: ProcessSpec, earlier: EjfatUri | None) -> Wanted:
    """Return the reservation to make: as in an earlier life, so that egress and ingress need not be told anything."""
    name = f"{spec.config.prefix}{spec.table}"
    if earlier is None or earlier.token is None or earlier.data is None or earlier.sync is None:
        return Wanted(name)
    return Wanted(name, secret=earlier.token, data_port=earlier.data.port, sync_port=earlier.sync.port)


def _earlier(file: Path) -> EjfatUri | None:
    try:
        return ejfat_uri.parse(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError, ConfigError):
        return None


def _save(file: Path, text: str) -> None:
    """Write the URI, whose token is for egress and ingress only, so that readers see all of it or none."""
    fresh = file.with_name(file.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    fresh.replace(file)


def main(child: Child) -> ExitCode:
    """Run a load balancer until it is asked to stop."""
    return live(child, Balancer)
