"""The face of `rayfan up`: checks the configuration, launches the supervisor, shows what goes on and how it ended."""

import os
import select
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from rich.console import Console

from ioc.cli import version
from ioc.console_display import Display, Facts, Lines, LiveTable, Silent, ledger_table
from ioc.core.config import Config, load
from ioc.core.demo import DEMO
from ioc.core.errors import ConfigError, mismatch
from ioc.core.status import ExitCode, ProcessSpec, Role
from ioc.core.topology import DETECTOR, ingress_node, intake_node, takers
from ioc.supervisor.appliance import Appliance
from ioc.supervisor.launch import Launch, write_report
from ioc.supervisor.plan import MODULES, collector_names, consumer_names, single_names
from ioc.supervisor.run_folder import RunFolder, folder_of
from ioc.supervisor.toml_text import toml_text

DEMONSTRATION = "the demonstration"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_SECONDS = 0.25
"""s between two looks at the appliance."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an appliance is run: for how long (s, None: until stopped), and where its ledger goes."""

    duration: float | None = None
    report: Path | None = None
    debug: bool = False


class Running(Protocol):
    """What the console needs of an appliance that was launched."""

    restarts: int

    def view(self) -> Appliance | None:
        """Return what there is to see."""
        ...

    def ended(self) -> int | None:
        """Return the exit code once all is over."""
        ...

    def stop(self) -> None:
        """Ask for the end."""
        ...

    def fileno(self) -> int:
        """Return a descriptor that is readable at the end."""
        ...


def read_config(path: Path | None, overrides: Sequence[str]) -> Config:
    """Return the configuration of a file, or of the demonstration, and see that its files exist.

    Raises:
        ConfigError: names file and key, what was expected and what was found.
    """
    config = load(_text(path), str(path) if path else DEMONSTRATION, overrides)
    source = config.detector.source
    if source.kind == "replay" and source.path is not None and not source.path.is_file():
        found = "a folder" if source.path.is_dir() else "nothing"
        raise ConfigError(f"key 'detector.source.path': expected a file, found {found} at {source.path}")
    return config


def print_config(config: Config) -> None:
    """Print the effective configuration as TOML."""
    sys.stdout.write(toml_text(config))


def up(config: Config, options: Options, module: str = MODULES[Role.SUPERVISOR]) -> int:
    """Run an appliance in the foreground; return the exit code.

    Raises:
        ConfigError: it cannot be started as it is configured.
    """
    _check_report(options.report)
    folder = RunFolder(folder_of(config, os.environ))
    spec = ProcessSpec(role=Role.SUPERVISOR, name="supervisor", config=config, run_dir=folder.path, debug=options.debug)
    console = Console(highlight=False, emoji=False)
    launch = Launch(spec, folder, module)
    with _signals() as stopping:
        launch.start()
        try:
            _greet(console, config, folder.path)
            code = Watch(launch, display_for(console), Facts.of(config, options.duration)).run(stopping)
            return _farewell(console, launch, code, options)
        finally:
            launch.close()


def display_for(console: Console) -> Display:
    """Return a live table on a terminal, lines elsewhere."""
    return LiveTable(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Watch:
    """Shows an appliance and ends it when its time has come or somebody asks."""

    def __init__(self, running: Running, display: Display, facts: Facts) -> None:
        self._running = running
        self._display = display
        self._facts = facts
        self._since_ns: int | None = None
        self._asked = False

    def run(self, stopping: int) -> int:
        """Return the exit code of the appliance; `stopping` is a descriptor that each wish to stop writes to."""
        with self._display:
            while (code := self._running.ended()) is None:
                ready, _, _ = select.select([stopping, self._running.fileno()], [], [], LOOK_SECONDS)
                if stopping in ready:
                    self._stop_for(os.eventfd_read(stopping))
                self._look()
            self._look()
        return code

    def _look(self) -> None:
        view = self._running.view()
        if view is None:
            return
        if self._since_ns is None:
            self._since_ns = view.running_since_ns
        elapsed = None if self._since_ns is None else (time.monotonic_ns() - self._since_ns) / 1e9
        duration = self._facts.duration
        if duration is not None and elapsed is not None and elapsed >= duration and not self._asked:
            self._asked = True
            self._running.stop()
        try:
            self._display.show(view, elapsed, self._facts)
        except (OSError, SystemExit):  # whoever read our output has gone; rich makes a SystemExit of a broken pipe
            self._display = Silent()
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of this process
            self._stop_for(1)

    def _stop_for(self, wishes: int) -> None:
        self._asked = True
        for _ in range(wishes):
            self._running.stop()


def _text(path: Path | None) -> str:
    if path is None:
        return DEMO
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"configuration {path}: {error.strerror}; expected a TOML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"configuration {path}: expected UTF-8 text, found byte {error.object[error.start]:#x}"
        ) from None


def _check_report(path: Path | None) -> None:
    if path is None or str(path) == "-":
        return
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(mismatch("--report", "a file in a folder that can be written to", str(path)))


@contextmanager
def _signals() -> Iterator[int]:
    """Turn the signals that ask us to stop into writes to a descriptor."""
    stopping = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ask(_number: int, _frame: FrameType | None) -> None:
        os.eventfd_write(stopping, 1)

    before = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(stopping)


def _greet(console: Console, config: Config, folder: Path) -> None:
    prefix = config.prefix
    console.print(f"[bold]Rayfan {version()}[/bold]  prefix [bold]{_plain(prefix)}[/bold]")
    console.print(f"Logs and status files: {_plain(str(folder))}", soft_wrap=True)
    for text in picture(config):
        console.print(_plain(text), soft_wrap=True)
    console.print("Look at, or change, from another terminal:")
    for command in commands(config):
        console.print(f"  {_plain(command)}", soft_wrap=True)
    if warning := too_fast(config):
        console.print(f"[bold yellow]Warning[/bold yellow]  {_plain(warning)}", soft_wrap=True)
    console.print("Ctrl-C lets every frame finish, then stops.\n")


def too_fast(config: Config) -> str:
    """Return a warning if the configuration asks for more than `rayfan doctor` found that it sustains here, else ''."""
    from ioc.doctor.remembered import remembered

    rate = remembered(config)
    if rate is None:
        return ""
    from ioc.doctor.rates import asked_rate  # imported here: it measures, and so needs much

    asked = asked_rate(config)
    if asked <= rate:
        return ""
    return f"{asked:.0f} Hz are asked for; rayfan doctor found that this configuration sustains {rate:.0f} Hz here"


def commands(config: Config) -> list[str]:
    """Return commands to copy that show and change the most important PVs."""

    def pv(*names: str) -> str:
        return " ".join(shlex.quote(config.prefix + name) for name in names)

    lines = [
        f"caget {pv('cam1:ArrayCounter_RBV', 'cam1:ArrayRate_RBV')}",
        f"caget {pv('Ledger:Published_RBV', 'Ledger:Residue_RBV')}",
        f"caput {pv('cam1:FrameRate')} 500",
        f"caput {pv('cam1:Acquire')} 0",
        f"pvget {pv('Pva1:Image')}",
        f"pvget {pv('cam1:Status')}",
    ]
    if next(iter(takers(config.inputs, DETECTOR)), "").startswith("groups."):
        lines.insert(4, f"caput {pv('Dist1:Count')} 3")
    return lines


def picture(config: Config) -> list[str]:
    """Return how frames go through a chain, a line a stage; nothing if all stages take the detector's frames."""
    inputs = config.inputs
    if all(giver == DETECTOR for giver in inputs.values()):
        return []
    names = consumer_names(config) | collector_names(config) | single_names(config)
    intakes = {intake_node(table): f"In{number}" for number, table in enumerate(config.intake, 1)}
    ingresses = {ingress_node(table): f"EjfatIn{number}" for number, table in enumerate(config.ingress, 1)}

    def below(giver: str, deep: int) -> Iterator[str]:
        for node in takers(inputs, giver):
            members = names.get(node.removeprefix("groups."), ["remote members"])
            yield f"  {'   ' * deep}-> {node.partition('.')[2]}: {' '.join(members)}"
            yield from below(node, deep + 1)

    lines = ["Frames go:", f"  {DETECTOR}", *below(DETECTOR, 1)]
    for node, name in intakes.items():
        urls = config.intake[node.partition(".")[2]].under(config.prefix).url
        lines += [f"  {name}: {' '.join(urls)}", *below(node, 1)]
    for node, name in ingresses.items():
        lines += [f"  {name}: {node}", *below(node, 1)] if takers(inputs, node) else []
    return lines


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def _farewell(console: Console, launch: Launch, code: int, options: Options) -> int:
    report: dict[str, Any] | None = launch.ledger()
    if report is not None and any(stage["received"] for stage in report["stages"]):
        console.print(ledger_table(report))
    if report is not None and options.report is not None:
        write_report(options.report, report)
        console.print(f"Report: {_plain(str(options.report))}", soft_wrap=True)
    if code != ExitCode.DRAINED:
        sys.stdout.flush()
        sys.stderr.write(f"rayfan: {launch.last_error()}\n")
        if code != ExitCode.BAD_CONFIGURATION:
            sys.stderr.write(f"rayfan: logs are in {launch.folder.path}\n")
        if options.debug:
            sys.stderr.write(_logs(launch))
    return code


def _logs(launch: Launch) -> str:
    """Return the ends of the logs of the processes that had an error."""
    view = launch.view()
    names = ["supervisor", *(one.name for one in (view.processes if view else []) if one.last_error)]
    return "".join(f"--- {name}.log\n{launch.folder.log_end(name)}\n" for name in names)
