"""The ledger made from what the processes say: the detector's status, the members' books, the ingresses' statuses.

Sampling while frames flow: every book is read before and after the moment of the detector's status, `earlier` and
`counts`. What the distributor believes completed must lie between what the book said earlier and says now; only what
lies outside cannot be explained by time and is residue. At the end both readings are the same, and so is the rule:
completed by the distributor = processed + failed by the member. The same holds between an egress and its ingress:
what is between the two readings of the egress is on the wire.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ioc.channels.book import Counts
from ioc.core.ledger import Hop, Ledger, MissedRange, Reason, Stage
from ioc.core.status import GroupStatus, MemberStatus, RangeStatus, StageStatus, Status
from ioc.core.topology import DETECTOR

NOT_OF_THE_HOP = Reason.DUPLICATE.value
"""A copy is not a frame that the sender gave."""


@dataclass(frozen=True, slots=True)
class MemberBook:
    """The book that one member keeps with one giver, read twice; `alive`: whether the member's process is there."""

    name: str
    table: str
    counts: Counts
    earlier: Counts
    alive: bool = True
    giver: str = DETECTOR


@dataclass(frozen=True, slots=True)
class Giver:
    """A process in a chain that gives frames to others: the groups of its distributor, over all its lives."""

    name: str
    groups: Sequence[GroupStatus]


@dataclass(frozen=True, slots=True)
class IngressAccount:
    """What an ingress says, and the names of the egresses of this appliance that send to it.

    What was sent while an ingress was away is known only by its absence: after a restart, what is missing is lost.
    """

    name: str
    table: str
    stage: StageStatus
    feeders: tuple[str, ...] = ()
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the ledger is made from."""

    detector: Status | None
    members: Sequence[MemberBook] = ()
    ingresses: Sequence[IngressAccount] = field(default=())
    givers: Sequence[Giver] = ()
    withheld: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """What members say why they withheld frames, by name; how many is in their books."""


def build(sources: Sources) -> Ledger:
    """Return the ledger."""
    detector = sources.detector
    hops = _hops(sources)
    stages: dict[str, Stage] = {}
    for part in _parts(sources, hops):
        stages.setdefault(part.name, Stage(part.name, part.group)).add(part)
    for name, stage in stages.items():
        stage.withheld = _reasons(stage.withheld, sources.withheld.get(name, {}))
    ordered = [_detector_stage(detector)]
    ordered += [stages.pop(name) for name in dict.fromkeys(book.name for book in sources.members)]
    ordered[1:1] = stages.values()  # members that are not ours: clients of the member channels
    for ingress in sources.ingresses:
        given, earlier = _sent(ingress.feeders, {book.name: book for book in sources.members})
        stage = _ingress_stage(ingress, given, earlier)
        ordered.append(stage)
        if ingress.feeders:
            hops.append(Hop(f"{' + '.join(ingress.feeders)} -> {ingress.name}", given, (stage,)))
    published = detector.stage.processed if detector is not None else 0
    series = [(one.id, one.published) for one in detector.series] if detector is not None else []
    return Ledger(published, series, ordered, hops)


def _hops(sources: Sources) -> list[Hop]:
    """Return every passage of frames from a giver to a group of its distributor."""
    books = {(book.giver, book.name): book for book in sources.members}
    groups = sources.detector.groups if sources.detector is not None else []
    hops = []
    for giver in (Giver(DETECTOR, groups), *sources.givers):
        for group in giver.groups:
            behind = tuple(_member_stage(group, one, books.pop((giver.name, one.name), None)) for one in group.members)
            if group.nobody:
                behind = (*behind, _nobody(group))
            hops.append(Hop(f"{giver.name} -> {group.name}", group.turns, behind))
    return hops


def _parts(sources: Sources, hops: Iterable[Hop]) -> Iterator[Stage]:
    """Yield the account of every stage with every giver, also of those that a giver has not told of yet."""
    told = {(hop.name.partition(" -> ")[0], stage.name) for hop in hops for stage in hop.behind}
    for hop in hops:
        yield from hop.behind
    for book in sources.members:
        if (book.giver, book.name) not in told:
            yield _book_stage(book.name, book.table, book)


def _reasons(counted: Counter[str], told: Mapping[str, int]) -> Counter[str]:
    """Return why frames were withheld, as far as the process has told; the rest of the count is `filtered`."""
    total = sum(counted.values())
    reasons = Counter({reason: count for reason, count in told.items() if count})
    if sum(reasons.values()) > total:
        return counted  # told after the books were read
    reasons[Reason.FILTERED.value] += total - sum(reasons.values())
    return +reasons


def as_json(prefix: str, ledger: Ledger, extras: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the report of a ledger; `extras` adds keys to stages, by name, and to the whole under ""."""
    return {
        "prefix": prefix,
        "residue": ledger.residue(),
        "published": ledger.published,
        "series": [{"id": number, "published": published} for number, published in ledger.series],
        "stages": [_stage_json(stage) | dict(extras.get(stage.name, {})) for stage in ledger.stages],
        "hops": [{"name": hop.name, "given": hop.given, "residue": hop.residue()} for hop in ledger.hops],
        "complete": ledger.complete(),
        **extras.get("", {}),
    }


def excess(value: int, low: int, high: int) -> int:
    """Return how far a value lies outside [low, high]; 0 inside, negative below."""
    return value - min(max(value, low), high)


def lost(stage: Stage) -> int:
    """Return the frames that were meant for a stage and never came to it."""
    return sum(stage.dropped.values())


def waiting(stage: Stage) -> int:
    """Return the frames that are on their way to a stage or in it, as far as its two readings agree: never below 0."""
    return max(0, stage.queued + stage.in_flight)


def _stage_json(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "group": stage.group,
        "received": stage.received,
        "processed": stage.processed,
        "failed": stage.failed,
        "queued": stage.queued,
        "in_flight": stage.in_flight,
        "dropped": {reason: count for reason, count in stage.dropped.items() if count},
        "missed_ranges": [[one.first, one.last] for one in stage.missed],
        "missed": [[one.series, one.first, one.last] for one in stage.missed],
        "published": stage.processed if stage.published is None else stage.published,
        "withheld": dict(stage.withheld),
    }


def _detector_stage(detector: Status | None) -> Stage:
    if detector is None:
        return Stage(DETECTOR)
    own = detector.stage
    return Stage(
        DETECTOR,
        None,
        own.received,
        own.processed,
        own.failed,
        own.queued,
        0,
        Counter(own.dropped),
        _ranges(own.missed),
    )


def _member_stage(group: GroupStatus, member: MemberStatus, book: MemberBook | None) -> Stage:
    if book is None:
        stage = Stage(member.name, group.name, member.completed, member.completed)
        stage.in_flight = member.queued + member.in_flight
    else:
        stage = _book_stage(member.name, group.name, book)
        odd = excess(member.completed, _finished(book.earlier), _finished(book.counts))
        stage.in_flight = member.assigned - sum(member.dropped.values()) - stage.received - odd
    stage.dropped = Counter(member.dropped)
    stage.missed = _ranges(member.missed)
    return stage


def _nobody(group: GroupStatus) -> Stage:
    """Return the stage of the frames that no member of a group was there for."""
    stage = Stage(f"{group.name}.nobody", group.name)
    stage.dropped[Reason.NO_MEMBER.value] = group.nobody
    stage.missed = _ranges(group.missed)
    return stage


def _book_stage(name: str, group: str, book: MemberBook) -> Stage:
    """Return a member's own account; what a dead one had in hand is not received: it went back."""
    counts = book.counts if book.alive else replace(book.counts, returned=book.counts.returned + book.counts.in_hand)
    received = counts.received - counts.returned
    stage = Stage(name, group, received, counts.processed, counts.failed, counts.in_hand)
    stage.published, stage.made = counts.published, counts.made
    stage.withheld[Reason.FILTERED.value] = counts.withheld
    return stage


def _ingress_stage(ingress: IngressAccount, given: int, earlier: int) -> Stage:
    own = ingress.stage
    dropped = Counter({reason: n for reason, n in own.dropped.items() if reason != NOT_OF_THE_HOP})
    stage = Stage(ingress.name, ingress.table, own.received, own.processed, own.failed, own.queued)
    stage.dropped = dropped
    stage.missed = _ranges(own.missed)
    if ingress.feeders:
        seen = own.received + sum(dropped.values())
        if ingress.restarts and seen < earlier:
            dropped[Reason.LOST.value] += earlier - seen
            seen = earlier
        stage.in_flight = given - seen + excess(seen, earlier, given)
    return stage


def _finished(counts: Counts) -> int:
    return counts.processed + counts.failed


def _sent(feeders: Iterable[str], books: Mapping[str, MemberBook]) -> tuple[int, int]:
    known = [books[name] for name in feeders if name in books]
    return sum(book.counts.processed for book in known), sum(book.earlier.processed for book in known)


def _ranges(missed: Iterable[RangeStatus]) -> list[MissedRange]:
    return [MissedRange(one.series, one.first, one.last) for one in missed]
