"""`rayfan doctor`: looks at this machine with the eyes of a configuration, and says what to do."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioc.core.config import Config
    from ioc.doctor.finding import Finding

ABOUT = """\
Looks at software, clock, memory, network, disk and codecs of this machine with the
eyes of a configuration, and runs the configuration for a few seconds, apart from
everything else, to predict the frame rate that it sustains. Exit code 1 if something
would break.
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    doctor = commands.add_parser("doctor", help="say what of this machine would break or slow it", description=ABOUT)
    doctor.add_argument("config", metavar="CONFIG.toml", nargs="?", type=Path, help="left out: the demonstration")
    doctor.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override a key")
    doctor.add_argument("--no-trial", action="store_true", help="predict no rate: run nothing")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_examine)


def findings(config: "Config", trial: bool = True) -> "Iterator[Finding]":
    """Yield all that is found."""
    from ioc.doctor import host, network, places, rates
    from ioc.doctor.remembered import remember
    from ioc.doctor.trial import finding

    yield from host.findings(config)
    yield from network.findings(config)
    yield from places.findings(config)
    yield from rates.findings(config)
    if trial:
        yield finding(config, remember)


def _examine(options: argparse.Namespace) -> int:
    from ioc.console import read_config
    from ioc.doctor.finding import Level

    config = read_config(options.config, options.set)
    found: list[Finding] = []
    show = _collect if options.json else _print
    for one in show(findings(config, not options.no_trial)):
        found.append(one)
    if options.json:
        import json

        table = [{"level": one.level.name, "what": one.what, "found": one.found, "advice": one.advice} for one in found]
        print(json.dumps(table, indent=1))
    return 1 if any(one.level is Level.BAD for one in found) else 0


def _collect(found: "Iterable[Finding]") -> "Iterator[Finding]":
    yield from found


def _print(found: "Iterable[Finding]") -> "Iterator[Finding]":
    """Print each finding as it comes, wrapped to the width of the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ioc.doctor.finding import Level

    console = Console(highlight=False)
    styles = {Level.GOOD: "green", Level.WARNING: "yellow", Level.BAD: "bold red"}
    for one in found:
        row = Table.grid(padding=(0, 1))
        row.add_column(width=7)
        row.add_column(width=19)
        row.add_column(overflow="fold")
        row.add_row(Text(one.level.value, styles[one.level]), one.what, Text(one.found))
        if one.advice:
            row.add_row("", "", Text(f"-> {one.advice}", styles[one.level]))
        console.print(row)
        yield one
