"""`rayfan processor list | describe | new`: what the command prints; the only place of this package that prints."""

import argparse
import json

from consumers.catalogue import description, description_text, listing, listing_text
from consumers.template import write_template


def show_list(options: argparse.Namespace) -> int:
    """Print the processors that come with Rayfan."""
    print(json.dumps(listing(), indent=2) if options.json else listing_text())
    return 0


def show_description(options: argparse.Namespace) -> int:
    """Print what a processor declares."""
    found = json.dumps(description(options.name), indent=2) if options.json else description_text(options.name)
    print(found)
    return 0


def write_new(options: argparse.Namespace) -> int:
    """Write a new processor and its test."""
    processor, test = write_template(options.name, options.folder)
    print(f"{processor}\n{test}\nTry it:  rayfan up --duration 10 --set groups.stats.processor={processor}")
    print(f"Test it: python -m unittest {test}")
    return 0


def work(options: argparse.Namespace) -> int:
    """Join an appliance that runs elsewhere, until it or the user asks to leave."""
    from consumers.away import run  # with EPICS, which the rest of this file does without

    run(options)
