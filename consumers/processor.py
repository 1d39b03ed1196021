"""The public plug-in API: what a processor is, and how it declares its settings and statistics.

    configure(settings) -> start(context) -> process(frame, metadata) ... flush() at each end of a series -> stop()
         ^-- again at any time between frames, when an operator changes a setting

Everything is called from one thread, never two methods at a time. A processor is a few lines:

    class Threshold(Processor):
        declared_settings = (Setting("Level", 10.0, unit="counts", low=0, description="Pixels above are hits"),)
        declared_statistics = (Statistic("Hits", int, description="Pixels above Level"),)

        def process(self, frame, metadata):
            self.report(Hits=int((frame.data > self.settings["Level"]).sum()))
            return frame

The names of settings and statistics become parts of PV names. Settings are checked against their declarations before
`configure` sees them; a processor does not check types and limits again.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from consumers.batch import Batch
from ioc.core.errors import RefusedError, UserError, mismatch
from ioc.core.frame import Frame
from ioc.core.metadata import MetadataValue

Value = bool | int | float | str
Type = type[bool] | type[int] | type[float] | type[str]
Output = Frame | list[Frame] | None
Metadata = Mapping[str, MetadataValue]
"""What was associated with a frame from other channels, by name; empty if nothing is. What the framework gives is
`ioc.core.metadata.Metadata`, whose `quality` says by name how each value was found."""

LONGEST_NAME = 20
"""Characters of a setting's or statistic's name: the rest of the 60 of a PV name is prefix and consumer."""
LONGEST_UNIT = 15
"""Characters of the EGU field of an EPICS record."""
LONGEST_DESCRIPTION = 40
"""Characters of the DESC field of an EPICS record."""
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9]{{0,{LONGEST_NAME - 1}}}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a processor; its type (bool, int, float or str) is that of its default.

    `low` and `high` are limits of numbers, both included, in `unit`; None leaves that end open. `choices` are all
    values that a str may have; empty: any. A wrong declaration is a ValueError.
    """

    name: str
    default: Value
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        _check_declaration(self)
        if self.choices and self.type is not str:
            raise ValueError(mismatch(f"setting {self.name}", "choices only with a str default", self.default))
        try:
            self.checked(self.default)
        except RefusedError as error:
            raise ValueError(f"default of {error}") from None

    @property
    def type(self) -> Type:
        """Return the type of the values."""
        return type(self.default)

    def checked(self, value: object) -> Value:
        """Return `value` as this setting's type; a whole number is good for a float, nothing else is converted.

        Raises:
            RefusedError: wrong type, out of limits, not finite or none of the choices.
        """
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type or not isinstance(value, bool | int | float | str):
            raise RefusedError(mismatch(f"setting {self.name}", f"{self.type.__name__}, {self._allowed()}", value))
        if not self._holds(value):
            raise RefusedError(mismatch(f"setting {self.name}", self._allowed(), value))
        return value

    def _holds(self, value: Value) -> bool:
        if isinstance(value, str):
            return not self.choices or value in self.choices
        return _within(value, self.low, self.high)

    def _allowed(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is None and self.high is None:
            return "any finite value" if self.type in (int, float) else "any value"
        low = "" if self.low is None else f"at least {self.low:g}"
        high = "" if self.high is None else f"at most {self.high:g}"
        return f"{' and '.join(filter(None, (low, high)))} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Statistic:
    """One value that a processor reports; `low` and `high` are what displays show, in `unit`."""

    name: str
    type: Type = float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    description: str = ""

    def __post_init__(self) -> None:
        _check_declaration(self)


@dataclass(frozen=True, slots=True)
class Context:
    """Where a processor runs: as member `member` (from 0) of `members` in `group`, in the consumer `name`.

    `folder` is a folder of this consumer to write to. `channels` are the PVs of the metadata that comes with the
    frames, by their names in `metadata`.
    """

    name: str
    group: str
    member: int
    members: int
    folder: Path
    channels: Mapping[str, str] = field(default_factory=dict)


class Processor:
    """Base of every processor: override `process`, or `process_batch`, and what else is needed."""

    declared_settings: ClassVar[tuple[Setting, ...]] = ()
    declared_statistics: ClassVar[tuple[Statistic, ...]] = ()
    batch_size: int = 1
    """Frames that `process_batch` is given at a time; 1: `process` is called with each frame. May be set in
    `configure`, where only the first one counts: the queue is made for it."""
    batch_timeout: float | None = None
    """s after which a batch that is not full is processed; None: it waits for more frames or the end of the series."""

    settings: Mapping[str, Value]
    _reported: dict[str, Value]

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Set the defaults here, so that a user's `__init__` need not call this class's."""
        processor = super().__new__(cls)
        processor.settings = {one.name: one.default for one in cls.declared_settings}
        processor._reported = {}
        return processor

    def __init__(self) -> None:
        """Make a processor; it takes no arguments, what varies is a setting."""

    def configure(self, settings: Mapping[str, Value]) -> None:
        """Take all declared settings, checked; before `start`, and again whenever one of them is changed.

        Raises:
            RefusedError: the settings do not go together; the processor goes on with those it had.
        """
        self.settings = settings

    def start(self, context: Context) -> None:
        """Load models, open files: what takes long or may fail, before the first frame."""

    def process(self, frame: Frame, metadata: Metadata) -> Output:
        """Return the frames to publish, in order.

        `frame.data` is a read-only view of shared memory that is used again afterwards: a processor that keeps it
        copies it. Returning the frame, or one with a view of its data, is fine. Whatever is raised counts the frame as
        failed. The default makes a batch of one.
        """
        if type(self).process_batch is Processor.process_batch:
            raise NotImplementedError(f"{type(self).__qualname__} overrides neither process nor process_batch")
        return self.process_batch(Batch([frame]), [metadata])

    def process_batch(self, frames: Batch, metadata: Sequence[Metadata]) -> Output:
        """Return the frames to publish for 1 to `batch_size` frames of one series; `metadata` has an entry a frame.

        `frames.array` are their pixels as one array `[n, y, x]`, without a copy where they lie so. The default gives
        the frames to `process` one by one. Whatever is raised counts the whole batch as failed.
        """
        outputs: list[Frame] = []
        for frame, entry in zip(frames, metadata, strict=True):
            outputs += frames_of(self.process(frame, entry))
        return outputs

    def flush(self) -> Output:
        """Return what is still to be published at the end of a series."""
        return None

    def stop(self) -> None:
        """Let go of what `start` took; the last call."""

    def statistics(self) -> dict[str, Value]:
        """Return the present statistics by name, cheaply: it is called ten times a second, between frames."""
        return dict(self._reported)

    def reset(self) -> None:
        """Begin the statistics anew, between frames; the default forgets what was reported."""
        self._reported = {}

    def report(self, **values: Value) -> None:
        """Set statistics that `statistics` returns from now on."""
        self._reported.update(values)


def frames_of(output: Output) -> list[Frame]:
    """Return what a processor returned as a list of frames.

    Raises:
        UserError: it returned something else.
    """
    if output is None:
        return []
    if isinstance(output, Frame):
        return [output]
    if isinstance(output, list) and all(isinstance(one, Frame) for one in output):
        return output
    raise UserError(mismatch("result of process", "a Frame, a list of Frames or None", type(output).__name__))


def checked_settings(
    declared: Sequence[Setting], given: Mapping[str, object], present: Mapping[str, Value] | None = None
) -> dict[str, Value]:
    """Return all declared settings: those `given`, else those `present`, else the defaults.

    Raises:
        RefusedError: every unknown name, wrong type and value out of limits, one a line.
    """
    known = {one.name: one for one in declared}
    settings = {one.name: one.default for one in declared} | dict(present or {})
    faults: list[str] = []
    for name, value in given.items():
        if name not in known:
            faults.append(mismatch("settings", _one_of(known), name))
            continue
        try:
            settings[name] = known[name].checked(value)
        except RefusedError as error:
            faults.append(str(error))
    if faults:
        raise RefusedError("\n".join(faults))
    return settings


def checked_statistics(declared: Sequence[Statistic], reported: Mapping[str, object]) -> dict[str, Value]:
    """Return reported statistics as plain Python values of their declared types; NumPy scalars are converted.

    Raises:
        UserError: a name that is not declared, or a value that is not of its type.
    """
    types = {one.name: one.type for one in declared}
    values: dict[str, Value] = {}
    for name, value in reported.items():
        if name not in types:
            raise UserError(mismatch("statistics", _one_of(types), name))
        plain = value.item() if isinstance(value, np.generic) else value
        if types[name] is float and type(plain) is int:
            plain = float(plain)
        if type(plain) is not types[name] or not isinstance(plain, bool | int | float | str):
            raise UserError(mismatch(f"statistic {name}", types[name].__name__, value))
        values[name] = plain
    return values


def _one_of(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"one of {listed}" if listed else "none at all"


def _within(value: float, low: float | None, high: float | None) -> bool:
    return math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)


def _check_declaration(one: Setting | Statistic) -> None:
    """Refuse what cannot become a record.

    Raises:
        ValueError: the author of the processor has to change the declaration.
    """
    if not _NAME.fullmatch(one.name):
        raise ValueError(mismatch("name", f"a letter, then letters and digits, at most {LONGEST_NAME}", one.name))
    if one.type not in (bool, int, float, str):
        raise ValueError(mismatch(one.name, "the type bool, int, float or str", one.type.__name__))
    if len(one.unit) > LONGEST_UNIT:
        raise ValueError(mismatch(f"unit of {one.name}", f"at most {LONGEST_UNIT} characters", one.unit))
    if len(one.description) > LONGEST_DESCRIPTION:
        limit = f"at most {LONGEST_DESCRIPTION} characters"
        raise ValueError(mismatch(f"description of {one.name}", limit, one.description))
    if one.type not in (int, float) and (one.low is not None or one.high is not None):
        raise ValueError(mismatch(one.name, "limits only for numbers", one.type.__name__))
    if one.low is not None and one.high is not None and one.low > one.high:
        raise ValueError(mismatch(f"limits of {one.name}", "low <= high", (one.low, one.high)))
