"""What it costs that clients watch every status PV: the rate with them, without, and with the same clients elsewhere.

Clients eat CPU wherever they are, and on a small machine they take it from the frames. So three things are measured
in turn, on one running appliance: *unwatched*; *watched*, by clients of its own records; *control*, with the same
clients busy at the records of a second, slow appliance. What the watched appliance itself pays is the CPU time of its
processes for each frame, and its rate beside that of the control.
"""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ioc.bench.appliance import WARM_SECONDS, WITHOUT_PAGE, Appliance, Books
from ioc.bench.case import Case, toml
from ioc.bench.machine import conditions
from ioc.bench.process import Started, cpu_seconds, part
from ioc.core.config import load
from ioc.core.errors import PeerError
from ioc.pvlist_command import rows

log = logging.getLogger(__name__)

KINDS = ("pva", "ca")
OTHER_RATE = 100.0
"""Hz of the second appliance: its status changes as often as the first one's, for little CPU."""
ANSWER_SECONDS = 90.0
LEAST_PART = 0.95
"""Of the rate without clients, or of the control."""
STRUCTURES = ("structure", "NTNDArray", "NTTable")
"""Kinds of PVs that are no records."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of frames: frames/s, CPU s per frame of the appliance, CPU s/s and events/s of the clients."""

    rate: float
    cpu_per_frame: float
    clients_cpu: float = 0.0
    events: float = 0.0
    channels: int = 0


def measure(folder: Path, clients: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Return rates and costs of the three phases, medians of `repeats`, half of the clients of each kind.

    Raises:
        PeerError: a process failed, or frames are unaccounted for.
    """
    before = conditions()
    phases: dict[str, list[Phase]] = {"unwatched": [], "watched": [], "control": []}
    span = repeats * (3 * seconds + 2 * ANSWER_SECONDS)
    with ExitStack() as stack:
        watched = stack.enter_context(Appliance(_place(folder, "a"), toml(Case(), None), span))
        other = stack.enter_context(Appliance(_place(folder, "b"), toml(Case(), OTHER_RATE), span))
        for one in (watched, other):
            one.wait_for_frames(Case().members())
            one.wait(WARM_SECONDS)
        for number in range(repeats):
            log.info("watched, repeat %d of %d", number + 1, repeats)
            for name, of in (("unwatched", None), ("watched", watched), ("control", other)):
                phases[name].append(_phase(folder, watched, of, clients, seconds))
                log.info("  %s: %s", name, phases[name][-1])
        for one in (watched, other):
            one.stop()
    return {**figures(phases), "clients": clients, "names": len(names("")), "seconds": seconds} | {
        "channels_wanted": sum(len(_wanted("", kind)) * _share(kind, clients) for kind in KINDS),
        "repeats": repeats,
        "conditions": before,
    }


def figures(phases: dict[str, list[Phase]]) -> dict[str, Any]:
    """Return medians of the phases and what they say together."""
    rates = {name: median(one.rate for one in several) for name, several in phases.items()}
    costs = {name: median(one.cpu_per_frame for one in several) for name, several in phases.items()}
    watched = phases["watched"]
    return {
        **{f"{name}_fps": rate for name, rate in rates.items()},
        **{f"{name}_cpu_seconds_per_frame": cost for name, cost in costs.items()},
        "ratio": rates["watched"] / rates["unwatched"],
        "ratio_to_control": rates["watched"] / rates["control"],
        "at_least": LEAST_PART,
        "channels": min(one.channels for one in watched),
        "events_per_s": median(one.events for one in watched),
        "control_events_per_s": median(one.events for one in phases["control"]),
        "clients_cpu_per_s": median(one.clients_cpu for one in watched),
    }


def names(prefix: str) -> list[str]:
    """Return the read-only records of an appliance with a detector, one consumer and no other process."""
    config = load(toml(Case(), None), "bench", WITHOUT_PAGE)
    listed = [row.name for row in rows(config) if row.writable == "no" and row.kind not in STRUCTURES]
    return [prefix + name.removeprefix(config.prefix) for name in listed]


def _phase(folder: Path, appliance: Appliance, of: Appliance | None, clients: int, seconds: float) -> Phase:
    with ExitStack() as stack:
        watching = [stack.enter_context(_clients(folder, of, kind, clients)) for kind in KINDS] if of else []
        first = [one.hear(ANSWER_SECONDS) for one in watching]
        books = stack.enter_context(Books(appliance, Case().members()))
        begun, cpu = books.read(), cpu_seconds([one.pid for one in watching])
        events = sum(answer["events"] for answer in first and _asked(watching))
        appliance.wait(seconds)
        ended, cpu = books.read(), cpu_seconds([one.pid for one in watching]) - cpu
        last = _asked(watching)
    frames, span = ended.frames - begun.frames, ended.at - begun.at
    if frames <= 0:
        raise PeerError(f"rayfan up: expected frames within {seconds:g} s, found none")
    channels = sum(answer["channels"] for answer in last)
    happened = (sum(answer["events"] for answer in last) - events) / span
    return Phase(frames / span, (ended.cpu - begun.cpu) / frames, cpu / span, happened, channels)


def _asked(watching: list[Started]) -> list[dict[str, Any]]:
    for one in watching:
        one.say({})
    return [one.hear(ANSWER_SECONDS) for one in watching]


def _clients(folder: Path, of: Appliance, kind: str, clients: int) -> Started:
    settings = {"role": kind, "kind": kind, "names": _wanted(of.prefix, kind), "clients": _share(kind, clients)}
    return part("watchers", folder, of.environment, settings)


def _wanted(prefix: str, kind: str) -> list[str]:
    """Return what a client of a kind monitors: the status structures are for pvAccess alone."""
    structures = [f"{prefix}{name}Status" for name in ("", "cam1:", "Cons1:")] if kind == "pva" else []
    return [*names(prefix), *structures]


def _share(kind: str, clients: int) -> int:
    return (clients + (kind == KINDS[0])) // len(KINDS)


def _place(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir(mode=0o700)
    return place
