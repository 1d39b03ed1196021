"""Which processes a configuration asks for: their names and order of start, and what they are to each other."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ioc.core.config import Config
from ioc.core.config_group import JOB_PLACEMENTS
from ioc.core.config_jobs import JobsConfig
from ioc.core.overflow import WIDEST_WINDOW
from ioc.core.status import ProcessSpec, Role
from ioc.core.topology import (
    DETECTOR,
    collector_group,
    egress_group,
    ingress_node,
    intake_node,
    leads,
    takers,
    writer_group,
)

MODULES: Mapping[Role, str] = {
    Role.SUPERVISOR: "ioc.supervisor.app",
    Role.DETECTOR: "detector_sim.app",
    Role.CONSUMER: "consumers.app",
    Role.COLLECTOR: "consumers.app",
    Role.EGRESS: "consumers.app",
    Role.BALANCER: "consumers.app",
    Role.INGRESS: "consumers.app",
    Role.WRITER: "consumers.app",
    Role.INTAKE: "consumers.app",
    Role.PLUGINS: "consumers.app",
    Role.WEB: "ioc.web.app",
}
"""What is run as `python -m` for each role."""

NODES: Mapping[Role, Callable[[str], str]] = {
    Role.CONSUMER: lambda table: f"groups.{table}",
    Role.COLLECTOR: collector_group,
    Role.EGRESS: egress_group,
    Role.WRITER: writer_group,
    Role.INTAKE: intake_node,
    Role.INGRESS: ingress_node,
}
"""What the process of a table is called in the graph of givers and takers, by role."""

PLUGINS_PROCESS = "Plug1"
GIVING = (Role.CONSUMER, Role.COLLECTOR, Role.INTAKE, Role.INGRESS)
"""Who may have takers, besides the detector."""

ASIDE = (Role.WEB,)
"""Who has nothing to do with frames: nobody waits for these, and what becomes of them is no matter of the run's."""
NOT_RESTARTED: Mapping[Role, str] = {
    Role.SUPERVISOR: "it is the one who restarts the others",
    Role.DETECTOR: "that would end the acquisition: stop and start it with Acquire",
    Role.INTAKE: "what its source sends meanwhile would be lost",
    Role.INGRESS: "packets that come meanwhile would be lost",
    Role.BALANCER: "packets that come meanwhile would be lost",
    Role.WRITER: "that would end a capture: stop and start it with Capture",
    Role.PLUGINS: "its plug-ins would forget what they keep, such as frames before a trigger",
}
"""Who is never started anew by command, and why: see `why_not_restarted`."""
RESTART_SECONDS = 10.0
"""s that frames may be held up while a process is started anew, where nobody has to wait longer for it to finish."""


def plan(config: Config, run_dir: Path, debug: bool = False) -> list[ProcessSpec]:
    """Return the processes of an appliance in the order of their start."""

    def spec(role: Role, name: str, table: str | None = None, member: int | None = None) -> ProcessSpec:
        return ProcessSpec(
            role=role, name=name, config=config, run_dir=run_dir, table=table, member=member, debug=debug
        )

    ingresses = [spec(Role.INGRESS, f"EjfatIn{n}", table) for n, table in enumerate(config.ingress, 1)]
    consumers = [
        spec(Role.CONSUMER, name, table, member)
        for table, names in consumer_names(config).items()
        for member, name in enumerate(names)
    ]
    collectors = [spec(Role.COLLECTOR, f"Coll{n}", table) for n, table in enumerate(config.collectors, 1)]
    egresses = [spec(Role.EGRESS, f"Ejfat{n}", table) for n, table in enumerate(config.egress, 1)]
    writers = [spec(Role.WRITER, f"HDF{n}", table) for n, table in enumerate(config.writers, 1)]
    plugins = [spec(Role.PLUGINS, PLUGINS_PROCESS)] if config.plugins is not None else []
    balancers = [spec(Role.BALANCER, f"EjfatLb{n}", table) for n, table in enumerate(config.balancers, 1)]
    intakes = [spec(Role.INTAKE, f"In{n}", table) for n, table in enumerate(config.intake, 1)]
    source = [*balancers, *ingresses, spec(Role.DETECTOR, DETECTOR), *intakes]
    web = [spec(Role.WEB, "Web1")] if config.web.enabled else []
    return [*source, *consumers, *collectors, *plugins, *writers, *egresses, *web]


def why_not_restarted(config: Config, role: Role, table: str | None) -> str | None:
    """Return why a process is not started anew by command; None if it may be.

    One that may finishes what it has, those before it wait as their policies say, and those behind it, too.
    """
    if role in NOT_RESTARTED:
        return NOT_RESTARTED[role]
    if role is Role.WEB or table is None:
        return None if role is Role.WEB else "it is no process of the plan"
    if role is Role.EGRESS:
        egress = config.egress[table]
        if egress.payload == "pvapy":
            return "PvaPy's receivers do not know events that are counted from 1 again"
        return "what it keeps to send again would be gone" if egress.resend else None
    if role is Role.COLLECTOR and config.collectors[table].tiles is not None:
        return "the tiles of a frame that is not whole yet would be lost"
    outputs = (config.collectors if role is Role.COLLECTOR else config.groups)[table].outputs
    if not set(outputs) <= {"pva"}:
        return "it hands frames to a place elsewhere, which may not take them in time"
    return why_not_waited_for(config, NODES[role](table))


def why_not_waited_for(config: Config, node: str) -> str | None:
    """Return why a collector behind a node does not wait for what comes as late as a restart lets it; None: all do."""
    for table, collector in config.collectors.items():
        giver, name = collector.input, collector_group(table)
        if not leads(config.inputs, node, giver):
            continue
        if collector.wait < RESTART_SECONDS:
            return f"{name}, behind it, waits {collector.wait:g} s for late frames: less than {RESTART_SECONDS:g} s"
        if collector.waiting_bytes is not None:
            return f"{name}, behind it, waits for late frames only while no more than waiting_bytes wait"
        most = WIDEST_WINDOW * most_givers(config, giver)
        if collector.most_waiting < most:
            return f"{name}, behind it, lets {collector.most_waiting} frames wait, and up to {most} may have to"
    return None


def most_givers(config: Config, giver: str) -> int:
    """Return how many processes give as one giver."""
    kind, _, table = giver.partition(".")
    return config.groups[table].count if kind == "groups" else 1


def consumer_names(config: Config) -> dict[str, list[str]]:
    """Return the names of the consumers that Rayfan starts, by group: `Cons1` ... through all groups in file order."""
    names: dict[str, list[str]] = {}
    number = 0
    for table, group in config.groups.items():
        if group.placement != "remote":
            names[table] = [f"Cons{number + member + 1}" for member in range(group.count)]
            number += group.count
    return names


def jobs_of(spec: ProcessSpec) -> JobsConfig | None:
    """Return how the job of a process is submitted; None if it is a process of this host."""
    if spec.role is not Role.CONSUMER or spec.table is None:
        return None
    group = spec.config.groups[spec.table]
    return group.jobs if group.placement in JOB_PLACEMENTS else None


def keeps_book(spec: ProcessSpec) -> bool:
    """Return whether a process keeps its accounts in the run folder; of jobs the detector's journal tells."""
    return jobs_of(spec) is None


def collector_names(config: Config) -> dict[str, list[str]]:
    """Return the name of each collector's process, by its group: `Coll1` ... in file order."""
    return {collector_group(table): [f"Coll{number}"] for number, table in enumerate(config.collectors, 1)}


def single_names(config: Config) -> dict[str, list[str]]:
    """Return the name of each egress's and writer's process, by its group."""
    egresses = {egress_group(table): [f"Ejfat{number}"] for number, table in enumerate(config.egress, 1)}
    return egresses | {writer_group(table): [f"HDF{number}"] for number, table in enumerate(config.writers, 1)}


def node_of(spec: ProcessSpec) -> str:
    """Return what a process is in the graph of givers and takers.

    Raises:
        KeyError: its role has no place there.
    """
    assert spec.table is not None
    return NODES[spec.role](spec.table)


def another_member(specs: Sequence[ProcessSpec], table: str, member: int) -> ProcessSpec:
    """Return the spec of one more consumer of a group, with the next free number."""
    numbers = [int(spec.name.removeprefix("Cons")) for spec in specs if spec.role is Role.CONSUMER]
    name = f"Cons{max(numbers, default=0) + 1}"
    return specs[0].model_copy(
        update={"role": Role.CONSUMER, "name": name, "table": table, "member": member, "destination": None}
    )


def needs_port_of(spec: ProcessSpec) -> str | None:
    """Return the name of the ingress table whose port an egress has to know; None if it knows its destination."""
    if spec.role is not Role.EGRESS or spec.table is None:
        return None
    egress = spec.config.egress[spec.table]
    return egress.ingress if egress.uri is None and egress.balancer is None else None


def balancer_of(spec: ProcessSpec) -> str | None:
    """Return the name of the balancer table that an egress or ingress goes through; None if there is none."""
    if spec.table is None:
        return None
    tables = {Role.EGRESS: spec.config.egress, Role.INGRESS: spec.config.ingress}.get(spec.role)
    return tables[spec.table].balancer if tables is not None else None


def is_fed(spec: ProcessSpec) -> bool:
    """Return whether an egress of this appliance sends to an ingress directly, so that all it was sent is known."""
    egresses = spec.config.egress.values()
    return any(one.ingress == spec.table and one.uri is None and one.balancer is None for one in egresses)


def gives(spec: ProcessSpec) -> bool:
    """Return whether a process, besides the detector, has takers for what it puts out."""
    if spec.role not in GIVING:
        return False
    return bool(takers(spec.config.inputs, node_of(spec))) or _delivers(spec)


def _delivers(spec: ProcessSpec) -> bool:
    """Return whether a process hands frames to somebody elsewhere."""
    tables = {Role.CONSUMER: spec.config.groups, Role.COLLECTOR: spec.config.collectors}.get(spec.role, {})
    outputs = tables[spec.table].outputs if spec.table in tables else []
    return any(one != "pva" for one in outputs)


def bound_to(spec: ProcessSpec, port: int) -> ProcessSpec:
    """Return the spec of an ingress that takes the UDP port of its earlier life, where its senders still aim."""
    assert spec.table is not None
    ingress = spec.config.ingress[spec.table].model_copy(update={"port": port})
    config = spec.config.model_copy(update={"ingress": {**spec.config.ingress, spec.table: ingress}})
    return spec.model_copy(update={"config": config})


def destination(address: str, port: int) -> str:
    """Return where an egress of this host reaches an ingress that listens on `address`: `ip:port`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"
