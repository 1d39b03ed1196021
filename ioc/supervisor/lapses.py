"""The failures of a process: how many lately, how long to wait for its next start, and when there were too many."""

from dataclasses import dataclass, field

from ioc.supervisor.rules import Rules


@dataclass(slots=True)
class Lapses:
    """When a process failed, within the window of `rules`."""

    rules: Rules
    _at_ns: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How often it failed lately."""
        return len(self._at_ns)

    @property
    def too_many(self) -> bool:
        """Whether it is to be given up."""
        return self.count >= self.rules.most_failures

    @property
    def delay(self) -> float:
        """How many s its next start waits: none after the first failure, then twice as long each time."""
        if self.count <= 1:
            return 0.0
        return min(self.rules.first_delay * 2.0 ** (self.count - 2), self.rules.longest_delay)

    def note(self, now_ns: int) -> None:
        """Count a failure, and forget those before the window."""
        self._at_ns = [*(at for at in self._at_ns if now_ns - at < self.rules.window * 1e9), now_ns]

    def __str__(self) -> str:
        return f"{self.count} of {self.rules.most_failures} within {self.rules.window:g} s"
