"""Phoebus screens that are made from the record tables; run as a module, it writes `ops/phoebus/*.bob` anew."""

from collections.abc import Iterator
from pathlib import Path

from consumers.loading import bundled, load_processor
from consumers.records import consumer_records
from ioc.records.database_listing import template_rows
from ioc.records.table import Kind, Record
from ioc.screens.bob import Screen
from ioc.screens.screens import all_screens, write
from tests.support.ioc_tables import all_records

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ops" / "phoebus"
COMMAND = "python -m tests.support.phoebus_screens"
TEMPLATES = (("appliance", ""), ("detector", "cam1:"), ("consumer", "Cons1:"))


def screens() -> list[Screen]:
    """Return all screens, with a panel for each processor that comes with Rayfan."""
    kinds = {name: load_processor(name) for name in bundled()}
    tables = {
        name: consumer_records("Cons1", kind.declared_settings, kind.declared_statistics)
        for name, kind in kinds.items()
    }
    return all_screens([*all_records(), *derived()], tables)


def derived() -> Iterator[Record]:
    """Yield definitions of the records that the templates of `db/` derive from those of the tables."""
    known = {name for record in all_records() for name in record.names}
    for file, device in TEMPLATES:
        for row in template_rows(ROOT / "db" / f"{file}.template", {"P": "", "R": device}):
            if row.name.endswith("_RBV") and row.name not in known and not row.description.startswith("Alias"):
                yield Record(row.name.removesuffix("_RBV"), Kind.FLOAT, row.description, unit=row.unit)


if __name__ == "__main__":
    write(screens(), FOLDER)
