"""The metadata of a consumer: frames wait here for the values of its channels, between the receiver and the processor.

How it works: the worker's thread polls the channels and hands frames through; the thread that samples the status polls,
too, so that no queue overflows while the processor takes long. Values are taken over under one lock.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ioc.channels.metadata_source import MetadataSource, SourceProvider
from ioc.core.association import Association, Settled, Waiting
from ioc.core.config_metadata import ChannelConfig, MetadataConfig
from ioc.core.errors import RefusedError, mismatch
from ioc.core.frame import Frame, Item
from ioc.core.metadata import Update
from ioc.core.rate import RateMeter
from ioc.core.sequence import Ranges
from ioc.records.table import Value

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.001
"""s between two looks at the channels, while frames come."""
SEARCH_SECONDS = (1.0, 8.0)
"""s after which a channel that is not there is searched for anew: at first, and at most; in between ever longer."""
MOST_UPDATES = 65_536
"""Updates of a channel that may wait for the worker."""
SHOWN_RANGES = 16


@dataclass(slots=True)
class _Channel:
    """One channel: its source, the updates that the worker has not taken yet, and how fast they come."""

    config: ChannelConfig
    source: MetadataSource
    updates: list[Update] = field(default_factory=list)
    received: int = 0
    rate: RateMeter = field(default_factory=RateMeter)


class MetadataStage:
    """All channels of one consumer and the frames that wait for them. Make it with its providers, by protocol."""

    def __init__(self, config: MetadataConfig, providers: Mapping[str, Callable[[], SourceProvider]]) -> None:
        self._config = config
        self._providers: dict[str, SourceProvider] = {}
        self._guard = threading.Lock()
        self._channels: dict[str, _Channel] = {}
        self._pause = SEARCH_SECONDS[0]
        self._search_at = time.monotonic() + self._pause
        self._closed = False
        self._poll_at = 0
        for name, channel in config.channels.items():
            provider = self._providers.get(channel.protocol)
            if provider is None:
                provider = self._providers[channel.protocol] = providers[channel.protocol]()
            self._channels[name] = _Channel(channel, provider.open(channel))
        streams = {name: channel.stream() for name, channel in config.channels.items()}
        self.association = Association(streams, Waiting(config.most_waiting, config.waiting_bytes))

    @property
    def waiting(self) -> int:
        """Frames and ends of series that wait."""
        return self.association.waiting

    def filenos(self) -> list[int]:
        """Return descriptors that are readable when there may be a value for a frame that waits."""
        if not self.waiting or self._closed:
            return []
        return [number for provider in self._providers.values() for number in provider.filenos()]

    def through(self, items: Sequence[Item], patient: bool = True) -> list[Settled]:
        """Take items, and return those that go on, in order, each with its metadata; all of them unless `patient`."""
        association = self.association
        now = time.monotonic_ns()
        for item in items:
            association.offer(item, now)
        if not items or now >= self._poll_at or not patient:
            self.poll()
            self._poll_at = now + round(LOOK_SECONDS * 1e9)
        for name, channel in self._channels.items():
            association.connected[name] = channel.source.connected
            if channel.updates:
                association.take(name, self._taken(channel), now)
        settled = list(association.settled(now, patient))
        if self._config.attributes:
            for one in settled:
                if isinstance(one.item, Frame):
                    one.item.attributes = {**one.item.attributes, **one.metadata.attributes()}
        return settled

    def poll(self) -> None:
        """Take over what has come; any thread may call."""
        with self._guard:
            if self._closed:
                return
            for channel in self._channels.values():
                found = channel.source.poll()
                if found:
                    channel.received += len(found)
                    channel.updates += found
                    surplus = len(channel.updates) - MOST_UPDATES
                    if surplus > 0:
                        del channel.updates[:surplus]
                        channel.source.errors += surplus
            self._search_if_due()

    def change(self, name: str, key: str, value: float) -> None:
        """Change the window or the wait of a channel (s), from the next frame on; in the worker's thread.

        Raises:
            RefusedError: there is no such thing to change.
        """
        stream = self.association.streams.get(name)
        if stream is None or key not in ("Window", "Wait", "Offset"):
            raise RefusedError(mismatch(f"Meta:{name}:{key}", "Window, Wait or Offset of a channel", key))
        nanoseconds = round(value * 1e9)
        if key == "Offset":
            stream.offset.fix(nanoseconds)
        elif key == "Window":
            stream.rule = replace(stream.rule, window_ns=nanoseconds)
        else:
            stream.rule = replace(stream.rule, wait_ns=nanoseconds)

    def values(self) -> dict[str, Value]:
        """Return what the records show, by name behind `Meta:`."""
        self.poll()
        counts, now = self.association.counts, time.monotonic_ns()
        shown: dict[str, Value] = {
            "Channels": ", ".join(self._channels),
            "Waiting": self.association.frames,
            "Complete": counts.complete,
            "Unmatched": counts.unmatched,
            "Unwanted": counts.unwanted,
            "UnmatchedIds": _ranges(counts.unmatched_ids),
        }
        for name, channel in self._channels.items():
            shown |= {f"{name}:{key}": value for key, value in self._channel_values(name, channel, now).items()}
        return shown

    def demands(self) -> dict[str, Value]:
        """Return what can be changed, as it is now, by name behind `Meta:`."""
        found: dict[str, Value] = {}
        for name, stream in self.association.streams.items():
            found[f"{name}:Window"] = (stream.rule.window_ns or 0) / 1e9
            found[f"{name}:Wait"] = stream.rule.wait_ns / 1e9
            found[f"{name}:Offset"] = stream.offset.ns / 1e9
        return found

    def figures(self) -> dict[str, float | int | str]:
        """Return what the status tells."""
        counts = self.association.counts
        found: dict[str, float | int | str] = {
            "MetaComplete": counts.complete,
            "MetaUnmatched": counts.unmatched,
            "MetaUnmatchedIds": _ranges(counts.unmatched_ids),
        }
        for name, stream in self.association.streams.items():
            one = stream.counts
            found |= {
                f"Meta:{name}:Connected": int(self._channels[name].source.connected),
                f"Meta:{name}:Matched": one.matched,
                f"Meta:{name}:Unmatched": one.unmatched,
                f"Meta:{name}:Unused": one.unused,
                f"Meta:{name}:Offset": stream.offset.estimate_ns / 1e9,
            }
        return found

    @property
    def last_error(self) -> str:
        """What went wrong with a channel last, empty: nothing."""
        return next((one.source.last_error for one in self._channels.values() if one.source.last_error), "")

    def close(self) -> None:
        """Let go of the channels."""
        with self._guard:
            self._closed = True
        for channel in self._channels.values():
            channel.source.close()
        for provider in self._providers.values():
            provider.close()

    def _search_if_due(self) -> None:
        now = time.monotonic()
        if now < self._search_at:
            return
        lacking = {one.config.protocol for one in self._channels.values() if not one.source.connected}
        for protocol in lacking:
            self._providers[protocol].search()
        # a connection may take its time, and must not be begun anew for ever before it is made
        self._pause = min(2 * self._pause, SEARCH_SECONDS[1]) if lacking else SEARCH_SECONDS[0]
        self._search_at = now + self._pause

    def _taken(self, channel: _Channel) -> list[Update]:
        with self._guard:
            taken, channel.updates = channel.updates, []
        return taken

    def _channel_values(self, name: str, channel: _Channel, now_ns: int) -> dict[str, Value]:
        stream = self.association.streams[name]
        counts, offset = stream.counts, stream.offset
        return {
            "Connected": "yes" if channel.source.connected else "no",
            "Rate": channel.rate.update(channel.received, now_ns),
            "Received": channel.received,
            "Matched": counts.matched,
            "Unmatched": counts.unmatched,
            "Late": counts.late,
            "Duplicates": counts.duplicates,
            "Unused": counts.unused,
            "UnusedValues": _ranges(counts.unused_values),
            "Errors": channel.source.errors,
            "ClockOffset": offset.estimate_ns / 1e9,
            "Jitter": offset.jitter_ns / 1e9,
            "Locked": offset.locked,
        }


def open_stage(config: MetadataConfig, prefix: str) -> MetadataStage | None:
    """Return the stage for a group's channels, None if it has none; `prefix` is that of the appliance."""
    if not config.channels:
        return None
    channels = {name: channel.under(prefix) for name, channel in config.channels.items()}
    return MetadataStage(config.model_copy(update={"channels": channels}), {"pva": _pva, "ca": _ca})


def _pva() -> SourceProvider:
    from ioc.channels.metadata_pva import PvaSources

    return PvaSources()


def _ca() -> SourceProvider:
    from ioc.channels.metadata_ca import CaSources  # caproto takes a moment to import

    return CaSources()


def _ranges(ranges: Ranges) -> str:
    """Return the newest ranges as text."""
    listed = list(ranges)[-SHOWN_RANGES:]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in listed)
