"""A site without an appliance: values, frames and a run folder that a test sets."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ioc.channels.pva_snapshots import Identity
from ioc.core.config import load
from ioc.core.errors import RefusedError
from ioc.core.frame import Frame
from ioc.core.reading import Form, Reading
from ioc.web.access import Access
from ioc.web.chain import Chain
from ioc.web.clients import Clients, House
from ioc.web.history import History
from ioc.web.site import Parts
from ioc.web.viewer import Viewer

TOKEN = "correct horse battery"
CHAIN = """
[groups.stats]
count = 2
[groups.second]
input = "groups.stats"
[egress.out]
ingress = "in"
[ingress.in]
[writers.disk]
[plugins]
"""


class FakeValues:
    """PVs that are records with numbers; a put to `...Bad` is refused."""

    def __init__(self) -> None:
        self.watchers: dict[str, int] = {}
        self.numbers: dict[str, float] = {}
        self.version = 1

    def watch(self, name: str) -> None:
        self.watchers[name] = self.watchers.get(name, 0) + 1

    def release(self, name: str) -> None:
        self.watchers[name] -= 1
        if not self.watchers[name]:
            del self.watchers[name]

    def newest(self, name: str) -> tuple[int, Reading] | None:
        if name not in self.numbers:
            return None
        return self.version, Reading(Form.NUMBER, self.numbers[name], display={"units": "Hz"})

    def put(self, name: str, value: float | str, timeout: float) -> None:
        if name.endswith("Bad"):
            raise RefusedError(f"{name}: {value!r} was refused: Operation not permitted")
        self.numbers[name] = float(value)
        self.version += 1


class FakeFrames:
    """One channel with a ramp, whose id a test sets."""

    def __init__(self) -> None:
        self.unique_id = 1

    def identity(self, name: str) -> Identity:
        return Identity(self.unique_id, self.unique_id)

    def fetch(self, name: str) -> Frame:
        data = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
        return Frame(1, self.unique_id, self.unique_id, data)


def process(name: str, role: str, **more: Any) -> dict[str, Any]:
    """Return one process as appliance.json has it."""
    plain = {"rate": 10.0, "lag": 1, "lost": 2, "failed": 0, "processed": 30, "restarts": 0}
    return {"name": name, "role": role, "state": "Running", "message": "", "last_error": "", **plain, **more}


def write_view(folder: Path, *processes: dict[str, Any]) -> None:
    """Write what the supervisor would."""
    (folder / "appliance.json").write_text(json.dumps({"state": "Running", "processes": list(processes)}))


def parts(folder: Path, values: FakeValues, frames: FakeFrames, token: str | None = TOKEN, most: int = 4) -> Parts:
    """Return what a site is made of."""
    config = load(CHAIN, "test")
    access = Access(frozenset({"localhost"}), frozenset({"https://displays"}), token)
    house = House("RF:", access, values, folder / "puts", "testhost", most)
    return Parts(
        folder=folder,
        put_log=folder / "puts",
        prefix="RF:",
        facts={"prefix": "RF:", "version": "0", "writable": token is not None},
        access=access,
        chain=Chain(config, folder),
        history=History(folder),
        viewer=Viewer(frames, 100.0),
        clients=Clients(house),
        watchers=lambda: values.watchers,
    )
