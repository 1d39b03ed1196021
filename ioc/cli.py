"""The command `rayfan`. What a subcommand needs is imported when it runs, so that --help is there at once."""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ioc.core.config import Config

EXIT_FAILED = 1
EXIT_BAD_CONFIGURATION = 2
"""Those of ioc.core.status.ExitCode, which is slow to import."""

UP = """\
Starts a detector, its consumers and EJFAT processes, and a supervisor that watches
them, shows what they do, and drains them in flow order when it is asked to stop.
"""

MIRROR = """\
Takes the frames of an areaDetector IOC (or of any NTNDArray channel) once and deals them out to
groups as our own detector does; its controls are handed on where that is asked for.
"""
PROCESSOR = """\
Lists the processors that come with Rayfan, describes one of them or of yours, and writes what a
processor of your own begins with.
"""
REPAIR = """\
Makes an HDF5 file whole again that a killed writer left open: all frames that had been flushed
are in it, and counted. Does nothing to a file that is whole.
"""
SCHEMA = """\
Prints the JSON Schema of CONFIG.toml: each key with its type, limits and default. Editors
complete and check a configuration by it.
"""
REPLAY = """\
Gives a frame that killed a consumer twice to its processor again, here, with the settings
that it had, and prints what comes out or how it fails. A crash of C code ends this command.
(A detector that replays a file is something else: rayfan up --set detector.source.kind=replay.)
"""

WORK = """\
A consumer on any host that reaches the appliance by pvAccess: it proves the token, gets the
definition of the group and a seat, and works until it is asked to stop (Ctrl-C, SIGTERM).
"""


class _Version(argparse.Action):
    """Print the version; looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_arguments: object) -> None:
        print(f"rayfan {version()}")
        parser.exit()


def version() -> str:
    """Return the version of the installed distribution."""
    from importlib.metadata import version as installed

    return installed("rayfan")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 good, 1 failed, 2 bad configuration, 3 stopped but not drained."""
    options = command_line().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.debug else logging.WARNING, format="rayfan: %(message)s")
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("rayfan: interrupted", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # whoever read our output has seen enough, for example `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the last boundary: whoever sits in front of it wants a sentence
        return _explain(error, options.debug)


def _explain(error: Exception, debug: bool) -> int:
    from ioc.core.errors import RayfanError, UserError

    if debug:
        traceback.print_exception(error)
    if isinstance(error, UserError):
        print(f"rayfan: {error}", file=sys.stderr)
        return EXIT_BAD_CONFIGURATION
    text = str(error) if isinstance(error, RayfanError | OSError) else f"{type(error).__name__}: {error}"
    print(f"rayfan: {text}" + ("" if debug else " (--debug shows where)"), file=sys.stderr)
    return EXIT_FAILED


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="rayfan", description="An EPICS soft-detector appliance: every frame is accounted for."
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version and leave")
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_up(commands)
    _add_mirror(commands)
    _add_ledger(commands)
    _add_looks(commands)
    _add_bench(commands)
    repair = commands.add_parser("repair", help="finish an HDF5 file whose writer was killed", description=REPAIR)
    repair.add_argument("file", metavar="FILE", type=Path, help="a whole one takes its place")
    repair.set_defaults(run=_repair)
    _add_ejfat(commands)
    _add_processor(commands)
    _add_replay(commands)
    _add_work(commands)
    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration", description=SCHEMA)
    schema.set_defaults(run=_schema)
    return parser


def _add_up(commands: argparse._SubParsersAction) -> None:
    up = commands.add_parser("up", help="run an appliance", description=UP)
    up.add_argument("config", metavar="CONFIG.toml", nargs="?", type=Path, help="left out: a demonstration")
    _add_run_options(up)
    up.set_defaults(run=_up)


def _add_run_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="override a key; may be repeated")
    add("--duration", metavar="S", type=_seconds, help="stop so many seconds after all processes run")
    add("--report", metavar="FILE", type=Path, help="write the ledger as JSON at the end")
    add("--print-config", action="store_true", help="print the effective configuration and leave")
    add("--debug", action="store_true", help="log more, and show tracebacks")


def _add_mirror(commands: argparse._SubParsersAction) -> None:
    about = "serve another detector's frames as if they were ours"
    mirror = commands.add_parser("mirror", help=about, description=MIRROR)
    mirror.add_argument("source", metavar="SOURCE", help="NTNDArray channel, for example 13SIM1:Pva1:Image")
    mirror.add_argument("config", metavar="CONFIG.toml", nargs="?", type=Path, help="who takes them; left out: nobody")
    mirror.add_argument("--prefix", metavar="PREFIX", help="what our PV names begin with; left out: the file's, or RF:")
    mirror.add_argument(
        "--forward",
        metavar="NAME",
        action="append",
        default=[],
        help="hand puts to cam1:NAME on to it; may be repeated",
    )
    mirror.add_argument("--controls", metavar="PREFIX", help="its controls; left out: as the channel, and cam1:")
    _add_run_options(mirror)
    mirror.set_defaults(run=_mirror)


def _add_ledger(commands: argparse._SubParsersAction) -> None:
    from ioc import ledger_command

    ledger_command.add(commands)


def _add_looks(commands: argparse._SubParsersAction) -> None:
    from ioc import doctor_command, pvlist_command, top_command

    pvlist_command.add(commands)
    top_command.add(commands)
    doctor_command.add(commands)


def _add_bench(commands: argparse._SubParsersAction) -> None:
    from ioc.bench import cli as bench

    bench.add(commands)


def _add_ejfat(commands: argparse._SubParsersAction) -> None:
    from ioc import ejfat_lb, ejfat_lb_admin

    ejfat_lb_admin.add(commands)
    ejfat_lb.add(commands)


def _add_work(commands: argparse._SubParsersAction) -> None:
    from ioc.work_options import add

    work = commands.add_parser("work", help="join a group of an appliance elsewhere, as a consumer", description=WORK)
    add(work)
    work.set_defaults(run=_of_consumers, function="work")


def _add_processor(commands: argparse._SubParsersAction) -> None:
    processor = commands.add_parser("processor", help="list, describe or begin a processor", description=PROCESSOR)
    actions = processor.add_subparsers(title="actions", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="processors that come with Rayfan")
    described = actions.add_parser("describe", help="settings and statistics of a processor")
    described.add_argument("name", metavar="NAME", help="name, PACKAGE.MODULE:CLASS, FILE.py:CLASS or pvapy:FILE:CLASS")
    new = actions.add_parser("new", help="write a processor that runs, and its test, to begin with")
    new.add_argument("name", metavar="NAME")
    new.add_argument("--folder", type=Path, default=Path(), help="where to write; left out: here")
    screen = actions.add_parser("screen", help="write its panel for the Phoebus screen of a consumer")
    screen.add_argument("name", metavar="NAME", help="as for describe")
    screen.add_argument("--folder", type=Path, default=Path(), help="that of the other screens; left out: here")
    for one in (listed, described):
        one.add_argument("--json", action="store_true", help="print JSON")
    functions = ("show_list", "show_description", "write_new", "write_screen")
    for one, function in zip((listed, described, new, screen), functions, strict=True):
        one.add_argument("--debug", action="store_true", help="show tracebacks")
        one.set_defaults(run=_of_consumers, function=function)


def _add_replay(commands: argparse._SubParsersAction) -> None:
    replay = commands.add_parser("replay", help="run a processor on a frame from quarantine", description=REPLAY)
    replay.add_argument("file", metavar="FILE.quarantine", type=Path)
    replay.add_argument("--processor", metavar="NAME", help="another one than that which died")
    replay.add_argument("--set", metavar="NAME=VALUE", action="append", type=_setting, default=[], help="a setting")
    replay.add_argument("--pdb", action="store_true", help="step through it in Python's debugger")
    replay.add_argument("--debug", action="store_true", help="show tracebacks of this command itself")
    replay.set_defaults(run=_of_consumers, function="run_replay")


def _setting(text: str) -> tuple[str, object]:
    import json

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _of_consumers(options: argparse.Namespace) -> int:
    """Run a function of consumers.cli, which nothing of `ioc` may import: by its name, as processes are started."""
    from importlib import import_module

    return getattr(import_module("consumers.cli"), options.function)(options)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, found {text!r}")
    return seconds


def _schema(_options: argparse.Namespace) -> int:
    import json

    from ioc.core.config import Config

    print(json.dumps(Config.model_json_schema(), indent=2))
    return 0


def _repair(options: argparse.Namespace) -> int:
    from ioc.channels.hdf5_repair import repair

    found = repair(options.file)
    what = "finished" if found.changed else "was whole"
    ids = f", ids {found.first} to {found.last}" if found.frames else ""
    print(f"{options.file}: {what}, {found.frames} frames{ids}")
    return 0


def _mirror(options: argparse.Namespace) -> int:
    import json

    from ioc.console import read_config

    given = {"kind": "pva", "channel": options.source, "forward_controls": options.forward}
    given |= {"controls": options.controls} if options.controls is not None else {}
    overrides = [f"detector.source.{key}={json.dumps(value)}" for key, value in given.items()]
    overrides += [f"prefix={json.dumps(options.prefix)}"] if options.prefix is not None else []
    return _run(options, read_config(options.config or Path(os.devnull), [*overrides, *options.set]))


def _up(options: argparse.Namespace) -> int:
    from ioc.console import read_config

    return _run(options, read_config(options.config, options.set))


def _run(options: argparse.Namespace, config: "Config") -> int:
    from ioc.console import Options, print_config, up

    if options.print_config:
        print_config(config)
        return 0
    return up(config, Options(options.duration, options.report, options.debug))
