"""Every screen in a real Phoebus, beside a running appliance with every kind of process: connected, and photographed.

    python -m tests.campaigns.phoebus [--only overview,detector] [--pictures] [--client-only] [--output FOLDER]

First every PV of every screen is asked for by Channel Access and by pvAccess, and Phoebus's pvAccess client, which
Maven brings, reads images and puts a record by itself. Then the Phoebus of the folder PHOEBUS (Maven has no more of it
than that client) opens each screen on a virtual display (Xvfb), and tells which of its PVs are not connected; there
must be none. Its pictures are kept in the folder. With --pictures, those that the documentation shows are written to
docs/pictures anew. At the end the ledger has the last word. Exit codes: 0 good, 1 something is not, 2 something that it
needs is not there (the message says how to get it).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from ioc.screens.bob import Screen, pv_names
from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import User, user_of
from tests.support.phoebus_screens import FOLDER, ROOT, screens
from tests.support.phoebus_stage import (
    SIZE,
    VARIABLE,
    configuration,
    jars,
    macros,
    missing,
    resolved,
    shown_here,
    uri,
)

PROJECT = ROOT / "tests" / "phoebus"
OUTPUT = ROOT / "test-output" / "phoebus"
PICTURES = ROOT / "docs" / "pictures"
SHOWN_IN_DOCS = ("detector", "consumer")
"""Screens that the documentation shows."""
MOST_BYTES = 200_000
"""Bytes of such a picture."""
COLORS = 40
"""Colours of it, which make it small."""
PROCESSES = ("detector", "Cons1", "Cons2", "Cons3", "Cons4", "Cons5", "Cons6", "Coll1", "Ejfat1", "EjfatLb1")
PROCESSES += ("EjfatIn1", "HDF1", "Plug1", "In1")
PLUGINS = ("HDF1", "image1", "Stats1", "ROI1", "Proc1", "Trans1", "Codec1", "CB1")
LIVE = {
    "overview.bob": 10.0,
    "detector.bob": 6.0,
    "stats.bob": 8.0,
    "consumer.bob": 20.0,
    "group.bob": 15.0,
    "process.bob": 12.0,
}
"""Seconds that a screen lives before its picture is taken, for plots and pictures to fill; LIVE_SECONDS for others."""
LIVE_SECONDS = 2.0
PRESSED = {"overview.bob": "Detector"}
"""A button that is pressed on a screen, to open another one."""
BUILD_SECONDS = 1200.0
CONNECT_SECONDS = 30.0
SHOW_SECONDS = 1800.0
PVA_SECONDS = 120.0
QUIET = "-Djava.util.logging.config.file=/dev/null"
"""core-pva tells of every channel otherwise."""
JAVA = ("java", "-Dprism.order=sw", "-Djava.awt.headless=false", "-Xmx1500m")
SETTINGS = """\
org.phoebus.pv.ca/addr_list={EPICS_CA_ADDR_LIST}
org.phoebus.pv.ca/auto_addr_list=false
org.phoebus.pv.ca/server_port={EPICS_CA_SERVER_PORT}
org.phoebus.pv.ca/repeater_port={EPICS_CA_REPEATER_PORT}
org.phoebus.pv.ca/name_servers=
org.phoebus.pv.pva/epics_pva_addr_list={EPICS_PVA_ADDR_LIST}
org.phoebus.pv.pva/epics_pva_auto_addr_list=false
org.phoebus.pv.pva/epics_pva_broadcast_port={EPICS_PVA_BROADCAST_PORT}
org.phoebus.ui/splash=false
org.csstudio.display.builder.representation/embedded_timeout=60000
"""


def build_client() -> str:
    """Compile the client of core-pva, and return its class path; Maven brings core-pva."""
    command = ["mvn", "-q", "-B", "-f", str(PROJECT / "pom.xml"), "compile", "dependency:build-classpath"]
    subprocess.run(command, check=True, timeout=BUILD_SECONDS)
    target = PROJECT / "target"
    return os.pathsep.join([str(target / "classes"), (target / "classpath").read_text().strip()])


def build_screens() -> str:
    """Compile what opens screens in Phoebus, and return its class path, with all of Phoebus."""
    target = PROJECT / "target" / "screens"
    target.mkdir(parents=True, exist_ok=True)
    libraries = os.pathsep.join(jars(Path(os.environ[VARIABLE])))
    source = PROJECT / "src" / "phoebus" / "java" / "rayfan" / "Screens.java"
    command = ["javac", "-nowarn", "-d", str(target), "-cp", libraries, str(source)]
    subprocess.run(command, check=True, timeout=BUILD_SECONDS)
    return os.pathsep.join([str(target), libraries])


@contextmanager
def virtual_display() -> Iterator[str]:
    """Yield the name of a display of its own, which ends with the block."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1920x1200x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with os.fdopen(reader) as told:
            number = told.readline().strip()  # ends when the server is ready, or gone
        if not number:
            raise AssertionError(f"Xvfb did not start, exit code {server.wait(10)}")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10)


def prepare(user: User) -> None:
    """Have everything show something: plug-ins, a file that is being written, figures that are computed."""
    for name in PLUGINS:
        user.put(f"{name}:EnableCallbacks", 1)
    user.put("Stats1:ComputeCentroid", 1)
    user.put("Stats1:ComputeProfiles", 1)
    user.put("Stats1:ComputeHistogram", 1)
    user.put("Stats1:TS:TSNumPoints", 50)
    user.put_plain("Stats1:TS:TSAcquire", 1)
    user.put("ROI1:SizeX", SIZE // 2)
    user.put("ROI1:SizeY", SIZE // 2)
    for name, value in (("PreCount", 3), ("PostCount", 3), ("PresetTriggerCount", 0)):
        user.put(f"CB1:{name}", value)
    user.put_plain("CB1:Capture", 1)
    user.wait("CB1:Capture_RBV", "Capturing")
    user.put_plain("CB1:Trigger", 1)
    user.put("image1:MinCallbackTime", 1.0)
    user.put("HDF1:NumCapture", 0)
    user.put("HDF1:FileName", "phoebus")
    user.put("HDF1:FileTemplate", "%s%s_%3.3d.h5")
    user.put("HDF1:FileWriteMode", 2)
    user.put_plain("HDF1:Capture", 1)


def silent(run: RunningAppliance, shown: Sequence[Screen], protocol: str) -> list[str]:
    """Return the PVs of the screens that nobody answers for."""
    names = {resolved(name, macros(screen, run.prefix)) for screen in shown for name in pv_names(screen)}
    names = {name for name in names if protocol == "pva" or not name.endswith(":Image")}
    command = [sys.executable, "-m", "tests.support.connected", protocol, str(CONNECT_SECONDS)]
    told = subprocess.run(
        command, env=run.environment, cwd=ROOT, input="\n".join(names), text=True, check=True, stdout=subprocess.PIPE
    )
    found = told.stdout.split()
    print(f"{protocol}: {len(names)} PVs of {len(shown)} screens, {len(found)} do not answer {' '.join(found)}")
    return found


def read_and_put(run: RunningAppliance, user: User, classes: str) -> bool:
    """Have Phoebus's pvAccess client read images of a known pattern and put a record; return whether it went well."""
    user.put("cam1:SimMode", "Rayfan ramp")
    command = ["java", QUIET, "-cp", classes, "rayfan.ReadAndPut", run.prefix, str(SIZE), str(SIZE)]
    done = subprocess.run(command, env=run.environment, timeout=PVA_SECONDS)
    user.put("cam1:SimMode", "Rayfan rings")
    return done.returncode == 0


def show(run: RunningAppliance, shown: Sequence[Screen], classes: str, output: Path) -> bool:
    """Open the screens in Phoebus; return whether all of their PVs were connected and the buttons opened a screen."""
    lines = []
    for screen in shown:
        words = [uri(screen, FOLDER, run.prefix), str(output / screen.file.replace(".bob", ".png"))]
        words += [str(LIVE.get(screen.file, LIVE_SECONDS)), *filter(None, [PRESSED.get(screen.file)])]
        lines.append("\t".join(words))
    listing, settings = output / "screens.txt", output / "settings.ini"
    listing.write_text("\n".join(lines))
    settings.write_text(SETTINGS.format(**run.environment))
    folders = [f"-Dphoebus.user={output / 'user'}", f"-Djava.util.prefs.userRoot={output / 'user'}"]
    command = [*JAVA, *folders, "-cp", classes, "rayfan.Screens", str(listing), str(settings)]
    with virtual_display() as display, (output / "phoebus.log").open("w") as log:
        environment: Mapping[str, str] = {**run.environment, "DISPLAY": display}
        done = subprocess.run(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=log, timeout=SHOW_SECONDS, check=False
        )
    return verdict(done.stdout, [screen.file for screen in shown]) and done.returncode == 0


def verdict(printed: str, files: Sequence[str]) -> bool:
    """Print what Phoebus told of each screen; return whether it opened all, connected."""
    seen, opened, good = set(), set(), True
    for line in printed.splitlines():
        word, *fields = line.split("\t")
        if word == "SCREEN":
            picture, count, absent = fields
            seen.add(picture.replace(".png", ".bob"))
            good = good and not absent
            print(f"{picture:34} {count:>5} PVs{'  NOT CONNECTED: ' + absent if absent else ''}")
        elif word == "OPENED":
            opened.add(fields[0])
            print(f"the button {fields[0]} opened {fields[1]}")
    unseen = sorted(set(files) - seen)
    if unseen:
        print(f"NOT OPENED: {' '.join(unseen)}")
    wanted = {text for file, text in PRESSED.items() if file in files}
    return good and not unseen and opened == wanted


def keep_pictures(output: Path) -> None:
    """Write the pictures that the documentation shows, small.

    Raises:
        AssertionError: one is too large.
    """
    PICTURES.mkdir(exist_ok=True)
    for name in SHOWN_IN_DOCS:
        picture = PICTURES / f"phoebus-{name}.png"
        Image.open(output / f"{name}.png").convert("RGB").quantize(COLORS).save(picture, optimize=True)
        assert picture.stat().st_size < MOST_BYTES, f"{picture}: {picture.stat().st_size} bytes"


def stage(shown: Sequence[Screen], output: Path, client_only: bool) -> bool:
    """Run everything; return whether all is good."""
    client, classes = build_client(), "" if client_only else build_screens()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rayfan-phoebus-") as name:
        folder = Path(name)
        with h5py.File(folder / "images.h5", "w") as file:
            file["data"] = np.add.outer(np.arange(64), np.arange(64))[None].repeat(16, 0).astype(np.uint8)
        (folder / "rayfan.toml").write_text(configuration(folder))
        with appliance(folder, "rayfan.toml", "--set", "web.port=0") as run:
            run.wait_running(*PROCESSES, "Web1")
            with user_of(run) as user:
                good = read_and_put(run, user, client)
                prepare(user)
                good = not silent(run, shown, "ca") and not silent(run, shown, "pva") and good
                good = (client_only or show(run, shown, classes, output)) and good
                user.put_plain("HDF1:Capture", 0)
            report = run.stop()
    print(f"{report['published']} frames published, residue {report['residue']}")
    return good


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of screens without .bob, with commas; left out: all")
    parser.add_argument("--pictures", action="store_true", help="write the pictures of the documentation, too")
    parser.add_argument("--client-only", action="store_true", help="the PVs and the pvAccess client, without screens")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where pictures and logs go")
    options = parser.parse_args()
    lacking = missing(options.client_only)
    if lacking is not None:
        print(lacking, file=sys.stderr)
        return 2
    wanted = set(options.only.split(",")) if options.only else None
    shown = [one for one in shown_here(screens()) if wanted is None or one.file.removesuffix(".bob") in wanted]
    good = stage(shown, options.output.resolve(), options.client_only)
    if options.pictures:
        keep_pictures(options.output)
    print("good" if good else "NOT GOOD; see above, and phoebus.log beside the pictures")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
