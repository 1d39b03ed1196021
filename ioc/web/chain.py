"""The picture of the chain: a box a process, in the column in which frames reach it, and who gives frames to whom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ioc.core.config import Config
from ioc.core.config_plugins import PASSING
from ioc.core.status import Role
from ioc.core.topology import DETECTOR, depth
from ioc.supervisor.plan import NODES, plan, why_not_restarted
from ioc.web.history import read_json

STARTED_AND_STOPPED = (Role.CONSUMER,)
"""Roles with the commands Start and Stop."""
SHOWING = (Role.CONSUMER, Role.COLLECTOR, Role.INGRESS, Role.INTAKE)
"""Roles whose frames are to be seen on `$(P)NAME:Image`."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a process is there for: its role, and its table in the configuration."""

    role: Role
    table: str | None


class Chain:
    """The chain of one appliance."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._places = {spec.name: Place(spec.role, spec.table) for spec in plan(config, folder)}

    def overview(self) -> dict[str, Any]:
        """Return the processes as they are now, ready for JSON."""
        view = read_json(self._folder / "appliance.json")
        processes = [one for one in view.get("processes", []) if one["role"] != Role.WEB.value]
        places = {one["name"]: self._place(one["name"], one["role"]) for one in processes}
        boxes = [self._box(one, places) for one in processes]
        named = ("state", "health", "published", "residue", "complete", "dropped", "failed", "queued")
        return {name: view.get(name) for name in named} | {"processes": boxes, "images": self._images(places)}

    def image_names(self) -> set[str]:
        """Return the names, without prefix, of the channels of images that there may be."""
        return {one["channel"] for one in self.overview()["images"]}

    def _place(self, name: str, role: str) -> Place:
        """Return the place of a process; of one that joined later from what its supervisor wrote down."""
        if name not in self._places:
            spec = read_json(self._folder / f"{name}.spec").get("spec", {})
            if not spec:
                return Place(Role(role), None)
            self._places[name] = Place(Role(role), spec.get("table"))
        return self._places[name]

    def _box(self, process: Mapping[str, Any], places: Mapping[str, Place]) -> dict[str, Any]:
        name = process["name"]
        place = places[name]
        kept = ("name", "role", "state", "rate", "lag", "lost", "failed", "processed", "restarts", "message")
        return {key: process[key] for key in kept} | {
            "error": process["last_error"],
            "table": place.table,
            "column": self._column(place),
            "givers": [giver for giver, one in places.items() if self._gives(one, place)],
            "startStop": place.role in STARTED_AND_STOPPED,
            "noRestart": why_not_restarted(self._config, place.role, place.table),
        }

    def _column(self, place: Place) -> int:
        if place.role in (Role.DETECTOR, Role.INTAKE):
            return 0
        if place.role is Role.PLUGINS:
            return 1
        deepest = max((depth(self._config.inputs, node) for node in self._config.inputs), default=0)
        if place.role in (Role.BALANCER, Role.INGRESS):
            return deepest + (1 if place.role is Role.BALANCER else 1 + bool(self._config.balancers))
        return depth(self._config.inputs, NODES[place.role](place.table)) if place.table else 1

    def _gives(self, giver: Place, taker: Place) -> bool:
        """Return whether frames go from one process to another."""
        if taker.role is Role.PLUGINS:
            return giver.role is Role.DETECTOR
        if taker.role is Role.BALANCER:
            return giver.role is Role.EGRESS and self._config.egress[giver.table or ""].balancer == taker.table
        if taker.role is Role.INGRESS:
            return self._reaches_ingress(giver, taker)
        if taker.table is None or taker.role not in NODES or taker.role is Role.INTAKE:
            return False
        source = self._config.inputs.get(NODES[taker.role](taker.table))
        if source == DETECTOR:
            return giver.role is Role.DETECTOR
        return giver.table is not None and giver.role in NODES and NODES[giver.role](giver.table) == source

    def _reaches_ingress(self, giver: Place, taker: Place) -> bool:
        balancer = self._config.ingress[taker.table or ""].balancer
        if giver.role is Role.BALANCER:
            return giver.table == balancer
        if giver.role is not Role.EGRESS:
            return False
        egress = self._config.egress[giver.table or ""]
        return egress.uri is None and egress.balancer is None and egress.ingress == taker.table

    def _images(self, places: Mapping[str, Place]) -> list[dict[str, str]]:
        return [{"channel": channel, "title": title} for channel, title in self._channels(places)]

    def _channels(self, places: Mapping[str, Place]) -> Iterable[tuple[str, str]]:
        for name, place in places.items():
            if place.role is Role.DETECTOR:
                yield "Pva1:Image", "Detector"
            elif place.role in SHOWING:
                yield f"{name}:Image", f"{name}, {place.table}" if place.table else name
            elif place.role is Role.PLUGINS and self._config.plugins is not None:
                for one in self._config.plugins.names:
                    if not one.startswith(PASSING):
                        yield f"{one}:Image", one
