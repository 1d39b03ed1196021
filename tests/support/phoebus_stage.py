"""An appliance with every kind of process, and what Phoebus needs to show each of its screens."""

import os
import shutil
from collections.abc import Iterator, Mapping
from ctypes.util import find_library
from pathlib import Path
from urllib.parse import quote

from ioc.screens.bob import Screen

VARIABLE = "PHOEBUS"
"""Environment variable that names the folder of a Phoebus: its jars, anywhere below."""
CLIENT_PROGRAMS = ("java", "javac", "mvn")
SCREEN_PROGRAMS = ("Xvfb",)
INSTALL = (
    "on Debian and Ubuntu: apt-get install openjdk-17-jdk-headless maven xvfb libgtk-3-0 libxtst6 fonts-liberation"
)
WHERE = "unpack a Phoebus 5.0 (or build it, see docs/how-to/use-phoebus-screens.md): make phoebus PHOEBUS=FOLDER, or "
WHERE += "make phoebus ARGS=--client-only for the PVs and the pvAccess client alone"
DEVICES = {"Cons1:Meta:NAME:": "Cons1:Meta:Energy:"}
"""What the macro R is in this appliance where it differs from the record tables."""
RATE = 5.0
SIZE = 512

CONFIG = """
[detector]
frame_rate = {rate}
size = [{size}, {size}]
data_type = "UInt8"
acquire_at_start = true
source = {{ kind = "generated", pattern = "rings" }}
[detector.metadata]
Energy = {{}}
Heater = {{ every = 5 }}
[groups.stats]
count = 2
processor = "statistics"
queue_size = 128
[groups.stats.metadata.channels]
Energy = {{ channel = "pva://$(P)Meta:Energy", match = "id" }}
Heater = {{ channel = "pva://$(P)Meta:Heater", reach = 60.0, wait = 0.0 }}
[groups.parts]
count = 2
processor = "passthrough"
[collectors.all]
input = "groups.parts"
wait = 2.0
[groups.behind]
input = "collectors.all"
processor = "histogram"
[intake.file]
url = "file://{folder}/images.h5"
frame_rate = {rate}
loop = true
[groups.other]
input = "intake.file"
processor = "bin"
[egress.out]
balancer = "lab"
warm_up = 1.0
[balancers.lab]
epoch = 0.5
lead = 0.3
[ingress.back]
balancer = "lab"
event_timeout = 0.5
[writers.files]
path = "{folder}"
[plugins]
queue_size = 64
"""


def configuration(folder: Path) -> str:
    """Return the configuration; `folder` is where its file writer writes, and has `images.h5`."""
    return CONFIG.format(rate=RATE, size=SIZE, folder=folder)


def missing(client_only: bool = False) -> str | None:
    """Return what is not there of what the stage needs, as a sentence; None if all is there."""
    programs = CLIENT_PROGRAMS if client_only else (*CLIENT_PROGRAMS, *SCREEN_PROGRAMS)
    absent = [program for program in programs if shutil.which(program) is None]
    absent += [] if client_only or find_library("gtk-3") else ["libgtk-3"]
    if absent:
        return f"make phoebus needs {', '.join(absent)}; {INSTALL}"
    folder = os.environ.get(VARIABLE, "")
    if not client_only and (not folder or not jars(Path(folder))):
        return f"make phoebus needs a Phoebus, found no jars in {VARIABLE}={folder!r}; {WHERE}"
    return None


def jars(folder: Path) -> list[str]:
    """Return the class path of a Phoebus."""
    return sorted(str(path) for path in folder.rglob("*.jar"))


def macros(screen: Screen, prefix: str) -> dict[str, str]:
    """Return the macros of a screen in this appliance."""
    return {"P": prefix, "R": DEVICES.get(screen.device, screen.device), **dict(screen.more)}


def resolved(name: str, given: Mapping[str, str]) -> str:
    """Return a PV's name with its macros replaced."""
    for macro, value in given.items():
        name = name.replace(f"$({macro})", value)
    return name


def uri(screen: Screen, folder: Path, prefix: str) -> str:
    """Return what opens a screen in Phoebus."""
    query = "&".join(f"{name}={quote(value)}" for name, value in macros(screen, prefix).items() if value)
    return f"{(folder / screen.file).as_uri()}?{query}&app=display_runtime"


def shown_here(screens: list[Screen]) -> Iterator[Screen]:
    """Yield the screens that this appliance has the PVs of: all but the panels of processors that it does not run."""
    for screen in screens:
        if not screen.file.startswith("processor_") or screen.file == "processor_statistics.bob":
            yield screen
