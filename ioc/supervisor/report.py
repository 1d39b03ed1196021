"""The ledger made from what the processes say: the detector's status, the members' books, the ingresses' statuses.

Sampling while frames flow: every book is read before and after the moment of the detector's status, `earlier` and
`counts`. What the distributor believes completed must lie between what the book said earlier and says now; only what
lies outside cannot be explained by time and is residue. At the end both readings are the same, and so is the rule:
completed by the distributor = processed + failed by the member. The same holds between an egress and its ingress:
what is between the two readings of the egress is on the wire.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ioc.channels.book import Counts
from ioc.core.ledger import Hop, Ledger, MissedRange, Reason, Stage
from ioc.core.status import GroupStatus, MemberStatus, RangeStatus, StageStatus, Status
from ioc.supervisor.plan import DETECTOR

NOT_OF_THE_HOP = Reason.DUPLICATE.value
"""A copy is not a frame that the sender gave."""


@dataclass(frozen=True, slots=True)
class MemberBook:
    """The book of one consumer or egress, read twice; `alive`: whether its process is there."""

    name: str
    table: str
    counts: Counts
    earlier: Counts
    alive: bool = True


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
class BalancerAccount:
    """A lab's load balancer: the names of the egresses before it and of the ingresses behind it.

    It knows packets, not frames: what was sent and came to none of its ingresses is on its way, or lost once all is
    `settled`.
    """

    name: str
    table: str
    feeders: tuple[str, ...] = ()
    ingresses: tuple[str, ...] = ()
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the ledger is made from."""

    detector: Status | None
    members: Sequence[MemberBook] = ()
    ingresses: Sequence[IngressAccount] = field(default=())
    balancers: Sequence[BalancerAccount] = field(default=())


def build(sources: Sources) -> Ledger:
    """Return the ledger."""
    books = {book.name: book for book in sources.members}
    detector = sources.detector
    groups = detector.groups if detector is not None else []
    stages: dict[str, Stage] = {}
    hops = []
    for group in groups:
        behind = tuple(_member_stage(group, member, books.get(member.name)) for member in group.members)
        if group.nobody:
            behind = (*behind, _nobody(group))
        stages.update({stage.name: stage for stage in behind})
        hops.append(Hop(f"{DETECTOR} -> {group.name}", group.turns, behind))
    for name, book in books.items():
        stages.setdefault(name, _book_stage(name, book.table, book))
    ordered = [_detector_stage(detector)]
    ordered += [stages.pop(name) for name in books]
    ordered[1:1] = stages.values()  # members that are not ours: clients of the member channels
    for ingress in sources.ingresses:
        given, earlier = _sent(ingress.feeders, books)
        stage = _ingress_stage(ingress, given, earlier)
        ordered.append(stage)
        if ingress.feeders:
            hops.append(Hop(f"{' + '.join(ingress.feeders)} -> {ingress.name}", given, (stage,)))
    for balancer in sources.balancers:
        behind = [stage for stage in ordered if stage.name in balancer.ingresses]
        given, _ = _sent(balancer.feeders, books)
        stage = _balancer_stage(balancer, given, behind)
        ordered.append(stage)
        hops.append(Hop(f"{' + '.join(balancer.feeders)} -> {balancer.name}", given, (stage, *behind)))
    published = detector.stage.processed if detector is not None else 0
    series = [(one.id, one.published) for one in detector.series] if detector is not None else []
    return Ledger(published, series, ordered, hops)


def as_json(prefix: str, ledger: Ledger, extras: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the report of a ledger; `extras` adds keys to stages, by name, and to the whole under ""."""
    return {
        "prefix": prefix,
        "residue": ledger.residue(),
        "published": ledger.published,
        "series": [{"id": number, "published": published} for number, published in ledger.series],
        "stages": [_stage_json(stage) | dict(extras.get(stage.name, {})) for stage in ledger.stages],
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
    return Stage(name, group, received, counts.processed, counts.failed, counts.in_hand)


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


def _balancer_stage(balancer: BalancerAccount, given: int, behind: Iterable[Stage]) -> Stage:
    """Return the stage of a load balancer: what was sent and came to none of its ingresses."""
    stage = Stage(balancer.name, balancer.table)
    seen = sum(one.meant() for one in behind)
    if balancer.settled and seen < given:
        stage.dropped[Reason.LOST.value] = given - seen
    else:
        stage.in_flight = given - seen + excess(seen, 0, given)
    return stage


def _finished(counts: Counts) -> int:
    return counts.processed + counts.failed


def _sent(feeders: Iterable[str], books: Mapping[str, MemberBook]) -> tuple[int, int]:
    known = [books[name] for name in feeders if name in books]
    return sum(book.counts.processed for book in known), sum(book.earlier.processed for book in known)


def _ranges(missed: Iterable[RangeStatus]) -> list[MissedRange]:
    return [MissedRange(one.series, one.first, one.last) for one in missed]
