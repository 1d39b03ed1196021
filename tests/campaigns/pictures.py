"""Takes the pictures of the documentation from a running appliance: `docs/pictures/`.

    python -m tests.campaigns.pictures [--out FOLDER]

`top.svg` is what `rayfan top` draws of the demonstration, `frame.png` and `binned.png` are frames of its detector and
of a consumer that bins them. The screens of Phoebus and the web page have stages
of their own.
"""

import argparse
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from tests.support.appliance import RunningAppliance
from tests.support.epics import isolated_environment

ROOT = Path(__file__).parents[2]
COLUMNS = 100
SIDE = 256
"""Pixels of a picture of a frame."""
ARGUMENTS = ("--set", "groups.stats.processor=bin", "--set", "groups.stats.settings.BinX=4")
ARGUMENTS += ("--set", "groups.stats.settings.BinY=4")
FRAMES = 2000
"""Frames that are published before a picture is taken: rates have settled."""
WITHIN = 60.0


def top(prefix: str) -> str:
    """Return the drawing of `rayfan top` as SVG."""
    from p4p.client.thread import Context

    from ioc.top_command import Watcher, drawing

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    with Context("pva", nt=False) as context:
        watcher = Watcher(context, prefix)
        assert watcher.wait_first(WITHIN) and watcher.wait_statuses(WITHIN), watcher.silent()
        console.print(drawing(watcher, prefix))
        watcher.close()
    drawn = console.export_svg(title=f"rayfan top {prefix}")
    return re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)  # fonts from elsewhere: the reader's own will do


def frame(channel: str) -> Image.Image:
    """Return the newest frame of a channel, its darkest pixel black and its brightest white."""
    from p4p.client.thread import Context

    with Context("pva") as context:
        pixels: Any = np.asarray(context.get(channel, timeout=WITHIN), np.float64)
    low, high = np.percentile(pixels, (0.1, 99.9))
    grey = np.clip((pixels - low) * 255 / max(1.0, high - low), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def main() -> int:
    """Run an appliance and take its pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    environment = isolated_environment()
    os.environ.update(environment)
    with tempfile.TemporaryDirectory(prefix="rayfan-pictures-") as folder:
        run = RunningAppliance(Path(folder), list(ARGUMENTS), environment, "RF:")
        try:
            run.wait_running("detector", "Cons1", "Cons2", "Ejfat1", "EjfatIn1")
            run.wait_until(lambda: run.published() >= FRAMES, f"{FRAMES} frames")
            (out / "top.svg").write_text(top("RF:"))
            frame("RF:Pva1:Image").save(out / "frame.png", optimize=True)
            frame("RF:Cons1:Image").save(out / "binned.png", optimize=True)
            run.stop()
        finally:
            run.kill_everything()
    for path in sorted(out.iterdir()):
        print(f"{path}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
