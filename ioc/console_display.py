"""How `rayfan up` shows an appliance: a live table on a terminal, a line every few seconds elsewhere, the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ioc.core.config import Config
from ioc.core.status import Role, State
from ioc.supervisor.appliance import OK, Appliance, ProcessView

LINE_SECONDS = 3.0
"""s between two lines without a terminal."""
BAR_WIDTH = 40
OTHER_LINES = 7
"""Lines of a screen that are not for processes: heading, summary with message and address, progress, cursor."""
LEAST_ROWS = 3
STYLES = {
    State.STARTING: "yellow",
    State.RUNNING: "green",
    State.DRAINING: "yellow",
    State.STOPPED: "dim",
    State.FAILED: "bold red",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """When the run has an end: after `duration` seconds, or when an acquisition has `frames` frames."""

    duration: float | None = None
    frames: int | None = None

    @classmethod
    def of(cls, config: Config, duration: float | None) -> Self:
        """Return the facts of a configuration."""
        multiple = config.detector.image_mode == "Multiple"
        return cls(duration, config.detector.num_images if multiple else None)

    def progress(self, view: Appliance, elapsed: float | None) -> tuple[float, float, str] | None:
        """Return how far the run is, of how much, in which unit; None if it has no end."""
        if self.duration is not None:
            return min(elapsed or 0.0, self.duration), self.duration, "s"
        if self.frames is not None:
            return min(view.series_published, self.frames), self.frames, "frames"
        return None


class Display(Protocol):
    """Shows views of an appliance, one after the other."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *_error: object) -> None: ...

    def show(self, view: Appliance, elapsed: float | None, facts: Facts) -> None:
        """Show a view; `elapsed` s since all processes ran, None before."""
        ...


class Silent:
    """Shows nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_error: object) -> None:
        """Do nothing."""

    def show(self, view: Appliance, elapsed: float | None, facts: Facts) -> None:
        """Do nothing."""


class Lines(Silent):
    """Prints a line every few seconds, and one for every change of state and every restart."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0
        self._state: State | None = None
        self._restarts: dict[str, int] = {}
        self._web = ""

    def show(self, view: Appliance, elapsed: float | None, facts: Facts) -> None:
        """Print what is new."""
        for process in view.processes:
            if process.restarts > self._restarts.get(process.name, 0):
                why = f": {process.last_error}" if process.last_error else ""
                self._print(f"{process.name} is started again ({process.restarts}){why}")
            self._restarts[process.name] = process.restarts
        if view.web and view.web != self._web:
            self._print(web_line(view))
            self._web = view.web
        seconds = elapsed or 0.0
        if view.state is self._state and (elapsed is None or seconds < self._next):
            return
        self._state = view.state
        self._next = seconds + LINE_SECONDS
        self._print(line(view, seconds, facts))

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


class LiveTable:
    """Redraws a table in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveTable":
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Take the table off the screen; the ledger comes in its place."""
        self._live.stop()

    def show(self, view: Appliance, elapsed: float | None, facts: Facts) -> None:
        """Draw a view."""
        rows = self._live.console.size.height - OTHER_LINES
        self._live.update(drawing(view, elapsed, facts, rows), refresh=True)


def line(view: Appliance, seconds: float, facts: Facts) -> str:
    """Return one line about an appliance."""
    rate = next((one.rate for one in view.processes if one.role is Role.DETECTOR), 0.0)
    if view.running_since_ns is None:
        return f"{seconds:6.0f} s  {view.state.value}" + (f": {view.message}" if view.message else "")
    of = f" of {facts.duration:g}" if facts.duration is not None and view.state is State.RUNNING else ""
    done = f"{view.published} frames"
    if facts.duration is None and facts.frames is not None:
        done = f"{min(view.series_published, facts.frames)} of {facts.frames} frames"
    text = (
        f"{seconds:6.0f}{of} s  {view.state.value}  {done}, {rate:.0f} Hz, waiting {view.queued}, "
        f"lost {view.dropped}, failed {view.failed}"
    )
    return text + (f", unaccounted for {view.residue}" if view.residue else "")


def web_line(view: Appliance) -> str:
    """Return the line that says where the web page is."""
    return f"Web page: {view.web}"


def drawing(view: Appliance, elapsed: float | None, facts: Facts, rows: int | None = None) -> RenderableType:
    """Return the picture of an appliance: its processes, in so many rows (None: all), its ledger, how far it is."""
    parts: list[RenderableType] = [_processes(view, rows), _summary(view, elapsed)]
    progress = facts.progress(view, elapsed)
    if progress is not None:
        done, total, unit = progress
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=total, completed=done, width=BAR_WIDTH), f"{done:.0f} of {total:g} {unit}")
        parts.append(bar)
    return Group(*parts)


def ledger_table(report: dict[str, Any]) -> RenderableType:
    """Return the ledger as a table with its verdict below."""
    table = _table("Ledger", "received", "processed", "failed", "queued", "dropped", "missed")
    for stage in report["stages"]:
        missed = sum(last - first + 1 for first, last in stage["missed_ranges"]) + stage["missed_left_out"]
        dropped = "\n".join(f"{count} {reason}" for reason, count in stage["dropped"].items()) or "0"
        row = [stage["received"], stage["processed"], stage["failed"], stage["queued"], dropped, missed]
        table.add_row(
            stage["name"], *(Text(str(value), style=_bad(value, index > 1)) for index, value in enumerate(row))
        )
    residue = report["residue"]
    verdict = (
        Text(f"{report['published']} frames published, residue 0: every frame is accounted for.")
        if residue == 0
        else Text(f"{report['published']} frames published, {residue} are NOT accounted for.", style="bold red")
    )
    return Group(table, verdict)


def _processes(view: Appliance, rows: int | None) -> Table:
    table = _table("Process", "state", "rate/Hz", "lag", "processed", "failed", "lost", "restarts")
    shown = foremost(view.processes, rows)
    for process in shown:
        table.add_row(
            process.name,
            Text(process.state.value, style=STYLES[process.state]),
            f"{process.rate:.1f}",
            str(process.lag),
            str(process.processed),
            *(Text(str(count), style=_bad(count)) for count in (process.failed, process.lost, process.restarts)),
        )
    if len(shown) < len(view.processes):
        table.add_row(Text(f"and {len(view.processes) - len(shown)} more", style="dim"))
    return table


def foremost(processes: Sequence[ProcessView], rows: int | None) -> list[ProcessView]:
    """Return the processes that are shown, in their order, where there are `rows` lines; first who is in trouble.

    The last line is kept for the number of the others. None: all are shown.
    """
    if rows is None or len(processes) <= rows:
        return list(processes)
    by_need = sorted(
        processes, key=lambda one: one.state is State.RUNNING and not (one.failed or one.lost or one.restarts)
    )
    names = {one.name for one in by_need[: max(LEAST_ROWS, rows - 1)]}
    return [one for one in processes if one.name in names]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 or column == "state" else "right", no_wrap=True)
    return table


def _summary(view: Appliance, elapsed: float | None) -> Text:
    text = Text()
    text.append(view.state.value, style=STYLES[view.state])
    if elapsed is not None:
        text.append(f"  {elapsed:.0f} s  published {view.published}  residue ")
        text.append(str(view.residue), style=_bad(view.residue))
        if view.dropped:
            text.append(f"  lost {view.dropped}", style="red")
    if view.health != OK:
        text.append(f"  {view.health}", style="bold red")
    trouble = next((_trouble(one) for one in view.processes if one.last_error), "")
    said = view.last_error or trouble or view.message
    if said:
        text.append(f"\n{said}", style="red" if said != view.message else "dim")
    if view.web:
        text.append(f"\n{web_line(view)}")
    return text


def _trouble(process: ProcessView) -> str:
    return f"{process.name}: {process.last_error}"


def _bad(value: object, counts: bool = True) -> str:
    return "red" if counts and value not in (0, "0") else ""
