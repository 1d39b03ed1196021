"""Pages that are made from the code: configuration, records, processors, command line, status, API; and the first page.

Run as a module, it writes them anew: `python -m tests.support.doc_pages`.
"""

import csv
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ioc.core import (
    camera_config,
    config_collector,
    config_detector,
    config_ejfat,
    config_group,
    config_jobs,
    config_metadata,
    config_metrics,
    config_modes,
    config_plugins,
    config_supervision,
    config_web,
    config_writer,
)
from ioc.core.config import Config
from ioc.core.config_words import words_of
from ioc.core.demo import DEMO
from tests.support.api_page import api_page
from tests.support.cli_page import cli_page
from tests.support.index_page import DOCS, decisions_page, index_page
from tests.support.processor_page import processors_page
from tests.support.status_page import status_page

ROOT = Path(__file__).parents[2]
LISTING = ROOT / "db" / "records.csv"
COMMAND = "python -m tests.support.doc_pages"

TABLES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("", Config),
    ("detector", config_detector.DetectorConfig),
    ("detector.source", camera_config.SourceConfig),
    ("detector.readout", camera_config.ReadoutConfig),
    ("detector.simulation", camera_config.SimulationConfig),
    ("detector.simulation.x_sines", camera_config.SineConfig),
    ("detector.metadata.NAME", config_metadata.SimulatedChannel),
    ("groups.NAME", config_group.GroupConfig),
    ("groups.NAME.jobs", config_jobs.JobsConfig),
    ("groups.NAME.metadata", config_metadata.MetadataConfig),
    ("groups.NAME.metadata.channels.NAME", config_metadata.ChannelConfig),
    ("collectors.NAME", config_collector.CollectorConfig),
    ("egress.NAME", config_ejfat.EgressConfig),
    ("ingress.NAME", config_ejfat.IngressConfig),
    ("writers.NAME", config_writer.WriterConfig),
    ("plugins", config_plugins.PluginsConfig),
    ("balancers.NAME", config_ejfat.BalancerConfig),
    ("intake.NAME", config_modes.IntakeConfig),
    ("supervision", config_supervision.SupervisionConfig),
    ("quarantine", config_supervision.QuarantineConfig),
    ("web", config_web.WebConfig),
    ("metrics", config_metrics.MetricsConfig),
)
WORDS = {"str": "text", "int": "integer", "float": "number", "bool": "true or false", "Path": "path", "dict": "table"}
LIMITS: tuple[tuple[type, str, str], ...] = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))

GROUPS = (
    (r"Ledger:", "Ledger, `$(P)Ledger:`"),
    (r"Chain\d+:", "Groups of chains, `$(P)Chain1:` to `$(P)Chain8:`"),
    (r"Quarantine:", "Quarantine, `$(P)Quarantine:`"),
    (r"Process\d+:", "Processes, `$(P)Process1:` to `$(P)Process16:`"),
    (r"cam1:", "Detector, `$(P)cam1:`"),
    (r"Pva1:", "Image channel, `$(P)Pva1:`"),
    (r"Dist\d+:Member\d+:", "Members of a group, `$(P)Dist1:Member1:` to `$(P)Dist8:Member8:`"),
    (r"Dist\d+:", "Distributor groups, `$(P)Dist1:` to `$(P)Dist8:`"),
    (r"Cons\d+:", "Consumers, `$(P)Cons1:`, `$(P)Cons2:`, ..."),
    (r"Coll\d+:", "Collectors, `$(P)Coll1:`, ..."),
    (r"Ejfat\d+:", "EJFAT egress, `$(P)Ejfat1:`, ..."),
    (r"HDF\d+:", "File writer, `$(P)HDF1:`, ..."),
    (r"In\d+:", "Intake, `$(P)In1:`, ..."),
    (r"Plug1:", "Process of the plug-ins, `$(P)Plug1:`"),
    (r"image1:", "Plug-in, NDPluginStdArrays, `$(P)image1:`, ..."),
    (r"Stats1:", "Plug-in, NDPluginStats, `$(P)Stats1:`, ..."),
    (r"ROI1:", "Plug-in, NDPluginROI, `$(P)ROI1:`, ..."),
    (r"Proc1:", "Plug-in, NDPluginProcess, `$(P)Proc1:`, ..."),
    (r"Trans1:", "Plug-in, NDPluginTransform, `$(P)Trans1:`, ..."),
    (r"Codec1:", "Plug-in, NDPluginCodec, `$(P)Codec1:`, ..."),
    (r"CB1:", "Plug-in, NDPluginCircularBuff, `$(P)CB1:`, ..."),
    (r"Web\d+:", "Web page, `$(P)Web1:`"),
    (r"EjfatLb\d+:", "EJFAT load balancer for labs, `$(P)EjfatLb1:`, ..."),
    (r"EjfatIn\d+:", "EJFAT ingress, `$(P)EjfatIn1:`, ..."),
    (r"", "Appliance, `$(P)`"),
)
"""What the names of a section begin with, behind the prefix, and its heading; the first that fits takes a record."""


def configuration_page() -> str:
    """Return docs/reference/configuration.md."""
    head = f"""\
# Configuration keys

Made from the models in `ioc/core/config.py` by `{COMMAND}`; do not edit.

One TOML file, given to `rayfan up FILE.toml`. Any key can be overridden with `--set KEY=VALUE`, where KEY is the dotted
name of the tables below with the key behind it (`--set groups.stats.policy=bounded`) and VALUE is read as TOML, or as
plain text if it is none. An unknown key, a wrong type and a value out of its limits are refused, with file and key,
exit code 2. `rayfan up --print-config` prints what is in effect, `rayfan schema` the JSON Schema for editors.
"""
    tables = [_table_section(name, model) for name, model in TABLES]
    demo = f"## The demonstration\n\nWhat `rayfan up` runs when it is given no file:\n\n```toml\n{DEMO}```\n"
    return "\n".join([head, *tables, demo])


def records_page() -> str:
    """Return docs/reference/records.md."""
    head = f"""\
# Records

Made from `db/records.csv` by `{COMMAND}`; do not edit. `$(P)` is the prefix, `RF:` unless configured otherwise.

Every record is served over Channel Access and pvAccess. `X` is what is asked for, `X_RBV` what is in effect. Where
there are several of a kind, the first stands for all. A 64-bit integer arrives as a double over Channel Access. A text
that may be longer than 39 characters is an array of characters over Channel Access: `caget -S`.

What a processor declares is added to its consumers: the statistic `Mean` is `$(P)Cons1:Stat:Mean_RBV`, the setting
`Level` the pair `$(P)Cons1:Set:Level`, `$(P)Cons1:Set:Level_RBV`. Records derived from these (`$(P)Alarm_RBV`,
`$(P)Ledger:LossPercent_RBV`) come from `db/*.template`. Channels that are not records: `$(P)Pva1:Image`,
`$(P)Cons1:Image`, `$(P)Cons1:Quarantine:Image`, `$(P)Coll1:Image`, `$(P)EjfatIn1:Image` and
`$(P)Dist1:Set1:Member1:Image` (NTNDArray), and
`$(P)Status`, `$(P)cam1:Status`, `$(P)Cons1:Status`, `$(P)Coll1:Status`, `$(P)Ejfat1:Status`, `$(P)EjfatIn1:Status`
(structures).
"""
    with LISTING.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if _is_first(_short(row))]
    sections = []
    for heading in (GROUPS[-1][1], *(heading for _, heading in GROUPS[:-1])):
        chosen = [row for row in rows if _heading(_short(row)) == heading]
        sections.append(f"## {heading}\n\n" + "".join(_record_lines(chosen)))
    return "\n".join([head, *sections])


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/configuration.md": configuration_page,
    "reference/records.md": records_page,
    "reference/processors.md": lambda: processors_page(COMMAND),
    "reference/cli.md": lambda: cli_page(COMMAND),
    "reference/status.md": lambda: status_page(COMMAND),
    "reference/python-api.md": lambda: api_page(COMMAND),
    "decisions/index.md": lambda: decisions_page(COMMAND),
    "index.md": lambda: index_page(COMMAND),
}
"""What is made, by its place in docs/; the first page last, since it lists the others."""


def write() -> None:
    """Write all pages."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


def _table_section(name: str, model: type[BaseModel]) -> str:
    heading = f"`[{name}]`" if name else "Top level"
    about = f"{model.__doc__}\n\n" if model.__doc__ else ""
    lines = [f"## {heading}\n\n{about}| key | value | default | |\n| --- | --- | --- | --- |\n"]
    words = words_of(model)
    for key, field in model.model_fields.items():
        if not _is_table(field.annotation):
            cells = (
                f"`{key}`",
                _value_words(field),
                _default(field),
                _one_line(field.description or words.get(key, "")),
            )
            lines.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |\n")
    return "".join(lines)


def _is_table(annotation: Any) -> bool:
    """Return whether a key holds a table that has a section of its own."""
    return any(
        isinstance(one, type) and issubclass(one, BaseModel) for one in (annotation, *typing.get_args(annotation))
    )


def _value_words(field: FieldInfo) -> str:
    return " ".join(filter(None, (_type_words(field.annotation), _limit_words(field.metadata))))


def _type_words(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = " ".join(_limit_words(getattr(one, "metadata", ())) for one in args[1:])
        return " ".join(filter(None, (_type_words(args[0]), limits)))
    if origin is typing.Literal:
        return ", ".join(f"`{one}`" for one in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_words(one) for one in args if one is not type(None))
    if origin is tuple:
        return f"[{', '.join(_type_words(one) for one in args)}]"
    if origin is list:
        return f"list of {_type_words(args[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{one.value}`" for one in annotation)
    name = (origin or annotation).__name__
    return WORDS.get(name, name)


def _limit_words(metadata: Iterable[object]) -> str:
    found = [
        f"{sign} {getattr(one, attribute):.12g}"
        for one in metadata
        for kind, attribute, sign in LIMITS
        if isinstance(one, kind)
    ]
    return ", ".join(found)


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return "left out"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | list):
        return "`[" + ", ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _short(row: dict[str, str]) -> str:
    return row["name"].removeprefix("$(P)")


def _is_first(name: str) -> bool:
    """Return whether a record is that of the first device, or member, of its kind."""
    return all(number == "1" for number in re.findall(r"[A-Za-z](\d+)(?=:)", name))


def _heading(name: str) -> str:
    return next(heading for start, heading in GROUPS if re.match(start, name))


def _record_lines(rows: list[dict[str, str]]) -> Iterator[str]:
    yield "| record | kind | unit | puts | |\n| --- | --- | --- | --- | --- |\n"
    for row in rows:
        puts = (row["limits"] or "any") if row["writable"] == "yes" else ""
        choices = f" ({row['limits']})" if row["limits"] and row["writable"] == "no" else ""
        cells = (f"`{_short(row)}`", row["kind"], row["unit"], puts, row["description"] + choices)
        yield f"| {' | '.join(_escaped(cell) for cell in cells)} |\n"


if __name__ == "__main__":
    write()
