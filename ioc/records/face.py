"""The face of a process: its records, its status structure and its image channels, if it has any."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ioc.channels.images import Images
from ioc.channels.pva import PvaServer
from ioc.core.status import ProcessSpec, Status
from ioc.records.image_rules import ImageRules
from ioc.records.server import RecordServer
from ioc.records.status import StatusChannels
from ioc.records.table import Value


class Face:
    """What the outside sees of process `spec.name`: `$(P)NAME:...`. Start `records`, then `serve`, `tell`, `close`."""

    def __init__(
        self, spec: ProcessSpec, records: RecordServer, images: Images | None = None, providers: Sequence[Any] = ()
    ) -> None:
        """Make it; `providers` are what p4p's server of the process serves besides."""
        self.records = records
        self._name = spec.name
        self._images = images
        self._status_name = f"{spec.config.prefix}{spec.name}:Status"
        self._channels = StatusChannels([self._status_name], images.visits if images is not None else None)
        beside = images.providers if images is not None else ()
        self._pva = PvaServer([*beside, self._channels.provider, *providers])
        self._begun = time.monotonic()

    @property
    def uptime(self) -> float:
        """s since the process was made."""
        return time.monotonic() - self._begun

    def serve(self) -> None:
        """Serve images, to those whom the access rules let read, and the status; once the records are there."""
        if self._images is not None:
            self._images.guard(ImageRules(self.records))
            self._images.start()
        self._pva.start()

    def tell(self, status: Status, values: Mapping[str, Value]) -> None:
        """Show a status, and read-backs by their names without process and `_RBV`; any thread may call."""
        common: dict[str, Value] = {
            "State": status.state.value,
            "Pid": status.pid,
            "Uptime": self.uptime,
            "LastError": status.last_error,
        }
        self.records.set_many({f"{self._name}:{name}_RBV": value for name, value in {**common, **values}.items()})
        self._channels.post(self._status_name, status)

    def close(self) -> None:
        """Serve status and images no more; the records stay until the process ends."""
        self._pva.stop()
        if self._images is not None:
            self._images.close()
