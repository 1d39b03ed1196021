"""The sub-commands of `rayfan bench`: JSON alone on standard output, progress on standard error."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ABOUT = """\
Measures what this machine, Rayfan on it, and PvaPy beside Rayfan can do. Results go to standard output, progress to
standard error. What else runs on the machine is in the figures: a quiet one is needed.
"""
Subparsers = argparse._SubParsersAction

MTU_RANGE = (576, 9000)
PEERS = ("pvapy", "none")
POLICIES = ("lossless", "bounded", "latest", "acknowledged")
TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def add(commands: Subparsers) -> None:
    """Add `bench` with its sub-commands; each one's work is imported when it runs."""
    bench = commands.add_parser("bench", help="measure rates and costs", description=ABOUT)
    parts = bench.add_subparsers(title="benchmarks", metavar="BENCHMARK", required=True)
    _add_limits(parts)
    _add_knee(parts)
    _add_watched(parts)
    _add_table(parts)
    _add_ejfat(parts)
    _add_pva(parts)


def _add_limits(parts: Subparsers) -> None:
    limits = parts.add_parser("limits", help="the machine's own limits")
    _common(limits, seconds=2.0, repeats=None)
    limits.set_defaults(run=_run(_limits))


def _add_knee(parts: Subparsers) -> None:
    knee = parts.add_parser("knee", help="the highest rate without a loss, beside a peer")
    _common(knee, seconds=10.0, repeats=5)
    _add_peer(knee)
    knee.add_argument("--size", metavar="PIXELS", type=_count(1, 16384), default=512, help="side of a square frame")
    knee.add_argument("--dtype", choices=TYPES, default="uint8")
    knee.add_argument("--consumers", metavar="N", type=_count(1, 64), default=1, help="consumers that take turns")
    knee.add_argument("--policy", choices=POLICIES, default="lossless")
    knee.add_argument("--batch", metavar="N", type=_count(1, 4096), default=1, help="frames handed over at a time")
    knee.add_argument("--fresh", action="store_true", help="write each frame anew (otherwise 8 prepared ones)")
    knee.add_argument("--read", action="store_true", help="read every byte of each frame, on both sides")
    knee.add_argument("--metadata", metavar="N", type=_count(1, 32), help="channels to match with every frame")
    knee.add_argument("--plot", metavar="FILE.png", type=Path)
    knee.set_defaults(run=_run(_knee))


def _add_watched(parts: Subparsers) -> None:
    watched = parts.add_parser("watched", help="the cost of clients that monitor every status PV")
    _common(watched, seconds=5.0, repeats=5)
    watched.add_argument("--clients", metavar="N", type=_count(2, 200), default=50, help="half CA, half PVA")
    watched.set_defaults(run=_run(_watched))


def _add_table(parts: Subparsers) -> None:
    table = parts.add_parser("table", help="all cases, as a table in Markdown, JSON and PNG")
    _common(table, seconds=10.0, repeats=5)
    _add_peer(table)
    table.add_argument("--quick", action="store_true", help="runs of 2 s, one of each, fewer points")
    table.set_defaults(run=_run(_table))


def _add_ejfat(parts: Subparsers) -> None:
    ejfat = parts.add_parser("ejfat", help="egress to ingress over loopback, beside a bare pair of sockets")
    _common(ejfat, seconds=10.0, repeats=5)
    ejfat.add_argument("--size", metavar="BYTES", type=_count(1, 1 << 28), default=1 << 20, help="bytes of a frame")
    ejfat.add_argument("--mtu", metavar="BYTES", type=_count(*MTU_RANGE), default=1500, help="bytes of an IP packet")
    ejfat.add_argument("--whole", action="store_true", help="between the IOCs of an appliance")
    ejfat.add_argument("--plain", action="store_true", help="without segmentation offload, packet by packet")
    ejfat.add_argument(
        "--workers", metavar="N", type=_count(0, 16), default=0, help="through a load balancer to N workers, and to one"
    )
    ejfat.add_argument("--beside-pva", action="store_true", help="whole appliances, beside pvAccess to a PvaPy client")
    ejfat.add_argument("--table", action="store_true", help="all cases that a ratio is promised for, as a table")
    ejfat.set_defaults(run=_run(_ejfat))


def _add_pva(parts: Subparsers) -> None:
    pva = parts.add_parser("pva", help="over pvAccess to PvaPy's clients, beside PvaPy's simulator")
    _common(pva, seconds=10.0, repeats=5)
    _add_peer(pva)
    pva.add_argument("--size", metavar="PIXELS", type=_count(1, 16384), default=512, help="side of a square frame")
    pva.add_argument("--clients", nargs="+", type=int, choices=(1, 2, 4), default=[1, 2, 4], help="default 1 2 4")
    pva.add_argument("--all", action="store_true", help="all rows: 512 and 4096, turns, broadcast, slow and fast")
    pva.set_defaults(run=_run(_pva))


def _common(parser: argparse.ArgumentParser, seconds: float, repeats: int | None) -> None:
    parser.add_argument("--seconds", metavar="S", type=_seconds, default=seconds, help=f"of one run; {seconds:g}")
    if repeats is not None:
        parser.add_argument("--repeats", metavar="N", type=_count(1, 100), default=repeats, help=f"default {repeats}")
    parser.add_argument("--json", action="store_true", help="one JSON object (otherwise a few lines to read)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="write the result there, too")


def _add_peer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--peer", choices=PEERS, default="pvapy", help="whom to compare with; default pvapy")


def _limits(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from ioc.bench.limits import measure

    return measure(folder, options.seconds)


def _knee(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from dataclasses import replace

    from ioc.bench import knee, plot
    from ioc.bench.case import Case
    from ioc.core.config_table import Policy
    from ioc.core.errors import UserError
    from ioc.core.frame import DataType

    if options.plot is not None:
        plot.check()
    dtype = next(member for member in DataType if member.value.lower() == options.dtype)
    if options.read and options.batch > 1:
        raise UserError("--read: expected --batch 1 with it, found both")
    if options.metadata and options.consumers > 1:
        raise UserError(f"--metadata: expected --consumers 1 with it, found {options.consumers}")
    case = Case(options.size, dtype, options.consumers, Policy(options.policy), options.batch)
    case = replace(case, fresh=options.fresh, read=options.read, metadata=options.metadata or 0)
    result = knee.measure(folder, case, knee.Plan(options.seconds, options.repeats, options.peer != "none"))
    if options.plot is not None:
        plot.plot_knee(result, options.plot)
    return result


def _watched(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from ioc.bench.watched import measure

    return measure(folder, options.clients, options.seconds, options.repeats)


def _table(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from ioc.bench import plot, table
    from ioc.bench.knee import Plan

    seconds, repeats = (min(options.seconds, 2.0), 1) if options.quick else (options.seconds, options.repeats)
    result = table.measure(folder, Plan(seconds, repeats, options.peer != "none"), options.quick)
    if options.out is not None:
        if plot.possible():
            plot.plot_table(result, options.out / "table.png")
        (options.out / "table.md").write_text(table.markdown(result))
    if not options.json:
        sys.stdout.write(table.markdown(result))
    return result


def _ejfat(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from ioc.bench.ejfat import beside_pva, measure
    from ioc.bench.ejfat_pair import Load
    from ioc.core.errors import UserError

    if options.table:
        return _ejfat_table(options, folder)
    if options.whole and (options.plain or options.workers):
        raise UserError("--whole: expected neither --plain nor --workers with it")
    load = Load(options.size, options.mtu, options.whole, options.plain, options.workers)
    side = beside_pva if options.beside_pva else measure
    return side(folder, load, options.seconds, options.repeats)


def _ejfat_table(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from ioc.bench import ejfat_table

    result = ejfat_table.measure_all(folder, options.seconds, options.repeats)
    if options.out is not None:
        (options.out / "ejfat.md").write_text(ejfat_table.markdown(result))
    if not options.json:
        sys.stdout.write(ejfat_table.markdown(result))
    return result


def _pva(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from ioc.bench import pva_table
    from ioc.bench.knee import Plan
    from ioc.bench.pva import measure

    plan = Plan(options.seconds, options.repeats, options.peer != "none")
    if options.all:
        return pva_table.measure(folder, plan)
    return measure(folder, options.size, plan, tuple(options.clients))


def _run(body: Callable[[argparse.Namespace, Path], dict[str, Any]]) -> Callable[[argparse.Namespace], int]:
    """Return what runs a benchmark in a folder of its own and shows its result."""

    def run(options: argparse.Namespace) -> int:
        from ioc.bench.workplace import workplace

        logging.getLogger("ioc.bench").setLevel(logging.INFO)  # progress
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
        with workplace() as folder:
            result = body(options, folder)
        name = body.__name__.removeprefix("_")
        text = json.dumps(result, indent=2) + "\n"
        if options.out is not None:
            (options.out / f"{name}.json").write_text(text)
        if options.json:
            sys.stdout.write(text)
        elif name != "table" and "rows" not in result:  # those are shown as tables
            sys.stdout.write("".join(f"{key}: {_short(value)}\n" for key, value in result.items() if _plain(value)))
        return 0

    return run


def _plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected 0.1 to 3600 seconds, found {text!r}")
    return seconds


def _count(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, found {text!r}")
        return int(text)

    return parse
