"""Pages for experts: every record of a device that is on none of its other screens."""

from collections.abc import Iterable, Sequence

from ioc.records.table import Access, Kind
from ioc.screens.bob import Screen, pv_names
from ioc.screens.device import Device
from ioc.screens.items import Item, fitting
from ioc.screens.page import OVERVIEW, Card, Page

TALLEST = 860
"""Pixels of a column."""


def expert_page(file: str, title: str, device: Device, screens: Iterable[Screen]) -> Page:
    """Return the page of what is left of a device beside its own `screens`."""
    seen = {name for screen in screens for name in pv_names(screen)}
    left = [
        name
        for name, record in device.records.items()
        if record.kind is not Kind.ARRAY and not _inner(name) and not _on(device, name, seen)
    ]
    columns = _columns(fitting(device, left))
    cards = [[Card("Records that are on no other screen", device, items)] for items in columns]
    return Page(file, f"{title} {device.at}", device, cards, (OVERVIEW,))


def _inner(name: str) -> bool:
    """Return whether a record belongs to a device within the device, which has screens of its own."""
    return ":" in name


def _on(device: Device, name: str, seen: set[str]) -> bool:
    record = device.record(name)
    if record.access is Access.BUSY:  # begun and ended by buttons that ask first where they must
        return device.at + record.name in seen
    what = [one for one in (record.demand, record.readback) if one is not None]
    return all(device.at + one in seen for one in what)


def _columns(items: Sequence[Item]) -> list[list[Item]]:
    made: list[list[Item]] = []
    tall = TALLEST
    for item in items:
        if tall + item.height > TALLEST:
            made.append([])
            tall = 0
        made[-1].append(item)
        tall += item.height
    return made
