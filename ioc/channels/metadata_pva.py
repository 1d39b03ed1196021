"""Metadata channels over pvAccess: scalars by a client of our own, everything else by p4p.

How it works: a number or text with a time stamp, wherever it is in the structure, is what most channels are; the client
of `pva_monitors` reads many of their updates in one pass. Arrays, enums, elements of arrays, and servers that it does
not understand are left to p4p (`metadata_p4p`), for good, with one line in the log.
"""

import logging

from ioc.channels.metadata_p4p import P4pSource, P4pSources, first_field
from ioc.channels.metadata_source import QUEUE_SIZE
from ioc.channels.pva_monitors import Monitor, Monitors
from ioc.channels.pva_wire_stamped import Wanted
from ioc.core.config_metadata import ChannelConfig
from ioc.core.metadata import Update

log = logging.getLogger(__name__)


class PvaSources:
    """All PVA channels of a process; implements SourceProvider."""

    def __init__(self) -> None:
        self._monitors = Monitors()
        self._others: P4pSources | None = None
        self._open: list[PvaSource] = []

    def open(self, config: ChannelConfig) -> "PvaSource":
        source = PvaSource(self, config, self._monitor(config))
        self._open.append(source)
        return source

    def filenos(self) -> list[int]:
        return self._monitors.filenos()

    def search(self) -> None:
        for source in self._open:
            source.search()
        if self._others is not None:
            self._others.search()

    def close(self) -> None:
        self._monitors.close()
        if self._others is not None:
            self._others.close()

    def updates_of(self, monitor: Monitor) -> list[Update]:
        """Return what has come for a monitor."""
        return self._monitors.updates_of(monitor)

    def search_for(self, monitor: Monitor) -> None:
        """Search at once for a channel that is not there."""
        self._monitors.search_now(monitor)

    def let_go(self, monitor: Monitor) -> None:
        """Close one monitor."""
        self._monitors.close_one(monitor)

    def other(self, config: ChannelConfig) -> P4pSource:
        """Return a channel by p4p."""
        if self._others is None:
            self._others = P4pSources()
        return self._others.open(config)

    def _monitor(self, config: ChannelConfig) -> Monitor | None:
        """Return a monitor by our own client; None if it is clear by the names of the fields that it cannot."""
        unique_id = config.id_field if config.match == "id" else None
        if "[" in config.field or (unique_id is not None and "[" in unique_id):
            return None
        wanted = Wanted(config.field, unique_id)
        fields = sorted({first_field(name) for name in wanted.names()})
        return self._monitors.open(config.name, wanted, fields, QUEUE_SIZE)


class PvaSource:
    """One PVA channel; implements MetadataSource. It has either a monitor of our own client or a source of p4p's."""

    def __init__(self, sources: PvaSources, config: ChannelConfig, monitor: Monitor | None) -> None:
        self._sources = sources
        self._config = config
        self._monitor = monitor
        self._other = sources.other(config) if monitor is None else None
        self.errors = 0
        self._counted = 0

    @property
    def connected(self) -> bool:
        """Whether updates can come."""
        if self._other is not None:
            return self._other.connected
        return self._monitor is not None and self._monitor.connected

    @property
    def last_error(self) -> str:
        """What went wrong last, empty: nothing."""
        if self._other is not None:
            return self._other.last_error
        refusal = self._monitor.refusal if self._monitor is not None else ""
        return f"pva://{self._config.name}: {refusal}" if refusal else ""

    @property
    def own(self) -> bool:
        """Whether our own client has this channel."""
        return self._monitor is not None

    def poll(self) -> list[Update]:
        if self._monitor is not None:
            found = self._sources.updates_of(self._monitor)
            if not self._monitor.foreign:
                return found
            return found + self._hand_over(self._monitor)
        if self._other is None:
            return []
        found = self._other.poll()
        self.errors += self._other.errors - self._counted
        self._counted = self._other.errors
        return found

    def search(self) -> None:
        """Search at once for a channel that is not there."""
        if self._monitor is not None:
            self._sources.search_for(self._monitor)

    def close(self) -> None:
        if self._monitor is not None:
            self._sources.let_go(self._monitor)
            self._monitor = None
        if self._other is not None:
            self._other.close()

    def _hand_over(self, monitor: Monitor) -> list[Update]:
        log.info("pva://%s: taken over by p4p: %s", monitor.name, monitor.foreign)
        self._sources.let_go(monitor)
        self._monitor = None
        self._other = self._sources.other(self._config)
        return self._other.poll()
