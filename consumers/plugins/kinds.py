"""Which plug-ins there are: by name, their records and what makes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consumers.plugins.circular import BUFFER_RECORDS, CircularBuffer
from consumers.plugins.codec import CODEC_RECORDS, CodecPlugin
from consumers.plugins.plugin import Plugin, Surroundings
from consumers.plugins.process import PROCESS_RECORDS, Process
from consumers.plugins.roi import ROI_RECORDS, Roi
from consumers.plugins.sizes import Sizes
from consumers.plugins.stats import Stats, stats_records
from consumers.plugins.std_arrays import StdArrays, image_records
from consumers.plugins.transform import TRANSFORM_RECORDS, Transform
from consumers.records import plugins_records
from ioc.records.plugin_base import BASE
from ioc.records.table import Record, under


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of plug-in: its class, and its records beyond those of every plug-in."""

    make: type[Plugin]
    table: Callable[[Sizes], tuple[Record, ...]]


KINDS = {
    "image": Kind(StdArrays, image_records),
    "Stats": Kind(Stats, stats_records),
    "ROI": Kind(Roi, lambda _: ROI_RECORDS),
    "Proc": Kind(Process, lambda _: PROCESS_RECORDS),
    "Trans": Kind(Transform, lambda _: TRANSFORM_RECORDS),
    "Codec": Kind(CodecPlugin, lambda _: CODEC_RECORDS),
    "CB": Kind(CircularBuffer, lambda _: BUFFER_RECORDS),
}
"""By the name without its number."""
NAMES = tuple(f"{kind}1" for kind in KINDS)


def kind_of(name: str) -> Kind:
    """Return the kind of a plug-in, for example of `Stats1`."""
    return KINDS[name.rstrip("0123456789")]


def table_of(name: str, sizes: Sizes) -> list[Record]:
    """Return the records of a plug-in, named without it."""
    return [*BASE, *kind_of(name).table(sizes)]


def all_records(process: str, names: Sequence[str], sizes: Sizes) -> list[Record]:
    """Return the records of the process of the plug-ins `names`, its own first."""
    tables = (under(f"{name}:", table_of(name, sizes)) for name in names)
    return [*plugins_records(process), *(record for table in tables for record in table)]


def make_plugin(name: str, sizes: Sizes, around: Surroundings) -> Plugin:
    """Return a plug-in; it does nothing before it is started."""
    return kind_of(name).make(name, table_of(name, sizes), around)
