"""The ledger made from journals and books: the detector's seats, the members' books, the ingresses.

Sampling while frames flow: the books of members are read before and after the detector's journal. What a member had
finished by the first reading was given to it by the time of the journal; what the distributor believes completed was
finished by the second. What does not fit cannot be explained by time and is residue. When all is over nothing may be
on its way. Between an egress and its ingress frames may be on the wire for a while; what is missing for longer, and
was not noted by the ingress, is residue, unless the ingress is away.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ioc.channels.book import Counts
from ioc.channels.journal import ELSEWHERE, Figures
from ioc.core.ledger import Hop, Ledger, Reason, Stage
from ioc.core.topology import DETECTOR
from ioc.supervisor.balancers import BalancerAccount, balancer_stage
from ioc.supervisor.chain import reasons

NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Seat:
    """One account of the detector's journal; `lost` with detectors that were killed; `pending`: not known yet."""

    figures: Figures
    lost: int = 0
    pending: bool = False


@dataclass(frozen=True, slots=True)
class MemberBook:
    """The book of one consumer, egress or ingress, read twice; `alive`: whether its process is there."""

    name: str
    group: str
    counts: Counts
    earlier: Counts
    alive: bool = True


@dataclass(frozen=True, slots=True)
class IngressAccount:
    """What arrived at an ingress, what did not, and the names of the egresses of this appliance that send to it.

    `overdue` frames were sent so long ago that they must have arrived, or been missed; while the ingress is `away` that
    cannot be told.
    """

    book: MemberBook
    dropped: Mapping[str, int]
    feeders: tuple[str, ...] = ()
    away: bool = False
    overdue: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """When the sources were read: `alive`, the detector's life goes on; `over`, every process has ended.

    `series`: the newest, with what was published of it. `excess`: see core/ledger.py.
    """

    alive: bool = True
    over: bool = False
    series: Sequence[tuple[int, int]] = ()
    excess: int = 0


@dataclass(frozen=True, slots=True)
class Given:
    """What a process gave: the accounts of its journal, the books that its members keep of it; whether it lives."""

    name: str
    seats: Sequence[Seat] = ()
    members: Sequence[MemberBook] = ()
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Chain:
    """What lies behind the groups of the detector: all passages and stages, and why frames were withheld, by name."""

    hops: Sequence[Hop] = ()
    stages: Sequence[Stage] = ()
    withheld: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sent: Mapping[str, Counts] = field(default_factory=dict)
    """What the egresses behind a chain say, all their givers together."""


@dataclass(frozen=True, slots=True)
class Sources:
    """All that the ledger is made from."""

    seats: Sequence[Seat] = ()
    members: Sequence[MemberBook] = ()
    ingresses: Sequence[IngressAccount] = field(default=())
    moment: Moment = field(default_factory=Moment)
    balancers: Sequence[BalancerAccount] = ()
    chain: Chain = field(default_factory=Chain)


def build(sources: Sources) -> Ledger:
    """Return the ledger."""
    books = {book.name: book for book in sources.members}
    sent = {name: book.counts for name, book in books.items()} | dict(sources.chain.sent)
    published = next((seat.figures.came for seat in sources.seats if not seat.figures.group), 0)
    hops = passages(Given(DETECTOR, sources.seats, sources.members, sources.moment.alive), sources.moment.over)
    stages = [stage for hop in hops for stage in hop.behind]
    known = {stage.name for stage in stages}
    stages += [_book_stage(book) for name, book in books.items() if name not in known]
    order = {name: number for number, name in enumerate(books, 1)}
    stages.sort(key=lambda stage: order.get(stage.name, 0))  # clients of member channels, which are not ours, first
    detector = Stage(DETECTOR, None, published, published)
    stages += sources.chain.stages
    hops += sources.chain.hops
    for stage in stages:
        stage.withheld = reasons(stage.withheld, sources.chain.withheld.get(stage.name, {}))
    for ingress in sources.ingresses:
        given = sum(sent[name].processed for name in ingress.feeders if name in sent)
        hand = sum(sent[name].in_hand for name in ingress.feeders if name in sent)
        stage = _ingress_stage(ingress, given, given + hand, sources.moment.over)
        stages.append(stage)
        if ingress.feeders:
            hops.append(Hop(f"{' + '.join(ingress.feeders)} -> {ingress.book.name}", given, (stage,)))
    for balancer in sources.balancers:
        behind = [stage for stage in stages if stage.name in balancer.ingresses]
        given = sum(sent[name].processed for name in balancer.feeders if name in sent)
        stage = balancer_stage(balancer, given, behind, sources.moment.over)
        stages.append(stage)
        hops.append(Hop(f"{' + '.join(balancer.feeders)} -> {balancer.name}", given, (stage, *behind)))
    moment = sources.moment
    return Ledger(published, list(moment.series), [detector, *stages], hops, moment.excess)


def passages(giver: Given, over: bool) -> list[Hop]:
    """Return the passages from a process to each of its groups; `over`: every process has ended."""
    books, hops = {book.name: book for book in giver.members}, []
    for group in dict.fromkeys(seat.figures.group for seat in giver.seats if seat.figures.group):
        ours = [seat for seat in giver.seats if seat.figures.group == group]
        behind = [
            _member_stage(seat, books.get(seat.figures.name), giver.alive, over)
            for seat in ours
            if seat.figures.name != NOBODY
        ]
        nobody = next((seat.figures for seat in ours if seat.figures.name == NOBODY), None)
        if nobody is not None and nobody.dropped:
            behind.append(Stage(f"{group}.{NOBODY}", group, dropped=Counter(nobody.dropped)))
        hops.append(Hop(f"{giver.name} -> {group}", sum(seat.figures.turns for seat in ours), tuple(behind)))
    return hops


def chained(givers: Sequence[Given], others: Sequence[Stage], over: bool) -> Chain:
    """Return what lies behind givers, each stage with all of its givers together, and `others` that have none yet."""
    hops = [hop for giver in givers for hop in passages(giver, over)]
    stages: dict[str, Stage] = {}
    for part in (part for hop in hops for part in hop.behind):
        stages.setdefault(part.name, Stage(part.name, part.group)).add(part)
    for other in others:
        stages.setdefault(other.name, other)
    return Chain(hops, list(stages.values()))


def together(books: Sequence[MemberBook]) -> Counts:
    """Return the books of one member with several givers as one."""
    sums = {one.name: sum(getattr(book.counts, one.name) for book in books) for one in fields(Counts)}
    return Counts(**sums)


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
        "missed_ranges": [],
        "missed": [],
        "missed_left_out": 0,
        "published": stage.processed if stage.published is None else stage.published,
        "withheld": dict(stage.withheld),
    }


def _member_stage(seat: Seat, book: MemberBook | None, alive: bool, over: bool) -> Stage:
    figures = seat.figures
    dropped = Counter(figures.dropped)
    dropped[Reason.LOST.value] += seat.lost
    meant = figures.assigned - sum(dropped.values())
    if book is None:
        name = figures.group if figures.name == ELSEWHERE else figures.name
        stage = Stage(name, figures.group, figures.done, figures.done - figures.failed, figures.failed)
    else:
        stage = _book_stage(book)
        stage.group = figures.group
    odd = meant - stage.received if over else 0
    if book is not None and alive and not over and not seat.pending:
        earlier_lives = figures.came_before - figures.left_before - seat.lost
        odd = max(0, figures.completed + earlier_lives - _finished(book.counts))
        odd -= max(0, _finished(book.earlier) - meant)
    stage.in_flight = meant - stage.received - odd
    stage.dropped = dropped
    return stage


def _book_stage(book: MemberBook) -> Stage:
    """Return a member's own account; what a dead one had in hand is not received: it went back."""
    counts = book.earlier
    if not book.alive:
        counts = replace(counts, returned=counts.returned + counts.in_hand)
    received = counts.received - counts.returned
    stage = Stage(book.name, book.group, received, counts.processed, counts.failed, counts.in_hand)
    if counts.published or counts.withheld:  # else it puts nothing out
        stage.published, stage.made = counts.published, counts.made
        stage.withheld[Reason.FILTERED.value] = counts.withheld
    return stage


def _ingress_stage(ingress: IngressAccount, given: int, most: int, over: bool) -> Stage:
    stage = _book_stage(ingress.book)
    stage.dropped = Counter(ingress.dropped)
    if ingress.feeders:
        seen = stage.received + lost(stage)
        low = given if over else 0 if ingress.away else min(ingress.overdue, given)
        stage.in_flight = given - seen + excess(seen, low, most)
    return stage


def _finished(counts: Counts) -> int:
    return counts.processed + counts.failed
