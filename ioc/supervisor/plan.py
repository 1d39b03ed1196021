"""Which processes a configuration asks for: their names, order of start and order of draining."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ioc.core.config import Config
from ioc.core.status import ProcessSpec, Role

MODULES: Mapping[Role, str] = {
    Role.SUPERVISOR: "ioc.supervisor.app",
    Role.DETECTOR: "detector_sim.app",
    Role.CONSUMER: "consumers.app",
    Role.EGRESS: "consumers.app",
    Role.INGRESS: "consumers.app",
    Role.WRITER: "consumers.app",
}
"""What is run as `python -m` for each role."""

DRAIN_ORDER = (Role.DETECTOR, Role.CONSUMER, Role.WRITER, Role.EGRESS, Role.INGRESS)
"""With the flow of frames: who sends stops before who receives. The distributor drains with the detector."""

REPORT_ORDER = DRAIN_ORDER
DETECTOR = "detector"


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
    egresses = [spec(Role.EGRESS, f"Ejfat{n}", table) for n, table in enumerate(config.egress, 1)]
    writers = [spec(Role.WRITER, f"HDF{n}", table) for n, table in enumerate(config.writers, 1)]
    return [*ingresses, spec(Role.DETECTOR, DETECTOR), *consumers, *writers, *egresses]


def consumer_names(config: Config) -> dict[str, list[str]]:
    """Return the names of the consumers that Rayfan starts, by group: `Cons1` ... through all groups in file order."""
    names: dict[str, list[str]] = {}
    number = 0
    for table, group in config.groups.items():
        if group.placement == "local":
            names[table] = [f"Cons{number + member + 1}" for member in range(group.count)]
            number += group.count
    return names


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
    return egress.ingress if egress.uri is None else None


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
