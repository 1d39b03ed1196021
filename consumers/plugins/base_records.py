"""How the tables of plug-ins write their records, beyond those that every plug-in has (ioc/records/plugin_base.py)."""

from ioc.records.areadetector import MINOR_WHEN_ON, SWITCH
from ioc.records.table import Access, Kind, Record

PAIR = Access.PAIR
FLOAT, BOOL = Kind.FLOAT, Kind.BOOL


def shown(name: str, unit: str = "", kind: Kind = FLOAT) -> Record:
    """Return a figure of the newest frame; a put stands until the next one, as in areaDetector."""
    return Record(name, kind, f"{name} of the newest frame", PAIR, unit, kept=False)


def act(name: str, description: str) -> Record:
    """Return a switch that does something when it is put to Yes, and shows No."""
    return Record(name, BOOL, description, PAIR, kept=False)


def yes(name: str, description: str, initial: bool = False) -> Record:
    """Return a switch of No and Yes."""
    return Record(name, BOOL, description, PAIR, initial=initial)


def computed(name: str, description: str, initial: bool = False) -> Record:
    """Return a switch of No and Yes that is in alarm while it is on, because it takes time."""
    return Record(name, BOOL, description, PAIR, severities=MINOR_WHEN_ON, initial=initial)


def enabled(name: str, description: str, initial: bool = False) -> Record:
    """Return a switch of Disable and Enable."""
    return Record(name, BOOL, description, PAIR, choices=SWITCH, severities=MINOR_WHEN_ON, initial=initial)


def number(name: str, description: str, initial: float = 0.0, unit: str = "") -> Record:
    """Return a real number that is asked for."""
    return Record(name, FLOAT, description, PAIR, unit, initial=initial)
