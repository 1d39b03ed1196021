"""The ledger for the page: the newest series with their accounts, and which ids were missed, and why."""

from pathlib import Path
from typing import Any

from ioc.core.errors import UserError
from ioc.supervisor.ledger_report import LedgerReader, accounts_json, run_json, stage_name
from ioc.supervisor.ledger_store import FILE
from ioc.supervisor.series import UNKNOWN

MOST_SERIES = 20
MOST_MISSED = 300
"""Ranges that are shown."""


def ledger(folder: Path, only: int | None) -> dict[str, Any]:
    """Return the account of the newest series of this run, or of one series; {} while there is no ledger yet."""
    try:
        reader = LedgerReader(folder / FILE)
    except UserError:
        return {}
    try:
        run = reader.run(None)
        series = reader.series(run.run, only, MOST_SERIES)
        missed = reader.newest_missed(run.run, only, MOST_MISSED + 1)
    except UserError:
        return {}
    finally:
        reader.close()
    return run_json(run) | {
        "series": [
            {
                "id": number,
                "published": one.published,
                "ended": one.ended.value if one.ended else None,
                "complete": one.complete,
                "accounts": accounts_json(number, one),
            }
            for number, one in series
            if number != UNKNOWN
        ],
        "more": len(missed) > MOST_MISSED,
        "missed": [
            {
                "series": ids.series,
                "stage": stage_name(place),
                "reason": reason,
                "first": ids.first,
                "last": ids.last,
                "step": ids.step,
                "count": ids.count,
            }
            for place, ids, reason in missed[:MOST_MISSED]
        ],
    }
