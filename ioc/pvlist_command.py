"""`rayfan pvlist`: every PV that an appliance of a configuration serves; nothing is started."""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioc.core.config import Config
    from ioc.core.status import ProcessSpec, Role
    from ioc.records.table import Row

ABOUT = """\
Lists the records and structures that the appliance of a configuration serves, with
type, unit and description. Nothing is started. Groups that are made or changed
while it runs may add more.
"""
FORMATS = ("text", "csv", "json")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    pvlist = commands.add_parser("pvlist", help="list all PVs of a configuration", description=ABOUT)
    pvlist.add_argument("config", metavar="CONFIG.toml", nargs="?", type=Path, help="left out: the demonstration")
    pvlist.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override a key")
    pvlist.add_argument("--format", choices=FORMATS, default="text")
    pvlist.add_argument("--process", metavar="NAME", help="of one process only, for example detector or Cons1")
    pvlist.set_defaults(run=_show)


def rows(config: "Config", process: str | None = None) -> "Iterator[Row]":
    """Yield one row for each PV, in the order of the processes.

    Raises:
        ConfigError: there is no such process, or a processor cannot be loaded.
    """
    from ioc.core.errors import ConfigError, mismatch
    from ioc.core.status import ProcessSpec, Role
    from ioc.supervisor.plan import plan

    specs = [ProcessSpec(role=Role.SUPERVISOR, name="supervisor", config=config, run_dir=Path())]
    specs += plan(config, Path())
    names = [spec.name for spec in specs]
    if process is not None and process not in names:
        raise ConfigError(mismatch("--process", f"one of {', '.join(names)}", process))
    for spec in specs:
        if process in (None, spec.name):
            yield from _of_process(spec)


def _of_process(spec: "ProcessSpec") -> "Iterator[Row]":
    from importlib import import_module

    from ioc.core.status import Role
    from ioc.records.database_listing import template_rows
    from ioc.records.ledger_records import supervisor_records
    from ioc.records.table import listing

    prefix = spec.config.prefix
    if spec.role is Role.SUPERVISOR:
        records = supervisor_records()
    else:  # nothing of `ioc` may import them: by name, as processes are started
        module = "detector_sim.records" if spec.role is Role.DETECTOR else "consumers.tables"
        records = import_module(module).records_of(spec)
    yield from listing(records, prefix)
    template = _templates().get(spec.role)
    if template is not None:
        device = "cam1:" if spec.role is Role.DETECTOR else f"{spec.name}:"
        yield from template_rows(_database(template), {"P": prefix, "R": device})
    yield from _structures(spec)
    if spec.config.ioc_stats:
        macros = {"IOCNAME": prefix + spec.name, "TODFORMAT": ""}
        yield from template_rows(_ioc_stats(), macros)


def _templates() -> "Mapping[Role, str]":
    from ioc.core.status import Role

    return {
        Role.SUPERVISOR: "appliance.template",
        Role.DETECTOR: "detector.template",
        Role.CONSUMER: "consumer.template",
    }


def _structures(spec: "ProcessSpec") -> "Iterator[Row]":
    from ioc.core.status import Role
    from ioc.records.client_table import SUFFIX
    from ioc.records.table import Row

    prefix = spec.config.prefix
    device = {Role.SUPERVISOR: "", Role.DETECTOR: "cam1:"}.get(spec.role, f"{spec.name}:")
    yield Row(f"{prefix}{device}Status", "structure", "", "All that the process tells of itself", "no", "")
    if images := _images(spec):
        table = f"{prefix}{device}{SUFFIX}"
        yield Row(table, "NTTable", "", "Who looks at the images of the process", "no", "")
    for image in images:
        yield Row(prefix + image, "NTNDArray", "", "Frames, over pvAccess", "no", "")
    if spec.role is Role.DETECTOR:
        for name, channel in spec.config.detector.metadata.items():
            if channel.protocol == "pva":
                yield Row(f"{prefix}Meta:{name}", "NTScalar", "", "Simulated metadata", "no", "")


def _images(spec: "ProcessSpec") -> list[str]:
    from ioc.core.config import PASSING
    from ioc.core.status import Role

    if spec.role is Role.PLUGINS:
        names = spec.config.plugins.names if spec.config.plugins is not None else []
        return [f"{name}:Image" for name in names if not name.startswith(PASSING)]
    if spec.role is Role.DETECTOR:
        return ["Pva1:Image"]
    return [f"{spec.name}:Image"] if spec.role in (Role.CONSUMER, Role.COLLECTOR, Role.INGRESS, Role.INTAKE) else []


def _database(name: str) -> Path:
    return Path(__file__).parents[1] / "db" / name


def _ioc_stats() -> Path:
    from importlib.util import find_spec

    found = find_spec("softioc")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent / "iocStats" / "iocAdmin" / "Db" / "ioc.template"


def _show(options: argparse.Namespace) -> int:
    from ioc.console import read_config

    found = list(rows(read_config(options.config, options.set), options.process))
    if options.format == "json":
        print(json.dumps([asdict(row) for row in found], indent=1))
    elif options.format == "csv":
        from ioc.records.table import Row

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in found)
    else:
        width = max(len(row.name) for row in found)
        for row in found:
            access = "w" if row.writable == "yes" else "-"
            print(f"{row.name:{width}} {row.kind:9} {access} {row.unit:8} {row.description}".rstrip())
    return 0
