"""Losses that nobody has acknowledged yet: what an alarm is for; the accounts keep them all."""

from dataclasses import dataclass


@dataclass(slots=True)
class Losses:
    """Frames lost so far, `total`, and how many of them somebody has seen."""

    total: int = 0
    seen: int = 0

    def update(self, total: int) -> int:
        """Take note of how many are lost by now; return how many of them nobody has seen."""
        self.total = total
        self.seen = min(self.seen, total)  # what was believed lost may come after all
        return total - self.seen

    def acknowledge(self) -> None:
        """Take all that were told of by now as seen."""
        self.seen = self.total
