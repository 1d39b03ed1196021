"""What `rayfan work` is told: options of the command, and those that a batch job is given besides."""

import argparse
from pathlib import Path

PATIENCE = 60.0


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of a worker."""
    parser.add_argument("--join", metavar="PREFIX", required=True, help="prefix of the appliance, for example RF:")
    parser.add_argument("--group", metavar="NAME", required=True, help="group to join")
    parser.add_argument(
        "--token-file", metavar="FILE", type=Path, required=True, help="a copy of the appliance's work.token, mode 0600"
    )
    parser.add_argument("--set", metavar="N", type=int, help="set to join; left out: one of its own")
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, help="where the processor may write; left out: a temporary folder"
    )
    parser.add_argument(
        "--patience", metavar="S", type=float, default=PATIENCE, help="s without the appliance, then end (%(default)g)"
    )
    parser.add_argument("--debug", action="store_true", help="log more")
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--member", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--life", default="", help=argparse.SUPPRESS)
