"""pvxs' command line tools, where this machine has them: no package of PyPI or Debian brings them, pvxs' source does.

p4p is the same client library (libpvxs) without them.
"""

import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO

TOOLS = ("pvxget", "pvxinfo", "pvxmonitor", "pvxlist")
SAY_SECONDS = 20.0


def missing() -> str | None:
    """Return what there is not on the PATH, None if all tools are."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"no {', '.join(absent)} on the PATH; build pvxs and add its bin folder" if absent else None


def say(command: Sequence[str], environment: Mapping[str, str], expected: str) -> str:
    """Return what a tool says until it ends, has said what is expected, or `SAY_SECONDS` are over."""
    process = subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    timer = threading.Timer(SAY_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        return _until(process.stdout, expected)
    finally:
        timer.cancel()
        process.kill()
        process.wait()


def _until(stream: IO[str], expected: str) -> str:
    said = ""
    for line in stream:
        said += line
        if expected in said:
            break
    return said
