"""A plug-in: all that NDPluginBase is, around what a kind of plug-in does with a frame.

    offered -> admitted -> queue -> the thread of its lane -> work -> put out -> the plug-ins whose NDArrayPort it is

Rules (ADCore, NDPluginDriver.cpp): a frame that comes sooner than MinCallbackTime is passed over, one that finds the
queue full is dropped, and so is a compressed one before a plug-in that cannot take it. With BlockingCallbacks there is
no queue: the frame is worked on in the thread of who offers it. ArrayCallbacks off stops the output, not the work.
One lock a plug-in: a frame or a put at a time. What is put out is given on without the lock.
Read-backs are shown when the lane has nothing else to do, at most each `SHOW_SECONDS`, and never at more than a tenth
of its time: a client that looks at the end of an acquisition sees the newest frame's, and a stream is not slowed.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from consumers.plugins.account import COUNTERS, Account, facts, out_of_order
from consumers.plugins.attributes import PluginAttributes
from consumers.plugins.graph import Graph
from consumers.plugins.held import Held
from consumers.plugins.lane import Lane
from consumers.plugins.ledger import Noting
from consumers.plugins.ports import port_of
from consumers.plugins.throttle import Throttle
from ioc.core.attribute_types import joined
from ioc.core.clock import Clock
from ioc.core.compressed import NAME
from ioc.core.frame import Attribute, Frame
from ioc.core.ledger import Reason
from ioc.core.rate import RateMeter
from ioc.records.areadetector import CAMERA_PORT
from ioc.records.plugin_base import MOST_DIMENSIONS
from ioc.records.table import Access, Record, Value

log = logging.getLogger(__name__)

SHOW_SECONDS = 0.05
"""s between two looks of clients at the read-backs of a plug-in at least."""
SHOW_PART = 10
"""Showing takes at most one part in so many of a plug-in's time."""
QUIET_NS = 5_000_000_000
"""Nanoseconds between two entries in the log of frames that failed."""
SHOWN_LAST = ("UniqueId_RBV", "ArrayCounter_RBV")
"""Read-backs that tell clients of a new frame."""
Outputs = Sequence[Frame]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plug-in has of its process: the graph, the memory, the clock, and the ways to its records.

    `show` takes values and `show_row` a row of numbers, by the names of records; `account` returns where the plug-in of
    a name notes what becomes of frames; `publish` takes each frame put out.
    """

    graph: Graph
    held: Held
    clock: Clock
    show: Callable[[Mapping[str, Value]], None]
    show_row: Callable[[str, NDArray], None]
    account: Callable[[str], Noting]
    publish: Callable[[Frame], None] = lambda _frame: None


class Plugin:
    """Base of every plug-in: override `work`, and what else is needed. Make it, `start` it, give it to the graph."""

    kind: ClassVar[str]
    """ADCore's class."""
    takes_compressed: ClassVar[bool] = False

    def __init__(self, name: str, table: Sequence[Record], around: Surroundings) -> None:
        """Be the plug-in `name`, for example `Stats1`, with the records of `table`, named without it."""
        self.name = name
        self.around = around
        self.guard = threading.RLock()
        demands = (Access.PAIR, Access.WRITE)
        self.chosen: dict[str, Value] = {one.name: one.start_value for one in table if one.access in demands}
        self.chosen["NDArrayPort"] = CAMERA_PORT
        self.results: dict[str, Value] = {}
        self.account = Account()
        self.newest: Frame | None = None
        self.output: Frame | None = None
        self.attributes = PluginAttributes()
        self.lane = Lane(name, self.run, self.between)
        self.entry = around.account(name)
        self._readbacks = {one.name: one.readback for one in table if one.readback is not None}
        self._counting = threading.Lock()
        self._throttle: Throttle | None = None
        self._taken_ns: int | None = None
        self._execution_ms = 0.0
        self._rate = RateMeter()
        self._unseen = False
        self._show_due_ns = 0
        self._logged_ns: int | None = None

    @property
    def port(self) -> str:
        """Its name in the graph, as in areaDetector's commonPlugins.cmd."""
        return port_of(self.name)

    @property
    def source(self) -> str:
        """The port whose frames it takes."""
        return str(self.chosen["NDArrayPort"])

    @property
    def enabled(self) -> bool:
        """Whether it takes any."""
        return bool(self.chosen["EnableCallbacks"])

    @property
    def waiting(self) -> int:
        """Frames in its queue."""
        return len(self.lane)

    def start(self) -> None:
        """Show what is asked for, and let its thread run."""
        self.show({name: value for name, value in self.chosen.items() if self._readbacks.get(name) != name})
        self.show({f"{name}_RBV": value for name, value in self.chosen.items() if name in self._readbacks})
        self.show({"PortName_RBV": self.port, "PluginType_RBV": self.kind})
        self.lane.start()

    def close(self) -> None:
        """End its thread; what waits is dropped."""
        for frame in self.lane.close():
            self.lose(1)
            self.entry.drop(frame, Reason.MEMBER_GONE)

    def admits(self, frame: Frame) -> bool:
        """Return whether it is to be given a frame; one that is lost is counted."""
        if NAME in frame.attributes and not self.takes_compressed:
            self.refuse(frame, Reason.REFUSED)
            return False
        since = self._taken_ns
        if since is not None and self.around.clock.monotonic_ns() - since < float(self.chosen["MinCallbackTime"]) * 1e9:
            return False
        if not self.chosen["BlockingCallbacks"] and len(self.lane) >= int(self.chosen["QueueSize"]):
            self.refuse(frame, Reason.QUEUE_FULL)
            return False
        return True

    def take(self, frame: Frame) -> None:
        """Take a frame that was admitted."""
        self._taken_ns = self.around.clock.monotonic_ns()
        self.entry.offer(frame)
        if self.chosen["BlockingCallbacks"]:
            self.run(frame)
            self.lane.wake()
        elif not self.lane.offer(frame, int(self.chosen["QueueSize"])):
            self.lose(1)
            self.entry.drop(frame, Reason.QUEUE_FULL)

    def lose(self, frames: int) -> None:
        """Count frames that it should have had, and that are named elsewhere."""
        with self._counting:
            self.account.dropped += frames

    def refuse(self, frame: Frame, reason: Reason) -> None:
        """Count, and name, a frame that it was to be given, and cannot be."""
        self.lose(1)
        self.entry.refuse(frame, reason)

    def settle(self, seconds: float) -> bool:
        """Wait until it has nothing to do and that is shown, for `seconds` at most; return whether it has not."""
        settled = self.lane.settle(seconds)
        with self.guard:  # its thread may be showing just now
            if settled and self._unseen:
                self.show_now()
        return settled

    def run(self, frame: Frame) -> None:
        """Work on a frame that was taken, and give on what comes out."""
        good = False
        try:
            good = self._worked(frame)
        finally:
            self.entry.finish(frame, good)

    def work(self, frame: Frame) -> Outputs:
        """Return what comes out for a frame, under the lock; the default passes it on."""
        return (frame,)

    def put_out(self, frame: Frame) -> None:
        """Give a frame on to those who take it, without the lock."""
        with self.guard:
            added = self.attributes.of(self.parameter)
            frame = replace(frame, attributes=joined(frame.attributes, added)) if added else frame
            before, self.output = self.output, frame
            if not self.chosen["ArrayCallbacks"]:
                return
            if not self._admitted_out(frame):
                self.account.dropped_outputs += 1
                return
            self.account.disordered += before is not None and out_of_order(before, frame)
        self.around.publish(frame)
        self.around.graph.give(self.port, frame)

    def put(self, field: str, value: Value) -> "Future[Any] | None":
        """Carry out a put between two frames; the future is done when the read-backs show it."""
        if field == "ProcessPlugin":
            return self.lane.submit(self._again)
        return self.lane.submit(partial(self._put, field, value))

    def accept(self, field: str, value: Value) -> Outputs:
        """Take a checked put, under the lock; return frames that come out for it.

        Raises:
            RefusedError: it cannot be done; nothing was changed.
        """
        if field in COUNTERS:
            setattr(self.account, COUNTERS[field], int(value))
        elif field in self.results:
            self.results[field] = value
        else:
            self._choose(field, value)
        self._show_one(field, value)
        return ()

    def parameter(self, name: str) -> Attribute | None:
        """Return a parameter by the name that ADCore has for it in a PARAM attribute; None: there is none."""
        known = {"ARRAY_COUNTER": self.account.arrays, "PORT_NAME_SELF": self.port}
        return known.get(name)

    def values(self) -> dict[str, Value]:
        """Return what the read-backs are to show, by name of the record."""
        account, held = self.account, self.around.held
        size, waiting = int(self.chosen["QueueSize"]), len(self.lane)
        return {
            **{f"{name}_RBV": getattr(account, place) for name, place in COUNTERS.items()},
            "QueueUse": min(size, waiting),
            "QueueFree": max(0, size - waiting),
            "SortFree": int(self.chosen["SortSize"]),
            "ExecutionTime_RBV": self._execution_ms,
            "NumQueuedArrays": self.around.graph.waiting(self.port),
            "PoolMaxMem": held.limit / 1e6,
            "PoolUsedMem": held.used / 1e6,
            "PoolAllocBuffers": held.frames,
            "PoolUsedBuffers": held.frames,
            "NDAttributesStatus": self.attributes.status,
            **(facts(self.newest) if self.newest is not None else {}),
            **{self._readbacks[name] or name: value for name, value in self.results.items()},
        }

    def rows(self) -> dict[str, NDArray]:
        """Return the rows of numbers that are to be shown for the newest frame, by name of the record."""
        shape = self.newest.data.shape if self.newest is not None else ()
        lengths = np.zeros(MOST_DIMENSIONS, np.int32)
        lengths[: len(shape)] = shape[::-1]
        return {"Dimensions_RBV": lengths}

    def refresh(self) -> None:
        """Show the rate, and what changes without a frame; not while it is at work."""
        if not self.guard.acquire(blocking=False):
            return
        try:
            rate = self._rate.update(self.account.arrays, self.around.clock.monotonic_ns())
            if not self._unseen:  # else its lane will show it, together with the rows of the frame
                self.show(self.values())
            self.show({"ArrayRate_RBV": rate})
        finally:
            self.guard.release()

    def between(self) -> float | None:
        """Show what is new if it is time for it; return after how many seconds it will be, None: there is nothing."""
        if not self._unseen:
            return None
        now = self.around.clock.monotonic_ns()
        if now < self._show_due_ns:
            return (self._show_due_ns - now) / 1e9
        self.show_now()
        return None

    def show_now(self) -> None:
        """Show all that the newest frame gave; the counter last: clients look at the rest when it changes."""
        clock = self.around.clock
        begun = clock.monotonic_ns()
        with self.guard:
            self._unseen = False
            for name, row in self.rows().items():
                self.around.show_row(f"{self.name}:{name}", row)
            values = self.values()
            looked_at = {name: values.pop(name) for name in SHOWN_LAST if name in values}
            self.show(values | looked_at)
        ended = clock.monotonic_ns()
        self._show_due_ns = ended + max(round(SHOW_SECONDS * 1e9), SHOW_PART * (ended - begun))

    def show(self, values: Mapping[str, Value]) -> None:
        """Show values by the names of records without the plug-in's."""
        self.around.show({f"{self.name}:{name}": value for name, value in values.items()})

    def _worked(self, frame: Frame) -> bool:
        """Work on a frame and give on what comes out; return whether it went well."""
        with self.guard:
            outputs = self._guarded(frame)
        for output in outputs or ():
            self.put_out(output)
        return outputs is not None

    def _guarded(self, frame: Frame) -> Outputs | None:
        """Return what comes out, None: it failed."""
        clock = self.around.clock
        begun = clock.monotonic_ns()
        self.account.arrays += 1
        self.newest = frame
        self._unseen = True
        try:
            return self.work(frame)
        except Exception as error:  # noqa: BLE001 - stage boundary: the frame is counted, the stream goes on
            self._failed(error)
            return None
        finally:
            self._execution_ms = (clock.monotonic_ns() - begun) / 1e6

    def _failed(self, error: Exception) -> None:
        self.account.failed += 1
        now = self.around.clock.monotonic_ns()
        if self._logged_ns is None or now - self._logged_ns > QUIET_NS:
            log.warning("%s: %d frames failed so far, now: %s", self.name, self.account.failed, error)
            self._logged_ns = now

    def _admitted_out(self, frame: Frame) -> bool:
        """Return whether there is memory for a frame, and room in MaxByteRate."""
        now = self.around.clock.monotonic_ns()
        if self._throttle is not None and not self._throttle.take(frame.data.nbytes, now):
            return False
        return self.around.held.keep(frame)

    def _again(self) -> None:
        if self.newest is not None:
            self._worked(self.newest)

    def _put(self, field: str, value: Value) -> None:
        with self.guard:
            outputs = self.accept(field, value)
        for output in outputs:
            self.put_out(output)
        self._unseen = True

    def _choose(self, field: str, value: Value) -> None:
        if field == "NDArrayPort":
            self.around.graph.check(self.port, str(value))
        self.chosen[field] = value
        if field in ("NDArrayPort", "EnableCallbacks"):
            self.around.graph.rewire()
        elif field == "MinCallbackTime":
            self._pair("MaxArrayRate", 1.0 / float(value) if value else 0.0)
        elif field == "MaxArrayRate":
            self._pair("MinCallbackTime", 1.0 / float(value) if value else 0.0)
        elif field == "MaxByteRate":
            self._throttle = Throttle(float(value), self.around.clock.monotonic_ns()) if value else None
        elif field.startswith("NDAttributes"):
            self.attributes.read(str(self.chosen["NDAttributesFile"]), str(self.chosen["NDAttributesMacros"]))
            if self.attributes.message:
                log.warning("%s: %s", self.name, self.attributes.message)

    def _pair(self, field: str, value: Value) -> None:
        """Set a demand that follows from another one, with its read-back."""
        self.chosen[field] = value
        self.show({field: value})
        self._show_one(field, value)

    def _show_one(self, field: str, value: Value) -> None:
        readback = self._readbacks.get(field)
        if readback is not None:
            self.show({readback: value})
