"""How many members the groups of a chain are to have: a small file that the supervisor writes and every giver reads.

The groups that take the detector's frames have their records at the detector. A group further back has several givers,
each with a distributor of its own, so the supervisor holds its count.
"""

import json
import logging
from pathlib import Path

from ioc.core.config import Config
from ioc.core.config_group import MOST_MEMBERS
from ioc.core.errors import RefusedError, mismatch
from ioc.core.topology import DETECTOR
from ioc.supervisor.kept_file import write_whole

log = logging.getLogger(__name__)

FILE = "counts.json"


class Counts:
    """The counts by group; those that nobody has changed are the configuration's."""

    def __init__(self, config: Config, folder: Path) -> None:
        """Take what the file in `folder` says, if there is one."""
        self._config = config
        self._path = folder / FILE
        self._seen_ns = 0
        self._changed: dict[str, int] = {}
        self.look()

    @property
    def groups(self) -> list[str]:
        """Return the names of the groups of chains whose members are started here, in file order."""
        groups = self._config.groups.items()
        return [name for name, group in groups if group.input != DETECTOR and group.placement == "local"]

    def of(self, group: str) -> int:
        """Return how many members a group is to have."""
        return self._changed.get(group, self._config.groups[group].count)

    def set(self, group: str, count: int) -> None:
        """Have so many members from now on.

        Raises:
            RefusedError: a group never has so many, or there is no room to write it down.
        """
        if not 0 <= count <= MOST_MEMBERS:
            raise RefusedError(mismatch(f"members of group {group}", f"0 to {MOST_MEMBERS}", count))
        changed = {**self._changed, group: count}
        try:
            write_whole(self._path, json.dumps(changed))
        except OSError as error:
            where = f"members of group {group}: {self._path}"
            raise RefusedError(f"{where} cannot be written: {error.strerror}; make room, then put again") from None
        self._changed = changed

    def look(self) -> bool:
        """Read the file if it is another one than last time; return whether it was."""
        try:
            written = self._path.stat().st_mtime_ns
            if written == self._seen_ns:
                return False
            told = json.loads(self._path.read_text())
            self._changed = {name: int(count) for name, count in told.items() if name in self._config.groups}
        except FileNotFoundError:
            return False
        except (OSError, ValueError, AttributeError) as error:
            log.error("%s cannot be read: %s", self._path, error)
            return False
        self._seen_ns = written
        return True
