"""One thing that was looked at: what was found, how bad it is, and what to do."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad it is: BAD breaks something, WARNING costs speed or convenience."""

    GOOD = "ok"
    WARNING = "warning"
    BAD = "BAD"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and, unless all is well, what to do about it."""

    level: Level
    what: str
    found: str
    advice: str = ""


def good(what: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(Level.GOOD, what, found)


def warning(what: str, found: str, advice: str) -> Finding:
    """Return that something costs."""
    return Finding(Level.WARNING, what, found, advice)


def bad(what: str, found: str, advice: str) -> Finding:
    """Return that something breaks."""
    return Finding(Level.BAD, what, found, advice)
