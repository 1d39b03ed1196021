"""Unmodified Bluesky clients at a running appliance: ophyd-async's SimDetector, ophyd's classes, pyepics' AD classes.

`python -m tests.support.bluesky_client CLIENT PREFIX FOLDER [NUMBER]` prints what it saw as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.support.bluesky_session import TIMEOUT, Session

FRAMES_A_POINT = 20
FLOWN = 5
"""Frames of the flight of `ophyd_async`."""


def ophyd_async(scheme: str, prefix: str, folder: Path, number: int) -> dict[str, Any]:
    """Count `number` times and fly once; return the documents and what a reader found in the file at the time."""
    session = Session(scheme, prefix, folder)
    session.run(_enable(session.stats))
    begun = time.monotonic()
    session.count(number)
    seconds = time.monotonic() - begun
    session.fly(FLOWN)
    seen = {"documents": session.documents, "readable": session.read, "idle": session.run(session.idle())}
    return {**seen, "seconds": seconds, "files": session.files(), "total": session.run(_total(session.stats))}


async def _enable(stats: Any) -> None:
    from ophyd_async.core import EnableDisable

    await stats.enable_callbacks.set(EnableDisable.ENABLE)
    await stats.array_counter.set(0)


async def _total(stats: Any) -> list[float]:
    """Return ArrayCounter and Total once the last frame of both runs is in."""
    from ophyd_async.core import wait_for_value

    await wait_for_value(stats.unique_id, FLOWN, TIMEOUT)
    return [await stats.array_counter.get_value(), await stats.total.get_value()]


def classic(prefix: str, folder: Path, number: int) -> dict[str, Any]:
    """Count with classic ophyd's SimDetector and HDF5 plug-in."""
    import bluesky.plans as bp
    from bluesky.run_engine import RunEngine
    from ophyd import Component, SimDetector, SingleTrigger
    from ophyd.areadetector.filestore_mixins import FileStoreHDF5IterativeWrite
    from ophyd.areadetector.plugins import HDF5Plugin_V34

    class Files(HDF5Plugin_V34, FileStoreHDF5IterativeWrite):
        """The writer plug-in as beamlines put it together."""

    class Detector(SingleTrigger, SimDetector):  # pyright: ignore[reportIncompatibleMethodOverride]
        """A detector with a writer."""

        hdf1 = Component(Files, "HDF1:", write_path_template=f"{folder}/")

    detector: Any = Detector(prefix, name="det")
    detector.wait_for_connection(timeout=TIMEOUT)
    # ophyd's SingleTrigger fails if an acquisition is over before the put that began it has returned
    detector.cam.stage_sigs["num_images"] = FRAMES_A_POINT
    engine = RunEngine({}, call_returns_result=True)
    documents: list[tuple[str, dict]] = []
    engine.subscribe(lambda name, document: documents.append((name, document)))
    engine(bp.count([detector], num=number))
    resources = [document for name, document in documents if name == "resource"]
    shapes = []
    for resource in resources:
        with h5py.File(Path(resource["root"]) / resource["resource_path"]) as file:
            shapes.append(file["/entry/data/data"].shape)  # type: ignore[union-attr]
    names = [name for name, _ in documents]
    return {"names": names, "shapes": shapes, "acquire": detector.cam.acquire.get()}


def pyepics(prefix: str, _folder: Path, number: int) -> dict[str, Any]:
    """Drive the detector with pyepics' areaDetector device classes."""
    import epics
    from epics.devices import AD_Camera

    camera = AD_Camera(f"{prefix}cam1:")
    camera.put("ImageMode", "Multiple", wait=True)
    camera.put("NumImages", number, wait=True)
    camera.put("Acquire", 1, wait=True, timeout=TIMEOUT)
    unconnected = [name for name, pv in camera._pvs.items() if not pv.wait_for_connection(2.0)]
    counter = epics.caget(f"{prefix}cam1:NumImagesCounter_RBV")
    return {"counter": counter, "unconnected": unconnected, "size": [camera.SizeX, camera.SizeY]}


def main() -> None:
    """Do what the arguments say."""
    client, prefix, folder, *rest = sys.argv[1:]
    number = int(rest[0]) if rest else 1
    path = Path(folder)
    if client in ("ca", "pva"):
        seen = ophyd_async(client, prefix, path, number)
    else:
        seen = {"classic": classic, "pyepics": pyepics}[client](prefix, path, number)
    print(json.dumps(seen, default=_plain))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


if __name__ == "__main__":
    main()
