"""All record tables of an appliance together; run as a module, it writes the listing `db/records.csv` anew."""

from pathlib import Path

from consumers.plugins.kinds import NAMES
from consumers.plugins.kinds import all_records as plugin_records
from consumers.plugins.sizes import Sizes
from consumers.records import (
    balancer_records,
    collector_records,
    consumer_records,
    egress_records,
    ingress_records,
    intake_records,
    metadata_records,
)
from consumers.writer_records import writer_records
from detector_sim.records import detector_records
from ioc.core.config_metadata import ChannelConfig
from ioc.records.ledger_records import supervisor_records
from ioc.records.table import Record, listing, write_listing
from ioc.web.records import web_records

LISTING = Path(__file__).parents[2] / "db" / "records.csv"


def all_records() -> list[Record]:
    """Return the records of a supervisor, a detector, and one each of all other kinds of process."""
    return [
        *supervisor_records(),
        *detector_records(),
        *consumer_records("Cons1"),
        *metadata_records("Cons1", {"NAME": ChannelConfig(channel="pva://NAME")}),
        *collector_records("Coll1"),
        *egress_records("Ejfat1"),
        *metadata_records("Ejfat1", {"NAME": ChannelConfig(channel="pva://NAME")}),
        *balancer_records("EjfatLb1"),
        *ingress_records("EjfatIn1"),
        *writer_records("HDF1"),
        *metadata_records("HDF1", {"NAME": ChannelConfig(channel="pva://NAME")}),
        *intake_records("In1"),
        *plugin_records("Plug1", NAMES, Sizes()),
        *web_records("Web1"),
    ]


def write(path: Path = LISTING) -> None:
    """Write the listing of all records."""
    write_listing(listing(all_records(), "$(P)"), path)


if __name__ == "__main__":
    write()
