"""Screens of the distributor: all groups, one group with its members, and the groups of chains."""

from collections.abc import Iterable

from ioc.records.table import Record
from ioc.screens.device import device
from ioc.screens.items import History, lines
from ioc.screens.page import OVERVIEW, Card, Link, Page
from ioc.screens.table import Column, Table

SLOTS = tuple(f"Dist{slot}:" for slot in range(1, 9))
MEMBERS = tuple(f"Member{member}:" for member in range(1, 9))
CHAINS = tuple(f"Chain{slot}:" for slot in range(1, 9))
LINKS: tuple[Link, ...] = (OVERVIEW, ("Distributor", "distributor.bob", ()), ("Chains", "chains.bob", ()))


def distributor_page(records: Iterable[Record]) -> Page:
    """Return the screen of all groups, a line each; a click opens the group."""
    whole = device(records, "", at="$(P)")
    table = Table(
        SLOTS,
        (
            Column("Name", 110),
            Column("Policy", 100),
            Column("Count", 54),
            Column("Members", 60, "Here"),
            Column("Sets", 50),
            Column("Updates", 80),
            Column("QueueSize", 80, "Queue"),
            Column("Queued", 80),
            Column("InFlight", 80),
            Column("HighWater", 80),
            Column("Dropped", 90),
            Column("Nobody", 90),
            Column("Silent", 50),
            Column("Lag", 90),
            Column("LagTime", 80),
            Column("TimeToOverflow", 120),
        ),
        opens="group.bob",
    )
    bars = Table(SLOTS, tuple(Column(f"{one}Queued", 140, one.rstrip(":"), whole="QueueSize") for one in MEMBERS))
    width = table.width + 16
    cards = (Card("Groups", whole, [table], width), Card("Queues of members, full at QueueSize", whole, [bars], width))
    links: tuple[Link, ...] = (OVERVIEW, ("Chains", "chains.bob", ()))
    return Page("distributor.bob", "Distributor $(P)", whole, (cards,), links)


def group_page(records: Iterable[Record]) -> Page:
    """Return the screen of one group: what it is told, its account, its members with their queues."""
    group = device(records, "Dist1:")
    settings = Card(
        "Settings",
        group,
        lines("Name", "Count", "Sets", "Updates", "Policy", "Drop", "QueueSize", "QueueBytes", "AckTimeout"),
    )
    account = Card(
        "Account",
        group,
        lines("Members", "Turns", "Queued", "InFlight", "HighWater", "Dropped", "Nobody", "Silent", "Lag", "LagTime")
        + lines("TimeToOverflow"),
    )
    table = Table(
        MEMBERS,
        (
            Column("Name", 120),
            Column("Present", 60),
            Column("Queued", 150, "Queue", whole="QueueSize"),
            Column("Queued", 80),
            Column("Dropped", 100),
            Column("Lag", 100),
        ),
    )
    width = table.width + 16
    plots = Card("Lag", group, [History("Lag", (("Lag", "Lag"), ("Queued", "Queued")), 250)], width)
    columns = ((settings,), (account,), (Card("Members", group, [table], width), plots))
    return Page("group.bob", "Group $(P)$(R)", group, columns, LINKS)


def chains_page(records: Iterable[Record]) -> Page:
    """Return the screen of the groups behind other groups and collectors."""
    whole = device(records, "", at="$(P)")
    columns = (
        Column("Name", 200),
        Column("Input", 260),
        Column("Count", 80, settable=True),
        Column("Count", 70, "Asked"),
    )
    table = Table(CHAINS, (*columns, Column("Running", 70)))
    links: tuple[Link, ...] = (OVERVIEW, ("Distributor", "distributor.bob", ()))
    cards = (Card("Groups behind other groups and collectors", whole, [table], table.width + 16),)
    return Page("chains.bob", "Chains $(P)", whole, (cards,), links)
