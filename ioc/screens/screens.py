"""All screens, made from the record tables of one process of each kind."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ioc.records.table import Record
from ioc.screens.appliance_pages import ledger_page, process_page, processes_page
from ioc.screens.bob import Screen
from ioc.screens.boxes import box_screens
from ioc.screens.consumer_pages import (
    channel_page,
    channel_row,
    collector_page,
    consumer_page,
    metadata_page,
    other_panel,
    processor_panel,
)
from ioc.screens.detector_pages import detector_page, simulation_page
from ioc.screens.device import Device, device
from ioc.screens.distributor_pages import chains_page, distributor_page, group_page
from ioc.screens.ejfat_pages import balancer_page, egress_page, ingress_page, intake_page
from ioc.screens.expert import expert_page
from ioc.screens.overview import group_box, overview_screen
from ioc.screens.plugin_pages import SCREENS, plugin_pages, plugins_page
from ioc.screens.writer_pages import writer_page

EXPERTS = {
    "detector": "cam1:",
    "image_channel": "Pva1:",
    "consumer": "Cons1:",
    "writer": "HDF1:",
    **{file.removesuffix(".bob"): example for example, file in SCREENS.items()},
}
"""The pages for experts: the screen that each goes with, and the first device of it."""


def all_screens(records: Iterable[Record], processors: Mapping[str, Iterable[Record]]) -> list[Screen]:
    """Return all screens; `processors` are the records of a consumer with each of the processors, by their names."""
    records = list(records)
    pages = [
        detector_page(records),
        simulation_page(records),
        distributor_page(records),
        group_page(records),
        chains_page(records),
        consumer_page(records),
        metadata_page(records),
        channel_page(records),
        collector_page(records),
        egress_page(records),
        ingress_page(records),
        balancer_page(records),
        intake_page(records),
        writer_page(records),
        plugins_page(records),
        *plugin_pages(records),
        ledger_page(records),
        processes_page(records),
        process_page(records),
    ]
    panels = [channel_row(records), other_panel(), *(processor_panel(*one) for one in processors.items())]
    screens = [
        overview_screen(records),
        group_box(records),
        *box_screens(records),
        *panels,
        *(page.screen() for page in pages),
    ]
    return [*screens, *(_expert(name, device(records, example), screens) for name, example in EXPERTS.items())]


def _expert(name: str, one: Device, screens: Iterable[Screen]) -> Screen:
    own = [screen for screen in screens if screen.device == one.example]
    return expert_page(f"expert_{name}.bob", "More of", one, own).screen()


def write(screens: Iterable[Screen], folder: Path) -> None:
    """Write the screens, and remove displays of that folder that are none of them any more."""
    texts = {screen.file: screen.text() for screen in screens}
    for stale in folder.glob("*.bob"):
        if stale.name not in texts:
            stale.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
