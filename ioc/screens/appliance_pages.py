"""Screens of the supervisor: the ledger with quarantine, and the processes."""

from collections.abc import Iterable

from ioc.records.table import Record
from ioc.screens.device import device
from ioc.screens.items import Command, Commands, History, Line, Text, Wide, lines
from ioc.screens.page import OVERVIEW, Card, Link, Page
from ioc.screens.table import Column, Table

SLOTS = tuple(f"Process{slot}:" for slot in range(1, 17))
PLOT = 560
LOST_BY_DRAIN = "Finish all frames of $(P), then stop every process? The acquisition ends; rayfan up starts it again."
UNSEEN = Line("Ledger:Unseen", "Unacknowledged")
ACKNOWLEDGE = Command("Ledger:Acknowledge", "Acknowledge losses")
DRAIN = Command("Drain", "Drain and stop", LOST_BY_DRAIN)


def ledger_page(records: Iterable[Record]) -> Page:
    """Return the screen of the ledger: where every frame is, and what is in quarantine."""
    whole = device(records, "", at="$(P)")
    books = ("Published", "Queued", "Dropped", "LossPercent", "Failed", "Residue", "Complete")
    totals = Card("All series", whole, [*(Line(f"Ledger:{name}") for name in books), UNSEEN, Commands((ACKNOWLEDGE,))])
    series = ("Series", "SeriesPublished", "SeriesProcessed", "SeriesDropped", "SeriesComplete", "SeriesEnded")
    newest = Card("Newest series", whole, [Line(f"Ledger:{name}") for name in series])
    aside = Card(
        "Quarantine: frames that killed a consumer twice",
        whole,
        [
            *(Line(f"Quarantine:{name}") for name in ("Frames", "Bytes")),
            Wide("Quarantine:Names"),
            Wide("Quarantine:LastFile"),
            Text("What is kept on file; a smaller number deletes the oldest files.", 1),
            *(Line(f"Quarantine:{name}") for name in ("MostFrames", "MostBytes")),
        ],
        460,
    )
    ways = (("Ledger:Queued", "on their way"), ("Ledger:Dropped", "dropped"), ("Ledger:Failed", "failed"))
    plot = Card("Frames", whole, [History("Ledger", ways, 260)], 460)
    links: tuple[Link, ...] = (OVERVIEW, ("Processes", "processes.bob", ()))
    return Page("ledger.bob", "Ledger $(P)", whole, ((totals, newest), (aside, plot)), links)


def processes_page(records: Iterable[Record]) -> Page:
    """Return the screen of all processes that the supervisor watches."""
    whole = device(records, "", at="$(P)")
    table = Table(
        SLOTS,
        (
            Column("Name", 90),
            Column("Role", 90),
            Column("State", 96),
            Column("Pid", 76),
            Column("Restarts", 64),
            Column("Failures", 64),
            Column("Backoff", 64),
            Column("CPU", 70),
            Column("CPUState", 56, "CPU is"),
            Column("PrivateMemory", 130),
            Column("MemoryState", 64, "Memory"),
            Column("Message", 330),
        ),
        opens="process.bob",
        titles=[f"Slot {number}" for number in range(1, 17)],
    )
    health = Card(
        "Appliance",
        whole,
        [
            *lines("Health", "Alarm", "Processes", "Restarts", "RestartLimit", "Uptime", "Heartbeat"),
            Wide("StatusMessage"),
            Wide("Web", "Web page"),
            Line("Restart", "Start anew (name)"),
            Commands((DRAIN,)),
        ],
    )
    links: tuple[Link, ...] = (OVERVIEW, ("Ledger", "ledger.bob", ()))
    cards = (Card("Processes", whole, [table], table.width + 16), health)
    return Page("processes.bob", "Processes $(P)", whole, (cards,), links)


def process_page(records: Iterable[Record]) -> Page:
    """Return the screen of one process."""
    one = device(records, "Process1:")
    life = Card(
        "Life",
        one,
        [
            *lines("Name", "Role", "State", "Pid", "Restarts", "Failures", "Backoff", "Job", "JobState"),
            Wide("Message"),
            Wide("LastError"),
        ],
    )
    use = Card(
        "Memory and time",
        one,
        [
            *lines("PrivateMemory", "PrivateLimit", "MemoryState", "RSS", "PSS", "CPU", "CPULimit", "CPUState"),
        ],
    )
    cpu = Card("Processor time", one, [History("CPU", (("CPU", "processor time"),))], PLOT)
    memory = Card("Memory of its own", one, [History("Memory", (("PrivateMemory", "memory"),))], PLOT)
    links: tuple[Link, ...] = (OVERVIEW, ("Processes", "processes.bob", ()))
    return Page("process.bob", "Process $(P)$(R)", one, ((life,), (use,), (cpu, memory)), links)
