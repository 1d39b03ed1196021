"""Metadata channels over Channel Access, by caproto's client: pure Python, so it goes beside softioc in one process.

A CA server keeps a few updates of each channel and merges the rest when a client is slow; nothing on the wire says so.
"""

import logging
import threading
from collections import deque
from typing import Any

import numpy as np
from caproto.threading.client import Context

from ioc.channels.metadata_source import QUEUE_SIZE
from ioc.core.config_metadata import ChannelConfig
from ioc.core.errors import UserError, mismatch
from ioc.core.metadata import MetadataValue, Update

log = logging.getLogger(__name__)

TEXT = "utf-8"


class CaSources:
    """All CA channels of a process; implements SourceProvider."""

    def __init__(self) -> None:
        logging.getLogger("caproto").setLevel(logging.WARNING)
        self._context = Context()

    def open(self, config: ChannelConfig) -> "CaSource":
        return CaSource(self._context, config)

    def filenos(self) -> tuple[int, ...]:
        return ()

    def search(self) -> None:
        if self._context.broadcaster is not None:
            self._context.broadcaster.search_now()

    def close(self) -> None:
        self._context.disconnect()


class CaSource:
    """One CA channel; implements MetadataSource. caproto's thread puts updates in, whoever polls takes them out."""

    def __init__(self, context: Any, config: ChannelConfig) -> None:
        self.connected = False
        self.errors = 0
        self.last_error = ""
        self._name = config.name
        self._updates: deque[Update] = deque()
        self._guard = threading.Lock()
        (self._pv,) = context.get_pvs(config.name, connection_state_callback=self._state)
        self._subscription = self._pv.subscribe(data_type="time")
        self._subscription.add_callback(self._take)  # caproto keeps a weak reference: this object holds the method's

    def poll(self) -> list[Update]:
        with self._guard:
            found = list(self._updates)
            self._updates.clear()
        return found

    def close(self) -> None:
        self._subscription.clear()

    def _state(self, _pv: Any, state: str) -> None:
        self.connected = state == "connected"

    def _take(self, _subscription: Any, response: Any) -> None:
        try:
            update = Update(plain(response.data), round(response.metadata.timestamp * 1e9))
        except (UserError, AttributeError, TypeError, ValueError) as error:
            self.errors += 1
            self.last_error = f"ca://{self._name}: an update cannot be used: {error}"
            return
        with self._guard:
            self._updates.append(update)
            if len(self._updates) > QUEUE_SIZE:
                self._updates.popleft()
                self.errors += 1
                self.last_error = f"ca://{self._name}: {QUEUE_SIZE} updates waited, the oldest was dropped"


def plain(data: Any) -> MetadataValue:
    """Return the data of a channel: one number or text as such, several numbers as an array.

    Raises:
        UserError: there is nothing, or it is no numbers.
    """
    if len(data) == 0:
        raise UserError(mismatch("value", "at least one element", "none"))
    if len(data) > 1:
        array = np.asarray(data)
        if array.dtype.kind not in "biuf":
            raise UserError(mismatch("value", "numbers or one text", array.dtype))
        return array
    (one,) = data
    if isinstance(one, bytes):
        return one.decode(TEXT, errors="replace")
    return one.item() if isinstance(one, np.generic) else one
