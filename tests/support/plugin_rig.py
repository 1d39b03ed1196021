"""Plug-ins without a process: their graph, a clock that stands, and what they show and put out, noted."""

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.plugins.graph import Graph
from consumers.plugins.held import Held
from consumers.plugins.kinds import make_plugin, table_of
from consumers.plugins.plugin import Plugin, Surroundings
from consumers.plugins.sizes import Sizes
from consumers.plugins.source import Source
from ioc.core.clock import Clock, VirtualClock
from ioc.core.errors import RefusedError
from ioc.core.frame import Attribute, Frame
from ioc.core.ledger import Reason
from ioc.records.table import Record, Value

SECONDS = 20.0
"""Longest wait for a thread."""


@dataclass
class Notes:
    """What a plug-in noted of frames, by id; implements ledger.Noting."""

    given: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    dropped: list[tuple[int, str]] = field(default_factory=list)

    def offer(self, frame: Frame) -> None:
        self.given.append(frame.unique_id)

    def refuse(self, frame: Frame, reason: Reason) -> None:
        self.given.append(frame.unique_id)
        self.drop(frame, reason)

    def drop(self, frame: Frame, reason: Reason) -> None:
        self.dropped.append((frame.unique_id, reason.value))

    def finish(self, frame: Frame, good: bool) -> None:
        (self.done if good else self.failed).append(frame.unique_id)


class Rig:
    """`add` plug-ins, `put` to them, `feed` frames of the detector; `published` are the frames put out, by plug-in."""

    def __init__(self, memory: int = 1 << 30, sizes: Sizes | None = None, clock: Clock | None = None) -> None:
        self.clock = VirtualClock()
        self._clock = clock or self.clock
        self.graph, self.held = Graph(), Held(memory)
        self.notes: defaultdict[str, Notes] = defaultdict(Notes)
        self.sizes = sizes or Sizes()
        self._news = threading.Condition()
        self.shown: dict[str, Value] = {}
        self.rows: dict[str, NDArray] = {}
        self.published: dict[str, list[Frame]] = {}
        self.plugins: dict[str, Plugin] = {}
        self._demands: dict[str, dict[str | None, Record]] = {}
        self.missed = 0
        self.source = Source(self.graph, self.held, lambda: self.missed)

    def add(self, name: str, **chosen: Value) -> Plugin:
        """Make a plug-in that is enabled and works in the thread of who offers frames; put the rest to it."""
        out = self.published.setdefault(name, [])
        rows, account = self.rows.__setitem__, self.notes.__getitem__
        around = Surroundings(self.graph, self.held, self._clock, self._show, rows, account, out.append)
        plugin = self.plugins[name] = make_plugin(name, self.sizes, around)
        self._demands[name] = {one.demand: one for one in table_of(name, self.sizes)}
        self.graph.add(plugin)
        for record, value in ({"EnableCallbacks": True, "BlockingCallbacks": True} | chosen).items():
            self.put(name, record, value)
        return plugin

    def put(self, name: str, field: str, value: Value) -> None:
        """Put to a record as a client does: checked by its table, then carried out."""
        self.plugins[name]._put(field, self._demands[name][field].check(value))  # what the lane's thread does

    def feed(self, *frames: Frame) -> None:
        """Give frames of the detector to the graph."""
        for frame in frames:
            self.source.process(frame, {})

    def see(self, name: str) -> Mapping[str, Any]:
        """Have a plug-in show all, and return what its records show, by name."""
        self.plugins[name].show_now()
        start = f"{name}:"
        both = {**self.shown, **self.rows}
        return {record.removeprefix(start): value for record, value in both.items() if record.startswith(start)}

    def out(self, name: str) -> list[NDArray]:
        """Return the pixels of all frames that a plug-in put out."""
        return [frame.data for frame in self.published[name]]

    def refused(self, name: str, field: str, value: Value) -> str:
        """Put what is to be refused; return the message."""
        try:
            self.put(name, field, value)
        except RefusedError as error:
            return str(error)
        raise AssertionError(f"{name}:{field}: {value!r} was not refused")

    def wait_shown(self, record: str, value: Value) -> None:
        """Wait until a record shows a value."""
        with self._news:
            assert self._news.wait_for(lambda: self.shown.get(record) == value, SECONDS), (
                record,
                self.shown.get(record),
            )

    def _show(self, values: Mapping[str, Value]) -> None:
        with self._news:
            self.shown.update(values)
            self._news.notify_all()


def image(data: Any, unique_id: int = 1, series: int = 7, **attributes: Attribute) -> Frame:
    """Return a frame with these pixels."""
    return Frame(series, unique_id, 1_700_000_000_250_000_000, np.asarray(data), attributes)


def images(many: int, shape: tuple[int, ...] = (3, 4), dtype: str = "uint8") -> list[Frame]:
    """Return frames with the ids 1, 2, ..., each filled with its id."""
    return [image(np.full(shape, number, dtype), number) for number in range(1, many + 1)]
