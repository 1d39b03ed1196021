"""Rows of columns on a terminal: what is too long for a line goes on under its last column."""

import shutil
import sys
import textwrap

LEAST = 20
"""Columns that the last one has at least; with fewer it begins on a line of its own."""
INDENT = 4


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is; None: it is none, and a row is a line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fit(head: str, tail: str, width: int | None) -> str:
    """Return a row, `tail` behind `head`, in lines of at most `width` columns; None: in one line."""
    if width is None or len(head) + len(tail) <= width:
        return f"{head}{tail}".rstrip()
    beside = width - len(head) >= LEAST
    indent = " " * (len(head) if beside else INDENT)
    lines = textwrap.wrap(tail, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join([head + lines[0][len(head) :], *lines[1:]] if beside else [head.rstrip(), *lines])
