"""`rayfan processor list | describe | new | screen` and `rayfan replay`: the only place of this package that prints."""

import argparse
import json

from consumers import replaying
from consumers.catalogue import description, description_text, listing, listing_text
from consumers.panel import write_panel
from consumers.template import write_template
from ioc.columns import terminal_width


def show_list(options: argparse.Namespace) -> int:
    """Print the processors that come with Rayfan."""
    print(json.dumps(listing(), indent=2) if options.json else listing_text(terminal_width()))
    return 0


def show_description(options: argparse.Namespace) -> int:
    """Print what a processor declares."""
    if options.json:
        print(json.dumps(description(options.name), indent=2))
    else:
        print(description_text(options.name, terminal_width()))
    return 0


def write_new(options: argparse.Namespace) -> int:
    """Write a new processor and its test."""
    processor, test = write_template(options.name, options.folder)
    print(f"{processor}\n{test}\nTry it:  rayfan up --duration 10 --set groups.stats.processor={processor}")
    print(f"Test it: python -m unittest {test}")
    return 0


def write_screen(options: argparse.Namespace) -> int:
    """Write the panel of a processor for Phoebus."""
    print(write_panel(options.name, options.folder))
    return 0


def run_replay(options: argparse.Namespace) -> int:
    """Run a processor on a frame that was set aside; return 1 if it fails."""
    replay = replaying.prepare(options.file, options.processor, dict(options.set))
    for line in replaying.about(replay):
        print(line)
    print(f"-- {replay.name}", flush=True)
    good, lines = replaying.run(replay, options.pdb)
    for line in lines:
        print(line)
    return 0 if good else 1


def work(options: argparse.Namespace) -> int:
    """Join an appliance that runs elsewhere, until it or the user asks to leave."""
    from consumers.away import run  # with EPICS, which the rest of this file does without

    run(options)
