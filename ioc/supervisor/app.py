"""The supervisor process: the spec comes on standard input, the lock of the run folder as an inherited descriptor."""

import argparse
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial

from ioc.core.status import ExitCode, Role, State, Status
from ioc.supervisor.appliance import Appliance
from ioc.supervisor.child import Child, run
from ioc.supervisor.plan import MODULES
from ioc.supervisor.prefix_claim import PrefixClaim
from ioc.supervisor.quarantine import Quarantine
from ioc.supervisor.rules import Rules
from ioc.supervisor.run_folder import RunFolder
from ioc.supervisor.service_manager import ServiceManager
from ioc.supervisor.supervisor import Supervisor, Surroundings

log = logging.getLogger(__name__)

FAREWELL_SECONDS = 0.3
"""How long the last values stay on the records, so that monitors see them."""
BOUNDS = {"Quarantine:MostFrames": "most_frames", "Quarantine:MostBytes": "most_bytes"}
"""Records of the limits that can be changed, and what they are called here."""
Stop = Callable[[], None]
Serve = Callable[[Supervisor, Child], Stop]


def serve(supervisor: Supervisor, child: Child) -> Stop:
    """Serve the records and the status structure of the appliance; return what ends it."""
    # imported here: a supervisor without records (in tests) does without EPICS
    from ioc.channels.pva import PvaServer
    from ioc.records.ledger_records import supervisor_records
    from ioc.records.server import DATABASES, RecordServer, ServerOptions, Template
    from ioc.records.status import StatusChannels
    from ioc.records.table import Value
    from ioc.supervisor.readbacks import values

    prefix = supervisor.spec.config.prefix
    name = f"{prefix}Status"

    def on_put(name: str, value: Value) -> Future | None:
        if name == "Drain" and value:
            supervisor.ask_to_drain()
        if name == "Ledger:Acknowledge" and value:
            return supervisor.submit(supervisor.acknowledge)
        if name == "Restart":
            return supervisor.submit(lambda: supervisor.restart(str(value)))
        if name.startswith("Chain"):
            number = int(name.removeprefix("Chain").partition(":")[0])
            return supervisor.submit(lambda: supervisor.set_count(number, int(value)))
        if name in BOUNDS:
            return supervisor.submit(lambda: set_bound(supervisor.quarantine, name, int(value)))
        return None

    records = RecordServer(
        prefix,
        supervisor_records(),
        on_put,
        ServerOptions.of(supervisor.spec, (Template(DATABASES / "appliance.template", {}),)),
    )
    channels = StatusChannels([name])
    pva = PvaServer([channels.provider])
    records.start()
    pva.start()

    def show(view: Appliance) -> None:
        records.set_many(values(view))
        channels.post(name, status_of(view, child))

    def stop() -> None:
        time.sleep(FAREWELL_SECONDS)  # clients get the last values; there is no event for "all have read"
        pva.stop()

    supervisor.watchers.append(show)
    return stop


def export(supervisor: Supervisor) -> Stop:
    """Serve the figures of the appliance for Prometheus, if it is configured so; return what ends it.

    Raises:
        ConfigError: address and port cannot be listened on.
    """
    config = supervisor.spec.config.metrics
    if config is None:
        return lambda: None
    # imported here: an appliance without it does without the library
    from ioc.supervisor.metrics_server import Exposition, MetricsServer

    exposition = Exposition()
    server = MetricsServer(config, exposition)

    def show(view: Appliance) -> None:
        exposition.show(view, [one.status for one in supervisor.crew if one.status is not None and one.running])

    supervisor.watchers.append(show)
    return server.close


def set_bound(quarantine: Quarantine, name: str, value: int) -> None:
    """Keep to another limit from now on."""
    setattr(quarantine, BOUNDS[name], value)
    quarantine.tidy()


def serve_nothing(_supervisor: Supervisor, _child: Child) -> Stop:
    """Serve no records."""
    return lambda: None


def status_of(view: Appliance, child: Child) -> Status:
    """Return the supervisor's own status."""
    status = child.status()
    status.message = view.message
    status.state = view.state
    status.last_error = view.last_error or child.last_error
    status.figures = {
        "Health": view.health,
        "Published": view.published,
        "Residue": view.residue,
        "Complete": int(view.complete),
        "Restarts": sum(process.restarts for process in view.processes),
    }
    return status


def body(child: Child, arguments: argparse.Namespace, surroundings: Surroundings, serve: Serve) -> ExitCode:
    """Supervise until everything is over."""
    spec = child.spec
    folder = RunFolder(spec.run_dir)
    lock = arguments.lock
    if lock is None:
        folder.prepare()
        lock = folder.lock(spec.config.prefix)
    os.set_inheritable(lock, False)
    folder.hold(spec.config.prefix, os.getpid())
    claim = PrefixClaim(spec.config.prefix)
    supervisor = Supervisor(spec, folder, surroundings)
    manager = ServiceManager.of_process()
    supervisor.watchers.append(manager.show)
    stop_export = export(supervisor)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.ask_to_drain())
    try:
        supervisor.start()
        stop = serve(supervisor, child)
        if child.stopping.is_set():
            supervisor.ask_to_drain()
        child.state = State.RUNNING
        child.report_with(child.status)
        code = supervisor.run()
    except BaseException:
        supervisor.abandon()
        raise
    child.last_error = supervisor.view.last_error
    stop()
    stop_export()
    manager.close()
    supervisor.close()
    claim.close()
    return code


def main(modules: Mapping[Role, str] = MODULES, rules: Rules | None = None, serve: Serve = serve) -> None:
    """Run the supervisor process."""
    parser = argparse.ArgumentParser(prog="rayfan supervisor")
    parser.add_argument("--lock", type=int, help="descriptor that holds the lock of the run folder")
    parser.add_argument("--launcher", type=int, help="process whose end means: drain and stop")
    arguments = parser.parse_args()
    run(
        partial(
            body,
            arguments=arguments,
            surroundings=Surroundings(modules, rules, launcher=arguments.launcher),
            serve=serve,
        )
    )


if __name__ == "__main__":
    main()
