"""The silence of a process: how long its heartbeat has stood still, in time in which it could be heard.

Rules: time in which the supervisor itself was not scheduled counts little, so that a machine that was suspended or
overloaded does not kill what is healthy; time in which the run folder has no room for a status counts nothing.
"""

from dataclasses import dataclass

LONGEST_LOOK = 0.5
"""s; silence longer than this between two looks counts as this much."""


@dataclass(slots=True)
class Silence:
    """Since a process was started or taken over at `looked_ns`."""

    looked_ns: int = 0
    seconds: float = 0.0
    _heartbeat_ns: int = 0

    def look(self, heartbeat_ns: int, now_ns: int, deaf: bool) -> None:
        """Take the heartbeat, 0: none yet; `deaf`: it could not have been heard since the last look."""
        elapsed = 0.0 if deaf else min((now_ns - self.looked_ns) / 1e9, LONGEST_LOOK)
        self.looked_ns = now_ns
        self.seconds = 0.0 if heartbeat_ns != self._heartbeat_ns else self.seconds + elapsed
        self._heartbeat_ns = heartbeat_ns
