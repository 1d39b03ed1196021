"""The rules by which processes are judged: how long they may be silent, and when they are started again."""

from dataclasses import dataclass

from ioc.core.config import Config


@dataclass(frozen=True, slots=True)
class Rules:
    """The times by which processes are judged, s."""

    hang: float = 2.0
    start: float = 60.0
    drain: float = 25.0
    first_delay: float = 0.5
    longest_delay: float = 8.0
    window: float = 60.0
    most_failures: int = 6
    """Failures within `window` after which a process is given up."""

    @classmethod
    def of(cls, config: Config) -> "Rules":
        """Return the times that a configuration asks for."""
        told = config.supervision
        return cls(
            hang=told.hang,
            first_delay=told.first_delay,
            longest_delay=told.longest_delay,
            window=told.window,
            most_failures=told.most_failures,
        )
