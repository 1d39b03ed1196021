"""Clients of a running appliance in processes of their own: pyepics and p4p here, caproto's tools, PvaPy beside them.

`python -m tests.support.clients` answers requests as ioc_client does, and watches image channels besides.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import epics
import numpy as np
from p4p.client.thread import Disconnected
from p4p.nt import NTNDArray

from tests.support.appliance import RunningAppliance
from tests.support.ioc_client import WITHIN, Clients
from tests.support.ioc_process import Helper, answer_lines

TOOL_SECONDS = 60.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Seen:
    """One image as a PVA client saw it: `shape` and `dtype` as NumPy has them, `series` from its attributes."""

    unique_id: int
    shape: tuple[int, ...]
    dtype: str
    series: int


class User:
    """Somebody at the PVs of an appliance; names are without prefix."""

    def __init__(self, run: RunningAppliance, helper: Helper) -> None:
        self.run = run
        self._helper = helper

    def ask(self, function: str, name: str, *arguments: Any) -> Any:
        """Call a function of the client process on one PV."""
        return self._helper.ask(function, self.run.prefix + name, *arguments)

    def ask_all(self, function: str, names: Sequence[str]) -> Any:
        """Call a function of the client process on many PVs."""
        return self._helper.ask(function, [self.run.prefix + name for name in names])

    def get(self, name: str) -> Any:
        """Return a value by CA; texts for enums."""
        return self.ask("get", name)

    def put(self, name: str, value: Any) -> None:
        """Put by CA and wait until the put is completed: `caput -c`."""
        assert self.ask("put", name, value, True) == 1, f"put {value!r} to {name}: not completed within {WITHIN} s"

    def put_plain(self, name: str, value: Any) -> None:
        """Put by CA and do not wait."""
        self.ask("put", name, value, False)

    def wait(self, name: str, value: Any) -> None:
        """Wait until a PV has a value."""
        self.wait_until(name, lambda found: found == value, repr(value))

    def wait_until(self, name: str, true: Callable[[Any], bool], what: str) -> Any:
        """Return the first value of a PV for which something is true."""
        found = None

        def looked() -> bool:
            nonlocal found
            found = self.get(name)
            return true(found)

        try:
            self.run.wait_until(looked, f"{name} is {what}")
        except AssertionError as error:
            raise AssertionError(f"found {found!r}; {error}") from None
        return found

    def watch(self, name: str) -> None:
        """Begin to note the images of a channel, from the one that it shows now."""
        self.ask("watch", name)

    def images(self, name: str, count: int) -> list[Seen]:
        """Return the images noted, `count` of them at least."""
        noted = self.ask("images", name, count)
        seen = [Seen(unique_id, tuple(shape), dtype, series) for unique_id, shape, dtype, series in noted]
        assert len(seen) >= count, f"{name}: expected {count} images, found {[one.unique_id for one in seen]}"
        return seen


@contextmanager
def user_of(run: RunningAppliance) -> Iterator[User]:
    """Yield somebody at the PVs of an appliance."""
    with Helper("clients", [], run.environment, run.folder / "clients.log") as helper:
        yield User(run, helper)


def caproto(run: RunningAppliance, tool: str, *arguments: str) -> str:
    """Return what one of caproto's command-line tools prints; it fails with what it logged if that is an error."""
    command = [str(Path(sys.executable).with_name(f"caproto-{tool}")), "--no-repeater", *arguments]
    done = subprocess.run(
        command, env=run.environment, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
    )
    return (done.stdout + done.stderr).strip()


class ImageClients(Clients):
    """What the test asks for, and image channels."""

    def __init__(self) -> None:
        super().__init__()
        self._images: dict[str, list[tuple[int, tuple[int, ...], str, int]]] = {}
        self._arrived = threading.Condition()

    def absent(self, names: list[str]) -> list[str]:
        """Return those of the PVs that no CA server has."""
        found = {name: epics.PV(name, auto_monitor=False) for name in names}
        limit = time.monotonic() + WITHIN
        while not all(pv.connected for pv in found.values()) and time.monotonic() < limit:
            epics.ca.poll(0.01)
        self._pvs |= found
        return [name for name, pv in found.items() if not pv.connected]

    def ca_fields(self, names: list[str]) -> dict[str, Any]:
        """Return PVs by name as CA gives them, many at a time; None for one that does not answer."""
        values = epics.caget_many(names, as_string=False, timeout=WITHIN)
        return dict(zip(names, values or [], strict=True))

    def displays(self, names: list[str]) -> dict[str, Any]:
        """Return the display structures of PVs by PVA."""
        values = self._context.get(names, timeout=WITHIN)
        return {name: value.raw.todict().get("display") for name, value in zip(names, values, strict=True)}

    def watch(self, name: str) -> None:
        """Note every image of a channel."""
        images = self._images[name] = []
        connected = threading.Event()

        def on_image(value: Any) -> None:
            if isinstance(value, Disconnected):
                return
            with self._arrived:
                if (noted := _noted(value)) is not None:
                    images.append(noted)
                self._arrived.notify_all()
            connected.set()

        request = "record[queueSize=4096]field()"
        self._subscriptions[name] = self._context.monitor(name, on_image, request=request, notify_disconnect=True)
        assert connected.wait(WITHIN), f"{name} did not connect"

    def images(self, name: str, count: int) -> list[tuple[int, tuple[int, ...], str, int]]:
        """Return what was noted, once there are `count` images or time is up."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._images[name]) >= count, WITHIN)
            return list(self._images[name])

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a table by PVA."""
        columns = self._context.get(name, timeout=WITHIN)["value"].todict()
        return [dict(zip(columns, map(_plain, row), strict=True)) for row in zip(*columns.values(), strict=True)]

    def image_fields(self, name: str) -> Any:
        """Return the newest image of a channel, all but its pixels."""
        value = self._context.get(name, timeout=WITHIN).raw
        fields = {key: item for key, item in value.todict().items() if key not in ("value", "attribute")}
        attributes = {one["name"]: one["value"] for one in value["attribute"]}
        return {**fields, "id": value.getID(), "attribute": {name: _plain(item) for name, item in attributes.items()}}


def _noted(value: Any) -> tuple[int, tuple[int, ...], str, int] | None:
    structure = value.raw if hasattr(value, "raw") else value
    image = NTNDArray().unwrap(structure)
    if image is None or not image.size:
        return None
    series = next((int(one["value"]) for one in structure["attribute"] if one["name"] == "Series"), 0)
    return int(structure["uniqueId"]), image.shape, np.asarray(image).dtype.name, series


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def main() -> None:
    """Answer requests until standard input ends."""
    clients = ImageClients()
    names = [name for name in dir(clients) if not name.startswith("_")]
    answer_lines({name: getattr(clients, name) for name in names}, "ready")


if __name__ == "__main__":
    main()
