"""`CB1:`, areaDetector's NDPluginCircularBuff: keeps the newest frames, and puts them out when a trigger comes.

    idle --Capture=1--> filling --trigger--> flushing --PostCount frames--> filling, or idle after PresetTriggerCount

Rules (ADCore, NDPluginCircularBuff.cpp): while filling, the newest PreCount frames are kept. A trigger is a put of
Trigger, or TriggerCalc being neither 0 nor undefined for a frame; then what is kept is put out, oldest first, then
that frame and those behind it, PostCount together. TriggerCalc is an expression of EPICS's calc records of A and B,
the values of the attributes named by TriggerA and TriggerB, C PreCount, D PostCount, E the frames kept, F whether it is
triggered. A put-callback on Capture or Trigger completes when that is over.
"""

import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from consumers.plugins.plugin import Outputs, Plugin, Surroundings
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import Attribute, Frame
from ioc.records.areadetector import MINOR_WHEN_ON, PATH_SIZE
from ioc.records.calc import Calc
from ioc.records.table import Access, Kind, Limits, Record, Value

PAIR, SHOWN, INT, STRING, FLOAT = Access.PAIR, Access.SHOWN, Kind.INT, Kind.STRING, Kind.FLOAT
FILLING, WRAPPING, DROPPING = "Buffer filling", "Buffer Wrapping", "Dropping frames"
COUNT = Limits(0, 65536)
NEVER = "0"
"""The expression that triggers never."""
BUFFER_RECORDS = (
    Record(
        "Capture",
        Kind.BOOL,
        "Start and stop to keep frames",
        Access.BUSY,
        choices=("Done", "Capture"),
        shown=("Done", "Capturing"),
        severities=MINOR_WHEN_ON,
    ),
    Record(
        "Trigger",
        Kind.BOOL,
        "Trigger by hand",
        Access.BUSY,
        choices=("Done", "Trigger"),
        shown=("Done", "Triggered"),
        severities=MINOR_WHEN_ON,
    ),
    Record("StatusMessage", STRING, "What it is doing", SHOWN, initial="Idle"),
    Record("TriggerA", STRING, "Attribute that is A of TriggerCalc", PAIR),
    Record("TriggerB", STRING, "Attribute that is B of TriggerCalc", PAIR),
    Record("TriggerAVal", FLOAT, "Value of A", SHOWN),
    Record("TriggerBVal", FLOAT, "Value of B", SHOWN),
    Record("TriggerCalc", STRING, "Triggers when it is not 0", PAIR, size=PATH_SIZE, initial=NEVER),
    Record("TriggerCalcVal", FLOAT, "Value of TriggerCalc", SHOWN),
    Record("PreCount", INT, "Frames to keep before a trigger", PAIR, "frame", accepted=COUNT, initial=100),
    Record("PostCount", INT, "Frames to put out from a trigger on", PAIR, "frame", accepted=COUNT, initial=100),
    Record("CurrentQty", INT, "Frames that are kept", unit="frame"),
    Record("PostTriggerQty", INT, "Frames put out since the trigger", unit="frame"),
    Record("PresetTriggerCount", INT, "Triggers to wait for, 0: until stopped", PAIR, accepted=Limits(0), initial=1),
    Record("ActualTriggerCount", INT, "Triggers that came"),
    Record(
        "FlushOnSoftTrg", Kind.BOOL, "When Trigger puts out what is kept", PAIR, choices=("OnNewImage", "Immediately")
    ),
)


class CircularBuffer(Plugin):
    """Puts out the frames around a trigger."""

    kind = "NDPluginCircularBuff"

    def __init__(self, name: str, table: Sequence[Record], around: Surroundings) -> None:
        super().__init__(name, table, around)
        self._ring: deque[Frame] = deque()
        self._calc = Calc(NEVER)
        self._capturing = self._triggered = self._flushed = False
        self._after = self._triggers = 0
        self._found: dict[str, Value] = {}
        self._status = "Idle"
        self._waiting: dict[str, list[Future[None]]] = {"Capture": [], "Trigger": []}

    def work(self, frame: Frame) -> Outputs:
        if not self._capturing:
            return ()
        if not self._triggered:
            self._triggered = self._is_trigger(frame)
        if not self._triggered:
            self._keep(frame)
            return ()
        outputs = [*self._flush(), frame]
        self._status = "Flushing"
        self._flushed = True
        self._after += 1
        if self._after >= int(self.chosen["PostCount"]):
            self._over()
        return outputs

    def put(self, field: str, value: Value) -> "Future[Any] | None":
        if field not in self._waiting or not value:
            return super().put(field, value)
        ended: Future[None] = Future()
        begun = self.lane.submit(partial(self._begin, field, ended))
        begun.add_done_callback(partial(_pass_failure, ended))
        return ended

    def accept(self, field: str, value: Value) -> Outputs:
        if field == "Capture":
            self._begin_capture() if value else self._stop("Acquisition Stopped")
        elif field == "Trigger":
            return self._trigger() if value else self._disarm()
        elif field == "TriggerCalc":
            self._calc = Calc(str(value).strip() or NEVER)
            super().accept(field, self._calc.expression)
        elif field == "PreCount" and self._capturing:
            raise RefusedError("PreCount: Stop acquisition to set pre-count")
        else:
            return super().accept(field, value)
        return ()

    def values(self) -> dict[str, Value]:
        return {
            **super().values(),
            **self._found,
            "StatusMessage": self._status,
            "CurrentQty_RBV": len(self._ring),
            "PostTriggerQty_RBV": self._after,
            "ActualTriggerCount_RBV": self._triggers,
            "Trigger_RBV": self._triggered,
        }

    def close(self) -> None:
        super().close()
        for field in self._waiting:
            self._end(field)

    def _begin(self, field: str, ended: "Future[None]") -> None:
        """Begin to capture, or trigger; `ended` is done when that is over."""
        with self.guard:
            self._waiting[field].append(ended)
            try:
                outputs = self.accept(field, True)
            except RefusedError:
                self._waiting[field].remove(ended)
                raise
        for output in outputs:
            self.put_out(output)

    def _begin_capture(self) -> None:
        self._ring = deque(maxlen=int(self.chosen["PreCount"]))
        self._triggered = self._flushed = False
        self._after = self._triggers = 0
        self._status = FILLING if self.chosen["PreCount"] else DROPPING
        self._capturing = True
        self.show(self.values())
        self.show({"Capture_RBV": True})

    def _trigger(self) -> Outputs:
        if not self._capturing:
            raise RefusedError(mismatch("Trigger", "Capture_RBV Capturing", "Done", "put 1 to Capture before"))
        self._triggered = True
        outputs = self._flush() if self.chosen["FlushOnSoftTrg"] else ()
        self.show(self.values())
        return outputs

    def _disarm(self) -> Outputs:
        """Take a trigger back that no frame has come for."""
        if not self._flushed:
            self._triggered = False
        self.show(self.values())
        self._end("Trigger")
        return ()

    def _keep(self, frame: Frame) -> None:
        self._ring.append(frame)
        if len(self._ring) == self._ring.maxlen:
            self._status = WRAPPING if self._ring else DROPPING

    def _flush(self) -> Outputs:
        kept = tuple(self._ring)
        self._ring.clear()
        return kept

    def _over(self) -> None:
        """Book a trigger; wait for the next one, or end."""
        self._triggers += 1
        preset = int(self.chosen["PresetTriggerCount"])
        if preset and self._triggers >= preset:
            self._stop("Acquisition Completed")
            return
        self._triggered = self._flushed = False
        self._after = 0
        self._status = FILLING if self.chosen["PreCount"] else DROPPING
        self._end("Trigger")

    def _stop(self, status: str) -> None:
        self._capturing = self._triggered = self._flushed = False
        self._ring.clear()
        self._status = status
        self.show(self.values())
        self.show({"Capture_RBV": False})
        for field in self._waiting:
            self._end(field)

    def _end(self, field: str) -> None:
        waiting, self._waiting[field] = self._waiting[field], []
        for future in waiting:
            future.set_result(None)

    def _is_trigger(self, frame: Frame) -> bool:
        a, b = (_number(frame.attributes.get(str(self.chosen[name]))) for name in ("TriggerA", "TriggerB"))
        chosen = self.chosen
        counts = (float(chosen["PreCount"]), float(chosen["PostCount"]), float(len(self._ring)), 0.0)
        value = self._calc.of((a, b, *counts))
        found = math.nan if value is None else value
        self._found = {"TriggerAVal": a, "TriggerBVal": b, "TriggerCalcVal": found}
        return math.isfinite(found) and found != 0


def _number(value: Attribute | None) -> float:
    """Return an attribute's value as a number; NaN if it is none."""
    try:
        return math.nan if value is None else float(value)
    except ValueError:
        return math.nan


def _pass_failure(ended: "Future[None]", begun: "Future[Any]") -> None:
    if begun.cancelled():
        ended.cancel()
        return
    error = begun.exception()
    if error is not None and not ended.done():
        ended.set_exception(error)
