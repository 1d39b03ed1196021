"""`rayfan ledger`: shows and exports what became of every frame, while an appliance runs and afterwards."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

ABOUT = """\
Shows what became of the frames of each series at each stage: processed, failed,
dropped and why, or waiting. Works while an appliance runs and afterwards; earlier
runs in the same run folder are kept.
"""
SHOWN = 5
"""Series in a table, the newest."""
LAST = "last"


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    ledger = commands.add_parser("ledger", help="show or export what became of every frame", description=ABOUT)
    ledger.add_argument("config", metavar="CONFIG.toml", nargs="?", type=Path, help="of the appliance")
    where = ledger.add_mutually_exclusive_group()
    where.add_argument("--run-dir", metavar="DIR", type=Path, help="run folder of the appliance")
    where.add_argument("--prefix", metavar="P", help="prefix of the appliance, RF: if nothing is given")
    ledger.add_argument("--run", metavar="N", dest="which", type=_run_number, help="a run by number, or last")
    ledger.add_argument("--runs", action="store_true", help="list the runs")
    ledger.add_argument("--series", metavar="ID", type=int, help="one series only")
    ledger.add_argument("--missed", action="store_true", help="the ids that were missed, and why")
    ledger.add_argument("--format", choices=("table", "json", "csv"), default="table")
    ledger.set_defaults(run=_show)


def _run_number(text: str) -> int | None:
    if text == LAST:
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or {LAST}, found {text!r}") from None


def _show(options: argparse.Namespace) -> int:
    from ioc.supervisor.ledger_report import LedgerReader
    from ioc.supervisor.ledger_store import FILE

    reader = LedgerReader(_folder(options) / FILE)
    try:
        if options.runs:
            _list_runs(reader.runs(), options.format)
            return 0
        content = _content(reader, options)
    finally:
        reader.close()
    if options.format == "json":
        print(json.dumps(content, indent=2))
    elif options.format == "csv":
        _write_csv(missed_rows(content) if options.missed else account_rows(content))
    else:
        for line in table(content, options.missed):
            print(line)
    return 0


def _folder(options: argparse.Namespace) -> Path:
    from ioc.console import read_config
    from ioc.supervisor.run_folder import folder_of

    if options.run_dir is not None:
        return options.run_dir
    sets = [f"prefix={json.dumps(options.prefix)}"] if options.prefix is not None else []
    return folder_of(read_config(options.config, sets), os.environ)


def _content(reader: Any, options: argparse.Namespace) -> dict[str, Any]:
    from ioc.core.errors import UserError
    from ioc.supervisor.ledger_report import accounts_json, run_json, stage_name
    from ioc.supervisor.series import UNKNOWN

    run = reader.run(options.which)
    series = reader.series(run.run, options.series)
    if options.series is not None and not series:
        raise UserError(f"run {run.run}: no series {options.series}; rayfan ledger --format csv lists them all")
    content = run_json(run) | {
        "series": [
            {
                "id": number,
                "published": one.published,
                "ended": one.ended.value if one.ended else None,
                "complete": one.complete,
            }
            for number, one in series
            if number != UNKNOWN
        ],
        "accounts": [account for number, one in series for account in accounts_json(number, one)],
    }
    if options.missed:
        content["missed"] = [
            {
                "series": ids.series,
                "group": place.group,
                "stage": stage_name(place),
                "reason": reason,
                "first": ids.first,
                "last": ids.last,
                "step": ids.step,
                "count": ids.count,
            }
            for place, ids, reason in reader.missed(run.run, options.series)
        ]
    return content


def table(content: dict[str, Any], missed: bool = False) -> Iterator[str]:
    """Yield the lines that show a run."""
    yield _headline(content)
    many = len(content["series"])
    yield f"{content['published']} frames published in {many} series, residue {content['residue']}"
    if not many:
        yield "No frame was published yet."
    if many > SHOWN:
        yield f"The newest {SHOWN} series follow; all are in --format json and --format csv."
    for one in content["series"][-SHOWN:]:
        yield ""
        yield from _series_lines(one, content, missed)


def _headline(content: dict[str, Any]) -> str:
    begun = datetime.fromtimestamp(content["started"]).strftime("%Y-%m-%d %H:%M:%S")
    if content["ended"] is None:
        end = "not over"
    else:
        when = datetime.fromtimestamp(content["ended"]).strftime("%Y-%m-%d %H:%M:%S")
        end = f"to {when}, " + ("killed" if content["exit"] is None else f"exit code {content['exit']}")
    return f"Run {content['run']}  {content['prefix']}  {begun} {end}"


def _series_lines(one: dict[str, Any], content: dict[str, Any], missed: bool) -> Iterator[str]:
    how = f"ended {one['ended']}" if one["ended"] else "goes on"
    done = ", complete" if one["complete"] else ""
    yield f"Series {one['id']}: {one['published']} frames, {how}{done}"
    yield f"{'stage':20}{'given':>10}{'processed':>11}{'failed':>8}{'waiting':>9}  dropped"
    for row in (row for row in content["accounts"] if row["series"] == one["id"]):
        reasons = [f"{count} {reason}" for reason, count in row["dropped"].items()] or ["0"]
        inexact = "" if row["exact"] else " (ids incomplete)"
        yield (
            f"{row['stage'][:19]:20}{row['given']:>10}{row['processed']:>11}{row['failed']:>8}{row['waiting']:>9}"
            f"  {reasons[0]}{inexact if len(reasons) == 1 else ''}"
        )
        for number, reason in enumerate(reasons[1:], 2):
            yield f"{'':60}{reason}{inexact if number == len(reasons) else ''}"
    if missed:
        ours = [ids for ids in content["missed"] if ids["series"] == one["id"]]
        yield from () if ours else ("  none was missed",)
        for ids in ours:
            every = f" every {ids['step']}" if ids["count"] > 1 and ids["step"] > 1 else ""
            span = str(ids["first"]) if ids["count"] == 1 else f"{ids['first']}-{ids['last']}{every}"
            yield f"  {ids['stage'][:17]:18} {ids['reason']:12} {span}"


def account_rows(content: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the rows of the accounts, the names of the columns first."""
    from ioc.core.ledger import Reason

    counts = ("given", "received", "processed", "failed", "waiting")
    reasons = [reason.value for reason in Reason]
    yield ["run", "series", "published", "ended", "group", "stage", *counts, *reasons, "exact"]
    series = {one["id"]: one for one in content["series"]}
    for row in content["accounts"]:
        one = series.get(row["series"], {"published": "", "ended": ""})
        yield [
            content["run"],
            row["series"],
            one["published"],
            one["ended"] or "",
            row["group"],
            row["stage"],
            *(row[name] for name in counts),
            *(row["dropped"].get(reason, 0) for reason in reasons),
            int(row["exact"]),
        ]


def missed_rows(content: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the rows of the missed ids, the names of the columns first."""
    columns = ["series", "group", "stage", "reason", "first", "last", "step", "count"]
    yield ["run", *columns]
    for row in content["missed"]:
        yield [content["run"], *(row[name] for name in columns)]


def _list_runs(runs: Iterable[Any], form: str) -> None:
    from ioc.supervisor.ledger_report import run_json

    told = [run_json(run) for run in runs]
    if form == "json":
        print(json.dumps(told, indent=2))
    elif form == "csv":
        _write_csv([list(told[0]), *(list(one.values()) for one in told)] if told else [])
    else:
        for one in told:
            print(f"{_headline(one)}, {one['published']} frames, residue {one['residue']}")


def _write_csv(rows: Iterable[Iterable[Any]]) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
