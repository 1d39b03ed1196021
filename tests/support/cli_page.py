"""The reference page of the command line, made from its parser."""

import argparse
from collections.abc import Iterator

from ioc.cli import command_line

HEAD = """\
# Command line

Made from the parser by `{command}`; do not edit. `rayfan COMMAND --help` prints the same.

Exit codes: 0 good (`up`: asked to stop, and drained), 1 failed, 2 bad configuration or command line, 3 stopped but not
drained.
"""


def cli_page(command: str) -> str:
    """Return docs/reference/cli.md."""
    return "\n".join([HEAD.format(command=command), *(_section(*one) for one in commands(command_line()))])


def commands(parser: argparse.ArgumentParser, about: str = "") -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yield all commands that can be run, with their one-line help, in the order of the parser."""
    nested = _nested(parser)
    if nested is None:
        yield parser, about
        return
    helps = {one.dest: one.help or "" for one in nested._choices_actions}
    for name, inner in nested.choices.items():
        yield from commands(inner, helps.get(name, ""))


def _nested(parser: argparse.ArgumentParser) -> "argparse._SubParsersAction | None":
    return next((one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None)


def _section(parser: argparse.ArgumentParser, about: str) -> str:
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS and action.dest != "help"]
    words = " ".join([parser.prog, *filter(None, (_usage(action) for action in shown))])
    lines = [f"## `{parser.prog}`\n\n"]
    text = " ".join((parser.description or about).split())
    lines.append(f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}\n\n```text\n{words}\n```\n")
    if shown:
        lines.append("\n| argument | |\n| --- | --- |\n")
        lines += [f"| `{_name(action)}` | {_cell(action)} |\n" for action in shown]
    return "".join(lines)


def _usage(action: argparse.Action) -> str:
    """Return an argument as a usage line shows it; options have a line of their own in the table."""
    if action.option_strings:
        return f"{action.option_strings[-1]} {_value(action)}".strip() if action.required else ""
    return f"[{_value(action)}]" if action.nargs in ("?", "*") else _value(action)


def _name(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    value = "" if action.nargs == 0 else _value(action)
    return f"{names} {value}".strip().replace("|", "\\|")


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _cell(action: argparse.Action) -> str:
    said = " ".join((action.help or "").split())
    plain = action.default is None or action.default is False or action.default in ([], argparse.SUPPRESS)
    told = any(word in said for word in ("default", "%(", "left out")) or _number(action.default) in said.split("; ")
    if not plain and not told:
        said += f"{'; ' if said else ''}default {action.default}"
    said = said % {"default": action.default, "prog": "rayfan"} if "%(" in said else said
    return said.replace("|", "\\|").replace("<", "&lt;")
