"""What a consumer shows of the frames that killed it twice: how many are kept, which, and the newest as an image."""

import logging
from pathlib import Path

from ioc.channels.base import ImageLink
from ioc.channels.memory_book import MemoryBook
from ioc.core.errors import ProtocolError
from ioc.core.quarantine import parse
from ioc.supervisor.quarantine import ENDING

log = logging.getLogger(__name__)

SHOWN_IDS = 8


class Quarantined:
    """Looks into the folder of frames that were set aside; used by the thread that takes the samples."""

    def __init__(self, folder: Path, name: str, channel: ImageLink, memory: MemoryBook) -> None:
        """Show those of the process `name`, the newest on `channel`; its copy is booked in `memory`."""
        self.count = 0
        self.ids = ""
        self.path = ""
        self._folder = folder
        self._name = name
        self._channel = channel
        self._memory = memory
        self._booked = 0
        self._seen_ns = 0

    def look(self) -> None:
        """Take notice of what has changed."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except OSError:
            return
        if changed == self._seen_ns:
            return
        found = sorted((path.stat().st_mtime_ns, path) for path in self._folder.glob(f"{self._name}_*{ENDING}"))
        self.count = len(found)
        names = (path.stem.split("_") for _, path in reversed(found[-SHOWN_IDS:]))
        self.ids = " ".join(f"{series}:{unique_id}" for _, series, unique_id in names)
        newest = str(found[-1][1]) if found else ""
        if newest and newest != self.path:
            self._show(Path(newest))
        self.path = newest
        self._seen_ns = changed

    def _show(self, path: Path) -> None:
        try:
            size = path.stat().st_size
            if not self._memory.take(size):
                log.warning("%s is not shown: there is no memory left for another image", path)
                return
            frame, _ = parse(path.read_bytes())
        except (OSError, ProtocolError) as error:
            log.warning("%s is not shown: %s", path, error)
            return
        self._memory.give(self._booked)
        self._booked = size
        self._channel.publish([frame])
