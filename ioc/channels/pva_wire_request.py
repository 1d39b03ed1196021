"""pvRequest: what a client asks of a channel when it opens an operation.

    record[queueSize=8,pipeline=true]field(value,timeStamp,_[pydistributor=group:G;set:S;trigger:uniqueId;updates:2])

arrives as a structure: `record._options.*`, a structure for each selected field, and PvaPy's distributor as an option
of the field `_`, which is no field. No selection means everything. What a client may ask but not get is a
RefusedError, which it is told; the connection goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ioc.core.errors import RefusedError, mismatch

DEFAULT_QUEUE = 4
SHORTEST_QUEUE = 2
LONGEST_QUEUE = 10_000
"""Updates; the queue of a client is bounded by bytes as well."""
LONGEST_REPLAY = 1024
MOST_UPDATES = 1_000_000
TRUE = ("true", "1", "yes", "on")
PLACE = "_"
"""The name under which PvaPy puts its request; it stands for no field."""
KEYS = ("group", "set", "trigger", "updates", "mode")


@dataclass(frozen=True, slots=True)
class DistributorRequest:
    """A client's wish to be a member: group, set, trigger, sequential updates, mode; None: it does not say."""

    group: str = "default"
    set: str | None = None
    trigger: str = "timeStamp"
    updates: int | None = None
    mode: Literal["one", "all"] | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """A client's wish that frames be kept for it, and the series and id of the last one that it has, if any."""

    frames: int
    after: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class PvRequest:
    """A request: dotted names of the selected fields (none: everything), queue, flow control, distributor, replay."""

    fields: tuple[str, ...] = ()
    queue_size: int = DEFAULT_QUEUE
    pipeline: bool = False
    distributor: DistributorRequest | None = None
    replay: Replay | None = None
    standing: bool = False
    """Whether the client asks who the server is, in place of an image (pva_standing)."""


def parse(value: Any) -> PvRequest:
    """Return the request of a decoded pvRequest structure; None is an empty one.

    Raises:
        RefusedError: an option is not what it should be.
    """
    root = value if isinstance(value, Mapping) else {}
    options = _mapping(_mapping(root, "record"), "_options")
    selection = _mapping(root, "field")
    wish = _mapping(_mapping(selection, PLACE), "_options").get("pydistributor")
    return PvRequest(
        fields=tuple(_names({name: inner for name, inner in selection.items() if name != PLACE})),
        queue_size=_queue_size(options.get("queueSize")),
        pipeline=str(options.get("pipeline", "")).lower() in TRUE,
        distributor=None if wish is None else parse_distributor(str(wish)),
        replay=_replay(options),
        standing=str(options.get("standing", "")).lower() in TRUE,
    )


def parse_distributor(text: str) -> DistributorRequest | None:
    """Return the request `group:G;set:S;trigger:F;updates:N;mode:one|all`; None if it asks for no turns at all.

    Keys are in any case. As with PvaPy, `updates` of 0 and less means every update.

    Raises:
        RefusedError: a key is unknown or given twice, or a value is not what it should be.
    """
    options: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in text.split(";"))):
        key, colon, value = part.partition(":")
        key = key.strip().lower()
        if not colon or key not in KEYS or key in options:
            raise RefusedError(
                mismatch("pydistributor request", f"KEY:VALUE with each of {', '.join(KEYS)} once", part)
            )
        options[key] = value.strip()
    updates = _updates(options["updates"]) if "updates" in options else None
    if updates is not None and updates <= 0:
        return None
    return DistributorRequest(
        group=options.get("group") or "default",
        set=options.get("set") or None,
        trigger=options.get("trigger") or "timeStamp",
        updates=updates,
        mode=_mode(options["mode"]) if "mode" in options else None,
    )


def _mapping(root: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = root.get(name)
    return inner if isinstance(inner, Mapping) else {}


def _names(selection: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, inner in selection.items():
        if name == "_options":
            continue
        deeper = _names(inner, f"{prefix}{name}.") if isinstance(inner, Mapping) else []
        names += deeper or [f"{prefix}{name}"]
    return names


def _queue_size(option: Any) -> int:
    count = DEFAULT_QUEUE if option is None else _number("queueSize", option)
    return min(LONGEST_QUEUE, max(SHORTEST_QUEUE, count))


def _replay(options: Mapping[str, Any]) -> Replay | None:
    frames = min(LONGEST_REPLAY, _number("replay", options.get("replay", 0)))
    if frames <= 0:
        return None
    if "replayAfter" not in options:
        return Replay(frames)
    series, last = (_number(name, options.get(name, 0)) for name in ("replaySeries", "replayAfter"))
    return Replay(frames, (series, last))


def _number(name: str, option: Any) -> int:
    try:
        return int(option)
    except (TypeError, ValueError, OverflowError):
        raise RefusedError(mismatch(f"request, {name}", "a whole number", str(option)[:40])) from None


def _updates(text: str) -> int:
    try:
        updates = int(text[:20])
    except ValueError:
        updates = MOST_UPDATES + 1
    if updates > MOST_UPDATES:
        found = text[:20]
        raise RefusedError(mismatch("pydistributor request, updates", f"a number up to {MOST_UPDATES}", found))
    return updates


def _mode(text: str) -> Literal["one", "all"]:
    mode = text.lower()
    if mode == "one" or mode == "all":
        return mode
    raise RefusedError(mismatch("pydistributor request, mode", "one or all", text[:20]))
