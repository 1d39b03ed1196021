"""The configuration: one TOML file, validated whole, unknown keys refused.

[detector]  one source, the acquisition parameters at start
[groups.*]  who processes the frames: one table a distributor group
[collectors.*]  one stream in order out of what a group puts out
[egress.*]  frames -> EJFAT;   [ingress.*]  EJFAT -> frames;   [balancers.*]  a lab's load balancer between them
[writers.*] frames -> HDF5 files
[intake.*]  frames from outside, besides the detector's, for groups, collectors, egresses and writers
[supervision], [quarantine]  when processes are started again, and what becomes of frames that kill them
[plugins]   areaDetector's plug-ins
[web]       the web page
[metrics]   the figures of the records for Prometheus
"""

import tomllib
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from ioc.core.budget import Budget, divide
from ioc.core.config_collector import CollectorConfig
from ioc.core.config_detector import DetectorConfig
from ioc.core.config_ejfat import BalancerConfig, EgressConfig, IngressConfig
from ioc.core.config_errors import sentence
from ioc.core.config_group import GroupConfig
from ioc.core.config_metadata import carried_names, channel_pvs
from ioc.core.config_metrics import MetricsConfig
from ioc.core.config_modes import IntakeConfig, with_intakes
from ioc.core.config_plugins import PluginsConfig
from ioc.core.config_supervision import QuarantineConfig, SupervisionConfig
from ioc.core.config_table import GIB, Table, lower
from ioc.core.config_web import WebConfig
from ioc.core.config_writer import WriterConfig
from ioc.core.errors import ConfigError, mismatch
from ioc.core.topology import (
    DETECTOR,
    collector_group,
    egress_group,
    faults,
    ingress_node,
    intake_node,
    leads,
    root,
    takers,
    writer_group,
)

LONGEST_PV_NAME = 60
"""Channel Access allows 60 characters in a record name (EPICS base, dbBase PVNAME_STRINGSZ less its field)."""

LONGEST_SUFFIX = len("Dist1:Set64:Member64:MissedRanges_RBV")
"""The longest name that Rayfan puts behind a prefix."""

DISTRIBUTOR_SLOTS = 8


class ImageBackend(Enum):
    """Which server serves the image channels."""

    OWN = "own"
    P4P = "p4p"


ImageServerName = Annotated[ImageBackend, BeforeValidator(lower)]


class Config(Table):
    """One appliance."""

    prefix: str = "RF:"
    """What every PV name begins with."""
    run_dir: Path | None = None
    """Where sockets, status files and logs lie; left out: a folder per prefix under the user's runtime folder."""
    access_security: Path | None = None
    """EPICS access security file that says who may write what; left out: everybody may, and each put is logged."""
    put_log: Path | None = None
    """File with a line for each put of a client; left out: `puts` in the run folder."""
    autosave: Path | None = None
    """Folder in which what is put to records is kept over starts of the appliance; left out: it is kept while the
    appliance runs, for processes that are started again."""
    ioc_stats: bool = True
    """Whether each process has the records of devIocStats, `$(P)detector:HEARTBEAT` and so on."""
    image_server: ImageServerName = ImageBackend.OWN
    """Who serves the image channels: `own`, or `p4p`, which copies each image for each client."""
    memory_budget: int = Field(default=GIB // 2, ge=1 << 20)
    """Bytes for all frames on their way: a quarter for copies in image channels, a quarter for ingresses if there
    are any, the rest for the detector's pool; one set of images takes at most half of the pool."""
    detector: DetectorConfig = DetectorConfig()
    groups: dict[str, GroupConfig] = {}
    collectors: dict[str, CollectorConfig] = {}
    egress: dict[str, EgressConfig] = {}
    ingress: dict[str, IngressConfig] = {}
    writers: dict[str, WriterConfig] = {}
    balancers: dict[str, BalancerConfig] = {}
    plugins: PluginsConfig | None = None
    supervision: SupervisionConfig = SupervisionConfig()
    quarantine: QuarantineConfig = QuarantineConfig()
    web: WebConfig = WebConfig()
    intake: dict[str, IntakeConfig] = {}
    metrics: MetricsConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_outside(cls, given: Any) -> Any:
        return with_intakes(given)

    @property
    def budget(self) -> Budget:
        """The shares of the memory budget."""
        givers = {giver for giver in self.inputs.values() if giver != DETECTOR}
        groups = {f"groups.{name}": group for name, group in self.groups.items()}
        processes = sum(groups[giver].count if giver in groups else 1 for giver in givers)
        return divide(self.memory_budget, len(self.ingress), processes)

    @field_validator("prefix")
    @classmethod
    def _prefix_fits(cls, value: str) -> str:
        longest = LONGEST_PV_NAME - LONGEST_SUFFIX
        if not 1 <= len(value) <= longest:
            raise ValueError(
                f"expected 1 to {longest} characters (PV names have at most {LONGEST_PV_NAME}), found {len(value)}"
            )
        if not all(char.isascii() and (char.isalnum() or char in "_-:[]<>;{}") for char in value):
            raise ValueError(f"expected letters, digits and _ - : [ ] < > ; {{ }}, found {value!r}")
        return value

    def _check_balancer(self, table: str, name: str | None) -> None:
        if name is not None and name not in self.balancers:
            raise ValueError(
                f"{table}.balancer: expected one of the [balancers.*] tables "
                f"({', '.join(self.balancers) or 'there is none'}), found {name!r}"
            )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self._chain_holds()
        slots = len(takers(self.inputs, DETECTOR)) + (self.plugins is not None)
        if slots > DISTRIBUTOR_SLOTS:
            raise ValueError(
                f"groups, egress, writers and plug-ins that take the detector's frames: expected at most "
                f"{DISTRIBUTOR_SLOTS} together, found {slots}"
            )
        for name, egress in self.egress.items():
            self._check_balancer(f"egress.{name}", egress.balancer)
            if egress.uri is None and egress.balancer is None and egress.ingress not in self.ingress:
                raise ValueError(
                    f"egress.{name}.ingress: expected one of the [ingress.*] tables "
                    f"({', '.join(self.ingress) or 'there is none'}), found {egress.ingress!r}"
                )
        for name, ingress in self.ingress.items():
            self._check_balancer(f"ingress.{name}", ingress.balancer)
            if ingress.uri is not None and ingress.balancer is not None:
                raise ValueError(f"ingress.{name}: expected one of 'uri' and 'balancer', found both")
        return self

    @property
    def inputs(self) -> dict[str, str]:
        """Return who gives frames to each group, collector, egress and writer, in this order, as in the file."""
        groups = {f"groups.{name}": group.input for name, group in self.groups.items()}
        groups |= {collector_group(name): one.input for name, one in self.collectors.items()}
        groups |= {egress_group(name): one.input for name, one in self.egress.items()}
        return groups | {writer_group(name): one.input for name, one in self.writers.items()}

    @property
    def intakes(self) -> list[str]:
        """Return the givers besides the detector that take from nobody here: `intake.NAME`, then `ingress.NAME`."""
        return [*map(intake_node, self.intake), *map(ingress_node, self.ingress)]

    def carried_metadata(self, giver: str) -> tuple[str, ...] | None:
        """Return the names of the channels whose values come as attributes with the frames of a giver.

        None: the frames come from elsewhere, and say themselves what goes along with them.
        """
        if root(self.inputs, giver) != DETECTOR or self.detector.source.kind == "pva":
            return None
        tables = {f"groups.{name}": group.metadata for name, group in self.groups.items()}
        return carried_names(giver, self.inputs, tables)

    def metadata_pvs(self, group: str) -> dict[str, str]:
        """Return the PVs whose values come with the frames of a group, by their names in `metadata`."""
        tables = {f"groups.{name}": one.metadata for name, one in self.groups.items()}
        tables |= {egress_group(name): one.metadata for name, one in self.egress.items()}
        return channel_pvs(f"groups.{group}", self.inputs | self._hops, tables, self.prefix)

    @property
    def _hops(self) -> dict[str, str]:
        """Return which egress of this file each ingress takes from; the first one where there are several."""
        found: dict[str, str] = {}
        for name, egress in self.egress.items():
            for table, ingress in self.ingress.items():
                sends = egress.ingress == table or (egress.balancer is not None and egress.balancer == ingress.balancer)
                if sends and not leads(self.inputs | found, ingress_node(table), egress_group(name)):
                    found.setdefault(ingress_node(table), egress_group(name))
        return found

    def _chain_holds(self) -> None:
        remote = frozenset(f"groups.{name}" for name, group in self.groups.items() if group.placement != "local")
        found = faults(self.inputs, remote, self.intakes)
        if found:
            raise ValueError("; ".join(found))


def load(text: str, where: str, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a TOML text with `KEY=VALUE` overrides applied.

    `where` names the text in messages. A value of an override is read as TOML, or as a plain string if it is none.

    Raises:
        ConfigError: names file and key, what was expected and what was found.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not a TOML file: {error}") from None
    sources: dict[str, str] = {}
    for override in overrides:
        _apply(tree, override, sources)
    return validate(tree, where, sources)


def validate(tree: Mapping[str, Any], where: str, sources: Mapping[str, str] | None = None) -> Config:
    """Return the configuration of a parsed tree; `sources` maps dotted keys to where they were set.

    Raises:
        ConfigError: every fault of the tree, one a line.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = [sentence(fault, where, sources or {}, Config) for fault in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _apply(tree: dict[str, Any], override: str, sources: dict[str, str]) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(mismatch("--set", "KEY=VALUE, for example detector.frame_rate=500", override))
    parts = key.split(".")
    table = tree
    for part in parts[:-1]:
        below = table.setdefault(part, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set {override}: {part!r} is a value, not a table; leave out what is behind it")
        table = below
    table[parts[-1]] = _value(text.strip())
    sources[key] = f"--set {override}"


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
