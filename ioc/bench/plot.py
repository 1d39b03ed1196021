"""PNG plots of results; matplotlib is an extra, loaded only here."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ioc.core.errors import UserError

log = logging.getLogger(__name__)

INCHES = (11.0, 5.0)
DOTS_PER_INCH = 120


def check() -> None:
    """See that plots can be made.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")  # no display
    except ImportError:
        raise UserError("plots: expected matplotlib, found it not installed; pip install 'rayfan[bench]'") from None


def possible() -> bool:
    """Return whether plots can be made, and say so if not."""
    try:
        check()
    except UserError as error:
        log.warning("no plot: %s", error)
        return False
    return True


def plot_knee(result: dict[str, Any], file: Path) -> None:
    """Draw the single runs of both sides, repeat by repeat."""
    figure, (axes,) = _figure(1)
    for name, label in (("runs", "Rayfan"), ("peer_runs", "peer")):
        rates = [run["fps"] for run in result[name]]
        axes.plot(range(1, len(rates) + 1), rates, "o-", label=label)
    axes.set(title=result["case"]["title"], xlabel="repeat", ylabel="frames/s, nothing lost", ylim=(0, None))
    axes.legend()
    figure.savefig(file)


def plot_table(result: dict[str, Any], file: Path) -> None:
    """Draw the cases beside the peer, and the cost of a frame as things grow."""
    figure, (bars, lines) = _figure(2)
    _bars(bars, result["cases"])
    for name in ("size", "consumers", "idle_groups", "past_series", "age"):
        points = [point for point in result["growth"] if point["of"] == name and point["cpu_seconds_per_frame"]]
        costs = [point["cpu_seconds_per_frame"] * 1e6 for point in points]
        lines.plot([point["value"] for point in points], costs, "o-", label=name.replace("_", " "))
    lines.set(title="what a frame costs", xlabel="pixels a side, how many, or s", ylabel="CPU us per frame")
    lines.set_xscale("symlog")
    lines.set_ylim(0, None)  # from 0, so that what does not grow looks flat
    lines.legend()
    figure.savefig(file)


def _bars(axes: Any, cases: Sequence[dict[str, Any]]) -> None:
    places = range(len(cases))
    axes.barh([place - 0.2 for place in places], [case["knee_fps"] for case in cases], 0.4, label="Rayfan")
    axes.barh([place + 0.2 for place in places], [case["peer_knee_fps"] or 0 for case in cases], 0.4, label="peer")
    axes.set_yticks(list(places), [case["title"].replace(", ", "\n", 1) for case in cases], fontsize="small")
    axes.set(title="highest rate without a loss", xlabel="frames/s", xscale="log")
    axes.invert_yaxis()
    axes.legend()


def _figure(columns: int) -> tuple[Any, Sequence[Any]]:
    check()
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]
