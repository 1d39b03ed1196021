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
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from ioc.core.budget import Budget, divide
from ioc.core.camera_config import ReadoutConfig, SimulationConfig, SourceConfig
from ioc.core.config_ejfat import BalancerConfig, EgressConfig, IngressConfig
from ioc.core.config_errors import sentence
from ioc.core.config_jobs import JobsConfig
from ioc.core.config_metadata import ChannelName, MetadataConfig, SimulatedChannel, carried_names, channel_pvs
from ioc.core.config_metrics import MetricsConfig
from ioc.core.config_modes import IntakeConfig, Output, Remote, with_intakes
from ioc.core.config_supervision import Limited as _Limited
from ioc.core.config_supervision import QuarantineConfig, SupervisionConfig
from ioc.core.config_table import GIB, PolicyName, lower
from ioc.core.config_table import LARGEST_QUEUE as LARGEST_QUEUE
from ioc.core.config_table import Drop as Drop
from ioc.core.config_table import Policy as Policy
from ioc.core.config_table import Table as _Table
from ioc.core.config_web import WebConfig
from ioc.core.errors import ConfigError, mismatch
from ioc.core.frame import DataType
from ioc.core.topology import DETECTOR, faults, leads, root, takers

LONGEST_PV_NAME = 60
"""Channel Access allows 60 characters in a record name (EPICS base, dbBase PVNAME_STRINGSZ less its field)."""

LONGEST_SUFFIX = len("Dist1:Set64:Member64:MissedRanges_RBV")
"""The longest name that Rayfan puts behind a prefix."""

DISTRIBUTOR_SLOTS = 8
PLUGINS_GROUP = "plugins.graph"
"""The distributor group whose one member is the process of areaDetector's plug-ins."""
IMAGE_GROUP = "Pva1"
"""The group of the clients that look at `$(P)Pva1:Image`: viewers, whose losses are no loss of the appliance."""
MOST_MEMBERS = 64
JOB_PLACEMENTS = ("slurm", "psij")
"""Placements whose consumers are batch jobs."""
ACK_TIMEOUT = 10.0
"""s that a PVA member of policy Acknowledged may be silent, unless configured otherwise."""


class ImageBackend(Enum):
    """Which server serves the image channels."""

    OWN = "own"
    P4P = "p4p"


def _data_type(value: object) -> object:
    if isinstance(value, str):
        for member in DataType:
            if value.lower() == member.value.lower():
                return member
    return value


ImageServerName = Annotated[ImageBackend, BeforeValidator(lower)]
DataTypeName = Annotated[DataType, BeforeValidator(_data_type)]
PASSING = ("image", "Stats")
"""What the names of plug-ins begin with that make no frames of their own."""
PluginName = Annotated[str, Field(pattern="^(image|Stats|ROI|Proc|Trans|Codec|CB)[1-9]$")]


class DetectorConfig(_Table):
    """The detector: its source and the acquisition parameters it starts with."""

    source: SourceConfig = SourceConfig()
    acquire_at_start: bool = True
    """Begin to acquire as soon as every configured local member has joined."""
    frame_rate: float = Field(default=1000.0, gt=0, le=1e6)
    """Hz; the inverse of AcquirePeriod."""
    acquire_time: float = Field(default=0.0001, ge=0)
    """s; the exposure: the first frame comes so long after the start, and frames never come faster."""
    size: tuple[Annotated[int, Field(ge=1, le=65536)], Annotated[int, Field(ge=1, le=65536)]] = (512, 512)
    """[x, y] of the sensor in pixels; generated and raw sources only, other sources bring their own."""
    readout: ReadoutConfig = ReadoutConfig()
    simulation: SimulationConfig = SimulationConfig()
    attributes: str = ""
    """NDAttributes of every frame: an XML file, or the XML text itself, as `cam1:NDAttributesFile`."""
    metadata: dict[ChannelName, SimulatedChannel] = {}
    """Channels `$(P)Meta:NAME` that are updated with the frames; to try metadata, and to measure."""
    data_type: DataTypeName = DataType.UINT8
    """Int8 ... Float64; generated and raw sources only."""
    color_mode: Literal["Mono", "RGB1"] = "Mono"
    """Mono or RGB1; generated sources only."""
    image_mode: Literal["Single", "Multiple", "Continuous"] = "Continuous"
    """How many frames an acquisition has: one, `num_images`, or until it is stopped."""
    num_images: int = Field(default=100, ge=1)
    """Frames in one acquisition of image mode Multiple."""


class GroupConfig(Remote, _Limited):
    """One distributor group and the consumers that make it up."""

    count: int = Field(default=1, ge=0, le=MOST_MEMBERS)
    """Members of the group."""
    sets: int | None = Field(default=None, ge=1, le=MOST_MEMBERS)
    """Sets that the members are dealt into; the members of a set see the same frames, sets take turns.
    Left out: every member is a set of its own, so the members take turns."""
    updates: int = Field(default=1, ge=1)
    """Frames in sequence that a set gets before it is the next one's turn."""
    ack_timeout: float = Field(default=ACK_TIMEOUT, gt=0, le=3600)
    """acknowledged: s after which a PVA member that has frames and acknowledges none has lost them to the others."""
    processor: str = "statistics"
    """Name of a processor that comes with Rayfan, `package.module:Class`, or `path/to/file.py:Class`."""
    settings: dict[str, Any] = {}
    """Settings of the processor."""
    time_limit: float = Field(default=30.0, gt=0)
    """s that the processor may take for one frame or batch; a consumer that takes longer is killed and restarted."""
    input: str = DETECTOR
    """Where the members' frames come from: `detector`, `groups.NAME` (what that group puts out), `collectors.NAME`,
    `intake.NAME`, `ingress.NAME` (what comes by EJFAT), or the URL of a stream from outside, as in [intake.*]."""
    outputs: list[Output] = ["pva"]
    """Where the processor's frames go besides those that name this group as their `input`: `pva` is the channel
    `$(P)Cons1:Image`; `put://CHANNEL` a channel of somebody else, `rpc://SERVICE` a service of somebody else. A `*`
    in their names stands for the consumer's number."""
    metadata: MetadataConfig = MetadataConfig()
    """Values of other channels that go with the frames."""
    placement: Literal["local", "remote", "slurm", "psij"] = "local"
    """`local`: Rayfan starts the consumers. `remote`: they are PVA clients that join by the member channels, or workers
    that join with `rayfan work`. `slurm`, or `psij` with `jobs.executor`: Rayfan has them started as batch jobs."""
    jobs: JobsConfig = JobsConfig()

    @model_validator(mode="after")
    def _jobs_fit(self) -> Self:
        if self.placement == "psij" and not self.jobs.executor:
            raise ValueError("placement 'psij' needs the key 'jobs.executor', for example \"slurm\" or \"local\"")
        if self.placement not in JOB_PLACEMENTS and self.jobs != JobsConfig():
            raise ValueError(f"jobs: expected placement 'slurm' or 'psij' with this table, found {self.placement!r}")
        return self

    @model_validator(mode="after")
    def _sets_fit(self) -> Self:
        if self.sets is not None and self.sets > max(self.count, 1):
            raise ValueError(f"sets: expected at most count = {self.count}, found {self.sets}")
        if self.placement == "remote" and self.metadata.channels:
            raise ValueError(
                "metadata: expected none with placement 'remote', found channels; Rayfan runs no processor"
            )
        return self


class CollectorConfig(Remote, _Limited):
    """One stream in order out of what several consumers put out."""

    input: str
    """Where the frames come from: `groups.NAME`, `collectors.NAME`, `intake.NAME` or `ingress.NAME`."""
    wait: float = Field(default=1.0, ge=0, le=3600)
    """s that a frame waits for those before it; then these are missing, and late should they still come."""
    most_waiting: int = Field(default=1024, ge=1, le=65536)
    """Frames (or tiles) that may wait together; beyond, the oldest gap is given up."""
    waiting_bytes: int | None = Field(default=None, ge=1)
    """Bytes that may wait together; left out: no limit but most_waiting and the windows of its givers."""
    tiles: int | None = Field(default=None, ge=1, le=4096)
    """Tiles that make up a frame, to be stitched (see the processor `split`); left out: frames are passed on as
    they are."""
    incomplete: Literal["drop", "deliver"] = "drop"
    """What becomes of a frame of which tiles are missing: `drop`, or `deliver` with zeros in their place and the
    attribute `TilesMissing`. It is booked as incomplete, by id, in either case."""
    outputs: list[Output] = ["pva"]
    """Where the frames go besides those that name this collector as their `input`: `pva` is the channel
    `$(P)Coll1:Image`, for the others see [groups.*]."""


class WriterConfig(_Table):
    """A file writer, `$(P)HDF1:` for the first table: areaDetector's NDFileHDF5 in a process of its own."""

    input: str = DETECTOR
    """Where the frames come from, as in [groups.*]."""
    metadata: MetadataConfig = MetadataConfig()
    """Values of other channels that go with the frames, as NDAttributes in the file."""
    policy: PolicyName = Policy.BOUNDED
    """As in [groups.*]; with `bounded` a slow disk costs frames, which are counted, and never stops the detector."""
    queue_size: int = Field(default=512, ge=1, le=65536)
    """Frames that may wait to be written."""
    queue_bytes: int | None = Field(default=None, ge=1)
    """Bytes that may wait to be written; left out: no limit but queue_size."""
    path: str = Field(default="", description="Folder of the files at start: `HDF1:FilePath`.")
    memory: int = Field(default=GIB, ge=1)
    """Bytes that the frames of FileWriteMode Capture may take up."""


class PluginsConfig(_Table):
    """areaDetector's plug-ins, `$(P)Stats1:`, `$(P)ROI1:` and so on, in a process of their own."""

    names: list[PluginName] = ["image1", "Stats1", "ROI1", "Proc1", "Trans1", "Codec1", "CB1"]
    """Which there are: image, Stats, ROI, Proc, Trans, Codec or CB, with a number from 1 to 9."""
    policy: PolicyName = Policy.BOUNDED
    """As in [groups.*]; with `bounded` no plug-in ever stops the detector."""
    queue_size: int = Field(default=64, ge=1, le=65536)
    """Frames that may wait for the process, and at start for each plug-in: `QueueSize`."""
    memory: int = Field(default=GIB // 4, ge=1)
    """Bytes that frames may take up in the process: those that wait, and those that `CB1:` keeps."""
    array_type: DataTypeName | None = None
    """Type of `image1:ArrayData`; left out: that of the detector's frames at start."""
    array_size: int | None = Field(default=None, ge=1, le=1 << 28)
    """Elements of `image1:ArrayData`; left out: as many as the detector's frames have at start."""

    @field_validator("names")
    @classmethod
    def _no_name_twice(cls, names: list[str]) -> list[str]:
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"expected different names, at least one, found {', '.join(names) or 'none'}")
        return names


class Config(_Table):
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


def collector_group(table: str) -> str:
    """Return the name of the distributor group whose one member is the collector of a table."""
    return f"collectors.{table}"


def egress_group(table: str) -> str:
    """Return the name of the distributor group whose one member is the egress of a table."""
    return f"egress.{table}"


def writer_group(table: str) -> str:
    """Return the name of the distributor group whose one member is the writer of a table."""
    return f"writer.{table}"


def ingress_node(table: str) -> str:
    """Return what an ingress is in the graph of givers and takers."""
    return f"ingress.{table}"


def intake_node(table: str) -> str:
    """Return what an intake is in the graph of givers and takers."""
    return f"intake.{table}"


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
            raise ConfigError(f"--set {override}: {part!r} is a value, not a table")
        table = below
    table[parts[-1]] = _value(text.strip())
    sources[key] = f"--set {override}"


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
