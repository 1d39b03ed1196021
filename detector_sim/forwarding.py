"""Controls of a mirror that are handed to the detector behind: puts go there, and its read-backs are shown here.

Rules: only what `forward_controls` names is forwarded. A put is complete when the detector behind says so; what it
refuses is refused here. A forwarded `Acquire` makes one series here: it is begun first, and ends when the detector
behind has finished and no frame has come for `QUIET_SECONDS` in which its channel was connected. `Acquire_RBV` tells
whether frames are taken here. While a read-back of the detector behind is not known, ours shows what it showed last.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from detector_sim.records import camera_records
from ioc.channels.pva_controls import ControlClient
from ioc.channels.pva_scalars import ScalarMonitors
from ioc.core.camera_config import SourceConfig
from ioc.core.errors import ConfigError, mismatch
from ioc.records.table import Access, Record, Value

log = logging.getLogger(__name__)

PUT_SECONDS = 10.0
QUIET_SECONDS = 2.0
LISTEN_SECONDS = 10.0
"""Longest wait for the channel to be connected, before the detector behind is started, and again behind its end."""
LOOK_SECONDS = 0.1
MOST_AT_A_TIME = 8
CAMERA = "cam1:"
ACQUIRE = "Acquire"
DEMANDS = (Access.PAIR, Access.WRITE, Access.BUSY)


class Forwarding:
    """The controls that are forwarded; `published` returns how many frames were taken so far.

    `listening` returns whether frames can come: the channel is connected.
    """

    def __init__(self, source: SourceConfig, published: Callable[[], int], listening: Callable[[], bool]) -> None:
        """Begin to monitor the read-backs.

        Raises:
            ConfigError: a control that is to be forwarded is none.
        """
        known = {record.name: record for record in camera_records() if record.access in DEMANDS}
        for field in source.forward_controls:
            if CAMERA + field not in known:
                expected = f"controls of {CAMERA}, such as AcquireTime"
                raise ConfigError(mismatch("detector.source.forward_controls", expected, field))
        self._records = {field: known[CAMERA + field] for field in source.forward_controls}
        self._prefix = source.controls_prefix
        self._published = published
        self._listening = listening
        self._client = ControlClient()
        shown = [field for field in self._records if field != ACQUIRE and known[CAMERA + field].access is Access.PAIR]
        self._monitors = ScalarMonitors(f"{self._prefix}{field}_RBV" for field in shown)
        self._shown = shown
        self._last: dict[str, Value] = {}
        self._workers = ThreadPoolExecutor(MOST_AT_A_TIME, thread_name_prefix="forwarding")

    def takes(self, name: str) -> bool:
        """Return whether a record, for example `cam1:AcquireTime`, is forwarded."""
        return name.removeprefix(CAMERA) in self._records

    def put(self, name: str, value: Value, here: Callable[[Value], Future | None]) -> Future:
        """Hand a put over; `here` carries out a put to our own Acquire."""
        field = name.removeprefix(CAMERA)
        if field == ACQUIRE and value:
            return self._workers.submit(self._acquire, here)
        return self._workers.submit(self._client.put, self._prefix + field, value, PUT_SECONDS)

    def shown(self) -> dict[str, Value]:
        """Return the read-backs of the detector behind, by our records."""
        values = self._monitors.values()
        for field in self._shown:
            value = values.get(f"{self._prefix}{field}_RBV")
            if value is not None and _fits(self._records[field], value):
                self._last[f"{CAMERA}{field}_RBV"] = value
        return dict(self._last)

    def figures(self) -> dict[str, float | int | str]:
        """Return what is worth showing: how many of the read-backs are known."""
        return {"ControlsForwarded": len(self._records), "ControlsKnown": len(self._monitors.values())}

    def close(self) -> None:
        """Give up what waits."""
        self._client.close()
        self._workers.shutdown(wait=True, cancel_futures=True)
        self._monitors.close()

    def _acquire(self, here: Callable[[Value], Future | None]) -> None:
        here(True)
        try:
            self._wait_until_listening()
            self._client.put(self._prefix + ACQUIRE, 1, None)
            self._wait_until_quiet()
        finally:
            ended = here(False)
            if ended is not None:
                ended.result(PUT_SECONDS)

    def _wait_until_listening(self) -> None:
        limit = time.monotonic() + LISTEN_SECONDS
        while not self._listening() and time.monotonic() < limit:
            time.sleep(LOOK_SECONDS)  # a channel that has no image yet may say nothing

    def _wait_until_quiet(self) -> None:
        count, since = self._published(), time.monotonic()
        limit = since + LISTEN_SECONDS
        while time.monotonic() - since < QUIET_SECONDS:
            time.sleep(LOOK_SECONDS)  # a silence is not an event
            now = self._published()
            if now != count or (not self._listening() and time.monotonic() < limit):
                count, since = now, time.monotonic()


def _fits(record: Record, value: Value) -> bool:
    return not record.choices or value in record.choices or isinstance(value, bool)


def forwarding_of(
    source: SourceConfig, published: Callable[[], int], listening: Callable[[], bool]
) -> Forwarding | None:
    """Return what forwards controls, None if none are to be.

    Raises:
        ConfigError: a control that is to be forwarded is none.
    """
    return Forwarding(source, published, listening) if source.forward_controls else None
