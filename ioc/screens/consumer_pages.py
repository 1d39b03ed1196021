"""Screens of a consumer, of what its processor declares, of its metadata, and of a collector."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ioc.records.table import Record
from ioc.screens.bob import Screen
from ioc.screens.device import Device, device
from ioc.screens.items import Bar, Command, Commands, Embedded, History, Image, Item, Text, Wide, fitting, lines
from ioc.screens.page import OVERVIEW, Card, Link, Page, panel
from ioc.screens.table import Column, Table

EXAMPLE = "Cons1:"
SAME = (("R", "$(R)"),)
IMAGE_WIDTH = 520
PANEL_WIDTH = 344
PANEL_TALL = 330
ROW_WIDTH, ROW_TALL = 900, 52
LATENCY = (("LatencyP50", "median"), ("LatencyP99", "99 %"), ("LatencyMax", "longest"))
LOST_BY_STOP = "Stop $(P)$(R)? It finishes what is here and takes no more; what its group may drop is lost to it."
LOST_BY_RESET = "Set the statistics of $(P)$(R) to zero? What they have gathered is lost."


def consumer_page(records: Iterable[Record]) -> Page:
    """Return the screen of a consumer: state, rates, latency, settings and commands, and what it puts out."""
    one = device(records, EXAMPLE)

    def card(title: str, *items: Item) -> Card:
        return Card(title, one, items)

    state = card(
        "State",
        Commands((Command("Start", "Start"), Command("Stop", "Stop", LOST_BY_STOP))),
        *lines("State", "Rate", "Uptime", "Pid"),
        Wide("Processor"),
        Wide("StatusMessage"),
        Wide("LastError"),
        *lines("LastErrorTime", "Errors"),
    )
    frames = card(
        "Frames",
        *lines("Received", "Processed", "Failed", "Dropped", "LossPercent", "Missed", "Queued", "Published"),
        *lines("Filtered", "Shed", "Undelivered", "Quarantined", "Series", "UniqueId"),
        Bar("Waiting memory", "MemoryUsed", "MemoryLimit"),
    )
    settings = card(
        "Processor",
        Embedded("ProcessorPanel", "", SAME, PANEL_TALL),
        Commands((Command("Reset", "Reset statistics", LOST_BY_RESET),)),
    )
    configure = card("All settings as JSON", Wide("Configure", settable=True), Wide("ConfigureMessage"))
    use = card("Memory and time", *lines("PrivateMemory", "MemoryState", "CPU", "CPUState", "ExecutionTime"))
    latency = Card("Latency, from time stamp to done", one, [History("Latency", LATENCY, 250)], IMAGE_WIDTH)
    picture = Card("Output, $(P)$(R)Image", one, [Image.square("$(P)$(R)Image", IMAGE_WIDTH)], IMAGE_WIDTH)
    links: tuple[Link, ...] = (
        OVERVIEW,
        ("Metadata", "metadata.bob", (("R", "$(R)Meta:"),)),
        ("Expert", "expert_consumer.bob", SAME),
    )
    columns = ((state, use), (settings, configure), (frames,), (picture, latency))
    scripts = (("processor.py", (one.shown("Processor"),)),)
    return Page("consumer.bob", "Consumer $(P)$(R)", one, columns, links, scripts)


def processor_panel(name: str, records: Iterable[Record]) -> Screen:
    """Return the panel of a processor: what it declares, to be embedded in the screen of its consumer."""
    one = device(records, EXAMPLE)
    settings = [each for each in one.records if each.startswith("Set:")]
    statistics = [each for each in one.records if each.startswith("Stat:")]
    items: list[Item] = [*_titled("Settings", one, settings), *_titled("Statistics", one, statistics)]
    nothing = Text("It has neither settings nor statistics of its own.", 2)
    return panel(f"processor_{name}.bob", name, one, items or [nothing], PANEL_WIDTH)


def other_panel() -> Screen:
    """Return the panel of a processor that no panel was made for."""
    text = Text("No panel was made for this processor. Its settings are below, as JSON. To make one:", 2)
    none = Device({}, "$(P)$(R)", EXAMPLE)
    return panel("processor_other.bob", "Processor", none, [text, Text("rayfan processor screen NAME")], PANEL_WIDTH)


def _titled(title: str, one: Device, names: Sequence[str]) -> list[Item]:
    return [Text(title), *fitting(one, names)] if names else []


def metadata_page(records: Iterable[Record]) -> Page:
    """Return the screen of the metadata of a consumer; its channels are found out by a script."""
    one = device(records, "Cons1:Meta:")
    frames = Card(
        "Frames", one, [*lines("Complete", "Unmatched", "Unwanted", "Waiting"), Wide("UnmatchedIds"), Wide("Channels")]
    )
    places = [Embedded(f"Channel{number}", "", (), ROW_TALL) for number in range(1, 9)]
    channels = Card("Channels", one, places, ROW_WIDTH + 16)
    scripts = (("channels.py", (one.shown("Channels"),)),)
    return Page("metadata.bob", "Metadata $(P)$(R)", one, ((frames,), (channels,)), scripts=scripts)


def channel_page(records: Iterable[Record]) -> Page:
    """Return the screen of one metadata channel."""
    one = device(records, "Cons1:Meta:NAME:")
    link = Card("Channel", one, lines("Connected", "Rate", "Received", "Errors", "Duplicates", "Late", "Unused"))
    match = Card("Matching", one, [*lines("Matched", "Unmatched", "Window", "Wait"), Wide("UnusedValues")])
    clock = Card("Clock", one, lines("ClockOffset", "Jitter", "Locked", "Offset"))
    return Page("metadata_channel.bob", "Metadata channel $(P)$(R)", one, ((link,), (match, clock)))


def channel_row(records: Iterable[Record]) -> Screen:
    """Return one channel as a line, to be embedded."""
    one = device(records, "Cons1:Meta:NAME:")
    columns = [Column(name, 110) for name in ("Connected", "Rate", "Matched", "Unmatched", "Late", "Errors", "Window")]
    table = Table(("$(R)",), columns, opens="metadata_channel.bob", titles=("$(N)",), inside=False)
    return replace(
        panel("metadata_row.bob", "Metadata channel", one, [table], ROW_WIDTH),
        more=(("N", one.example.split(":")[-2]),),
    )


def collector_page(records: Iterable[Record]) -> Page:
    """Return the screen of a collector."""
    one = device(records, "Coll1:")
    ask = "Set the counters of gaps of $(P)$(R) to zero? They are lost."
    state = Card(
        "State",
        one,
        [*lines("State", "Inputs", "Rate", "Uptime", "Pid"), Wide("StatusMessage"), Wide("LastError")],
    )
    order = Card(
        "Order",
        one,
        [
            *lines("Wait", "Waiting", "OldestWait", "Missing", "Late", "Duplicates", "Filtered", "Incomplete"),
            Wide("MissingRanges"),
            Commands((Command("Reset", "Reset gaps", ask),)),
        ],
    )
    frames = Card(
        "Frames",
        one,
        [
            *lines(
                "Received", "Published", "Failed", "Dropped", "Shed", "Undelivered", "Complete", "Series", "UniqueId"
            ),
            Bar("Waiting memory", "MemoryUsed", "MemoryLimit"),
        ],
    )
    picture = Card("Output, $(P)$(R)Image", one, [Image.square("$(P)$(R)Image", IMAGE_WIDTH)], IMAGE_WIDTH)
    return Page("collector.bob", "Collector $(P)$(R)", one, ((state, frames), (order,), (picture,)))
