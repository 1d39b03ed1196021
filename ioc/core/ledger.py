"""The ledger: what every stage did with its frames, and the residue that must be 0.

Rules of conservation, checked at every stage and across every hop:

    received             = processed + failed + queued                      inside a stage
    turns of a group     = sum over its members of (received + dropped + in flight)
    published by a stage = received + dropped of the stage behind it        over a wire
    processed + made     = published + withheld                             what a stage put out of what it took in

`dropped` holds frames that were meant for a stage and did not come into its books, by reason. `withheld` holds frames
that a stage took in and put nothing out for, on purpose, by reason: they are no loss. `made` are frames put out beyond
one for each taken in. In a chain a stage has several hops in front of it, one from each process that gives. The
residue is the sum of what is left over in these equations, as absolute values, so that two faults do not hide each
other.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum


class Reason(Enum):
    """Why a frame was dropped; the value is the key in reports and status structures."""

    QUEUE_FULL = "queue_full"
    REPLACED = "replaced"
    MEMBER_GONE = "member_gone"
    NO_MEMBER = "no_member"
    LOST = "lost"
    INCOMPLETE = "incomplete"
    CORRUPT = "corrupt"
    DUPLICATE = "duplicate"
    MISSED = "missed"
    QUARANTINED = "quarantined"
    FILTERED = "filtered"
    LATE = "late"
    SHED = "shed"
    MERGED = "merged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class MissedRange:
    """Ids `first` to `last` (both included) of one series that a stage never completed."""

    series: int
    first: int
    last: int


@dataclass(slots=True)
class Stage:
    """The account of one stage, summed over all lives of its process.

    `in_flight` frames were handed over and are not in the stage's books yet; `queued` ones are.
    """

    name: str
    group: str | None = None
    received: int = 0
    processed: int = 0
    failed: int = 0
    queued: int = 0
    in_flight: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    published: int | None = None
    """Frames put out; None: its last word is not known, or nothing is put out."""
    made: int = 0
    withheld: Counter[str] = field(default_factory=Counter)

    def residue(self) -> int:
        """Return what the stage cannot explain, in frames; negative when it made frames up."""
        return self.received - self.processed - self.failed - self.queued

    def output_residue(self) -> int:
        """Return frames processed that were neither put out nor withheld; negative when more came out than went in."""
        if self.published is None:
            return 0
        return self.processed + self.made - self.published - sum(self.withheld.values())

    def add(self, other: "Stage") -> None:
        """Add the account that the same stage has with another giver."""
        self.received += other.received
        self.processed += other.processed
        self.failed += other.failed
        self.queued += other.queued
        self.in_flight += other.in_flight
        self.dropped += other.dropped
        if other.published is not None:
            self.published = (self.published or 0) + other.published
        self.made += other.made
        self.withheld += other.withheld

    def meant(self) -> int:
        """Return how many frames were meant for this stage."""
        return self.received + self.in_flight + sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class Hop:
    """One passage of frames: `given` by the stage before, accounted for by the stages behind it.

    Frames that nobody was there for are a stage of their own, which drops all it is meant to have.
    """

    name: str
    given: int
    behind: tuple[Stage, ...]

    def residue(self) -> int:
        """Return frames given that no stage behind accounts for."""
        return self.given - sum(stage.meant() for stage in self.behind)


@dataclass(slots=True)
class Ledger:
    """All stages and hops of an appliance at one moment."""

    published: int
    series: list[tuple[int, int]]
    stages: list[Stage]
    hops: list[Hop]
    excess: int = 0
    """Frames of series that are over, which a stage finished and was never given."""

    def residue(self) -> int:
        """Return the sum of all that is left unexplained, as absolute values; 0 is the only good one."""
        stages = sum(abs(stage.residue()) + abs(stage.output_residue()) for stage in self.stages)
        return stages + sum(abs(hop.residue()) for hop in self.hops) + self.excess

    def complete(self) -> bool:
        """Return whether every published frame has reached its end: nothing queued, nothing in flight, residue 0."""
        waiting = sum(stage.queued + stage.in_flight for stage in self.stages)
        return waiting == 0 and self.residue() == 0
