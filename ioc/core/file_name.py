"""areadetector's file names: a C format with path, name and number; and which folders are made for a path. Pure.

Source: areaDetector, ADCore documentation, NDPluginFile.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from ioc.core.errors import RefusedError, mismatch

_DIRECTIVE = re.compile(r"%(?:%|([-0 +#]{0,5})(\d{0,3})(?:\.(\d{1,3}))?([sdiuxX])|.?)")
LONGEST = 512
"""Characters of a full name."""


def full_name(template: str, path: str, name: str, number: int) -> str:
    """Return the file name that a template such as `%s%s_%3.3d.h5` makes of path, name and number.

    Raises:
        RefusedError: the template is no format of up to three arguments, or the name is too long.
    """
    arguments: list[str | int] = [path, name, number]
    made: list[str] = []
    at = 0
    for found in _DIRECTIVE.finditer(template):
        made.append(template[at : found.start()])
        at = found.end()
        if found[0] == "%%":
            made.append("%")
        elif found[4] is None or not arguments:
            raise RefusedError(mismatch("FileTemplate", "%s, %s and %d for path, name and number", template))
        else:
            made.append(_formatted(found, arguments.pop(0), template))
    whole = "".join([*made, template[at:]])
    if not 0 < len(whole) < LONGEST:
        raise RefusedError(mismatch("file name", f"1 to {LONGEST - 1} characters", len(whole)))
    return whole


def with_slash(path: str) -> str:
    """Return a folder's path as areaDetector shows it: with a slash at its end, empty if it is empty."""
    return path if not path or path.endswith("/") else path + "/"


def folders_to_make(path: str, depth: int) -> Sequence[PurePosixPath]:
    """Return the folders of `path` that CreateDirectory = `depth` allows to be made, outermost first.

    0: none; n > 0: the first n parts of the path must be there; n < 0: at most the last -n parts are made.
    """
    whole = PurePosixPath(path)
    parts = [whole, *whole.parents][::-1]
    below = [part for part in parts if part.name]  # without the root, or the working folder
    if depth == 0:
        return ()
    return below[depth:] if depth > 0 else below[max(0, len(below) + depth) :]


def _formatted(found: re.Match[str], argument: str | int, template: str) -> str:
    text = found[4] == "s"
    if text != isinstance(argument, str):
        raise RefusedError(mismatch("FileTemplate", "%s, %s and %d for path, name and number", template))
    width = found[2] or ""
    precision = f".{found[3]}" if found[3] is not None else ""
    return f"%{found[1]}{width}{precision}{found[4]}" % argument
