"""`rayfan pvlist`: every PV that an appliance of a configuration serves; nothing is started."""

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

from ioc.columns import fit, terminal_width

if TYPE_CHECKING:
    from ioc.core.config import Config
    from ioc.core.status import ProcessSpec
    from ioc.records.table import Record, Row

ABOUT = """\
Lists the records and structures that the appliance of a configuration serves, with
type, unit and description. Nothing is started. Groups that are made or changed
while it runs may add more.

--format alarms prints the alarm tree for Phoebus' alarm server, --format archiver
what to archive, for the Archiver Appliance's archivePV.
"""
FORMATS = ("text", "csv", "json", "alarms", "archiver")
SLOT = re.compile(r"(Process|Dist|Chain)(\d+):(Member\d+:)?")
"""Records of a place that may be empty."""


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

    specs = _specs(config)
    names = [spec.name for spec in specs]
    if process is not None and process not in names:
        raise ConfigError(mismatch("--process", f"one of {', '.join(names)}", process))
    for spec in specs:
        if process in (None, spec.name):
            yield from _of_process(spec)


def site_tables(config: "Config") -> "Iterator[tuple[str, list[Record]]]":
    """Yield the records of each process, without those of places that nothing of the configuration takes."""
    from ioc.core.topology import DETECTOR, takers

    specs = _specs(config)
    groups = len(takers(config.inputs, DETECTOR)) + (config.plugins is not None)
    chained = sum(group.input != DETECTOR for group in config.groups.values())
    used = {"Process": len(specs) - 1, "Dist": groups, "Chain": chained}
    for spec in specs:
        places = ((record, SLOT.match(record.name)) for record in _records(spec))
        yield spec.name, [record for record, at in places if at is None or (int(at[2]) <= used[at[1]] and not at[3])]


def _specs(config: "Config") -> "list[ProcessSpec]":
    from ioc.core.status import ProcessSpec, Role
    from ioc.supervisor.plan import plan

    supervisor = ProcessSpec(role=Role.SUPERVISOR, name="supervisor", config=config, run_dir=Path())
    return [supervisor, *plan(config, Path())]


def _records(spec: "ProcessSpec") -> "list[Record]":
    from importlib import import_module

    from ioc.core.status import Role
    from ioc.records.ledger_records import supervisor_records

    if spec.role is Role.SUPERVISOR:
        return supervisor_records()
    # nothing of `ioc` may import them: by name, as processes are started
    modules = {Role.DETECTOR: "detector_sim.records", Role.WEB: "ioc.web.records"}
    return import_module(modules.get(spec.role, "consumers.tables")).records_of(spec)


def _of_process(spec: "ProcessSpec") -> "Iterator[Row]":
    from ioc.records.database_listing import template_rows
    from ioc.records.table import listing

    prefix = spec.config.prefix
    yield from listing(_records(spec), prefix)
    for template, device in _templates(spec):
        yield from template_rows(_database(template), {"P": prefix, "R": device})
    yield from _structures(spec)
    if spec.config.ioc_stats:
        macros = {"IOCNAME": prefix + spec.name, "TODFORMAT": ""}
        yield from template_rows(_ioc_stats(), macros)


def _templates(spec: "ProcessSpec") -> "list[tuple[str, str]]":
    """Return which files of `db/` a process loads, and for which devices."""
    from ioc.core.status import Role

    own, plugin = f"{spec.name}:", "plugin.template"
    names = spec.config.plugins.names if spec.config.plugins is not None else []
    return {
        Role.SUPERVISOR: [("appliance.template", own)],
        Role.DETECTOR: [("detector.template", "cam1:"), (plugin, "Pva1:")],
        Role.CONSUMER: [("consumer.template", own)],
        Role.WRITER: [(plugin, own)],
        Role.PLUGINS: [(plugin, f"{name}:") for name in names],
    }.get(spec.role, [])


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
    from ioc.core.config_plugins import PASSING
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


def alarms(config: "Config") -> str:
    """Return the alarm tree as XML."""
    from ioc.records.alarm_tree import alarm_tree

    return alarm_tree(config.prefix, site_tables(config))


def archiver(config: "Config") -> str:
    """Return what to archive as JSON, an entry a line."""
    from ioc.records.archive_list import entries

    found = [one for _, records in site_tables(config) for one in entries(config.prefix, records)]
    return "[\n" + ",\n".join(json.dumps(asdict(one)) for one in found) + "\n]\n"


SITE_FORMATS: "Mapping[str, Callable[[Config], str]]" = {"alarms": alarms, "archiver": archiver}
"""Formats for other services of a site: of all processes, whatever `--process` says."""


def _show(options: argparse.Namespace) -> int:
    from ioc.console import read_config

    config = read_config(options.config, options.set)
    if options.format in SITE_FORMATS:
        sys.stdout.write(SITE_FORMATS[options.format](config))
        return 0
    found = list(rows(config, options.process))
    if options.format == "json":
        print(json.dumps([asdict(row) for row in found], indent=1))
    elif options.format == "csv":
        from ioc.records.table import Row

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in found)
    else:
        width, columns = max(len(row.name) for row in found), terminal_width()
        for row in found:
            access = "w" if row.writable == "yes" else "-"
            print(fit(f"{row.name:{width}} {row.kind:9} {access} {row.unit:8} ", row.description, columns))
    return 0
