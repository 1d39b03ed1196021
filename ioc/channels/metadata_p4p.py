"""Metadata channels over pvAccess by p4p: monitors with a queue, taken from it by whoever polls.

How it works: p4p's raw subscription keeps updates in a queue of its own, in C++, so no thread of Python is woken for
each. The queue asked for at both ends is long. A server whose own queue overflows merges what it has not sent: then
frames go without, and say so. No `pipeline`: pvAccessCPP's database (PvaPy) answers it with values that nobody put.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from p4p import Value
from p4p.client.raw import Context, Disconnected, Finished, Subscription

from ioc.channels.metadata_source import QUEUE_SIZE
from ioc.core.config_metadata import ChannelConfig
from ioc.core.errors import UserError, mismatch
from ioc.core.metadata import MetadataValue, Update

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
_STEP = re.compile(r"([A-Za-z_]\w*)(?:\[(\d+)\])?")


class P4pSources:
    """All PVA channels of a process; implements SourceProvider."""

    def __init__(self) -> None:
        self._context = Context("pva", nt=False, useenv=True)
        self._open: list[P4pSource] = []

    def open(self, config: ChannelConfig) -> "P4pSource":
        source = P4pSource(self._context, config)
        self._open.append(source)
        return source

    def filenos(self) -> tuple[int, ...]:
        return ()

    def search(self) -> None:
        for source in self._open:
            source.begin_anew()

    def close(self) -> None:
        for source in self._open:
            source.close()
        self._context.close()


class P4pSource:
    """One PVA channel; implements MetadataSource."""

    def __init__(self, context: Context, config: ChannelConfig) -> None:
        self.connected = False
        self.errors = 0
        self.last_error = ""
        self._context = context
        self._name = config.name
        self._value = reader(config.field)
        self._id = reader(config.id_field) if config.match == "id" else None
        fields = {"timeStamp", first_field(config.field)} | ({first_field(config.id_field)} if self._id else set())
        self._request = f"record[queueSize={QUEUE_SIZE}]field({','.join(sorted(fields))})"
        self._subscription: Subscription | None = None
        self._retry_at = 0.0
        self._subscribe()

    def poll(self) -> list[Update]:
        found: list[Update] = []
        if self._subscription is None:
            if time.monotonic() < self._retry_at:
                return found
            self._subscribe()
        assert self._subscription is not None
        pop = super(Subscription, self._subscription).pop  # what Subscription adds costs as much as the rest
        while (popped := pop()) is not None:
            if isinstance(popped, Exception):
                self._broken(popped)
                if self._subscription is None:
                    break
                continue
            self.connected = True
            try:
                found.append(self._update(popped))
            except (KeyError, UserError, TypeError, ValueError, IndexError, AttributeError) as error:
                self._refuse(error)
        return found

    def begin_anew(self) -> None:
        """Search at once for a channel that is not there: for a new one p4p does, for an old one it takes pauses."""
        if self.connected or self._subscription is None:
            return
        self._subscription.close()
        self._context.disconnect(self._name)
        self._subscribe()

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
            self._retry_at = float("inf")

    def _subscribe(self) -> None:
        self._subscription = self._context.monitor(self._name, _nothing, request=self._request)

    def _update(self, value: Value) -> Update:
        stamp = value["timeStamp"]
        stamp_ns = stamp["secondsPastEpoch"] * 1_000_000_000 + stamp["nanoseconds"]
        unique_id = None if self._id is None else int(self._id(value))
        return Update(plain(self._value(value)), stamp_ns, unique_id)

    def _broken(self, error: Exception) -> None:
        """Take notice that the channel is gone; one that was refused is tried again after a while."""
        self.connected = False
        if isinstance(error, Disconnected):
            return
        if not isinstance(error, Finished):
            self.last_error = f"pva://{self._name}: {error}"
            log.warning("%s", self.last_error)
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def _refuse(self, error: Exception) -> None:
        self.errors += 1
        if not self.last_error:
            log.warning("pva://%s: an update cannot be used: %s: %s", self._name, type(error).__name__, error)
        self.last_error = f"pva://{self._name}: an update cannot be used: {type(error).__name__}: {error}"


def first_field(path: str) -> str:
    """Return the top-level field that a path begins with."""
    return path.partition(".")[0].partition("[")[0]


def reader(path: str) -> Callable[[Value], Any]:
    """Return a function that gets what lies at a path like `position.x` or `value[3]`; it raises what p4p raises."""
    steps: list[str | int] = []
    for part in path.split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            raise UserError(mismatch("field", "NAME.NAME[NUMBER]", path))
        steps.append(match[1])
        if match[2] is not None:
            steps.append(int(match[2]))
    if len(steps) == 1:
        only = steps[0]
        return lambda value: value[only]

    def read(value: Value) -> Any:
        found: Any = value
        for step in steps:
            found = found[step]
        return found

    return read


def plain(value: Any) -> MetadataValue:
    """Return a field of a structure as a value: an enum as the text of its choice, an array of numbers as NumPy has it.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(value, float | int | str):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise UserError(mismatch("value", "numbers", value.dtype))
        return value
    if isinstance(value, Value) and value.has("choices") and value.has("index"):
        index, choices = int(value["index"]), value["choices"]
        return str(choices[index]) if 0 <= index < len(choices) else index
    if isinstance(value, np.generic):
        return value.item()
    raise UserError(mismatch("value", "a number, a text, an enum or an array of numbers", type(value).__name__))


def _nothing() -> None:
    """Ignore that there is something: it is polled for."""
