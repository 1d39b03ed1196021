"""Unmodified Bluesky clients at a running appliance: ophyd-async's SimDetector, ophyd's classes, pyepics' AD classes.

`python -m tests.support.bluesky_client CLIENT PREFIX FOLDER [NUMBER]` prints what it saw as JSON.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FRAMES_A_POINT = 20
FLOWN = 5
"""Frames of the flight of `ophyd_async`."""
TIMEOUT = 20


def ophyd_async(scheme: str, prefix: str, folder: Path, number: int) -> dict[str, Any]:
    """Count `number` times and fly once; return the documents and what a reader found in the file at the time."""
    import bluesky.plan_stubs as bps
    import bluesky.plans as bp
    from bluesky.run_engine import RunEngine
    from ophyd_async.core import StaticPathProvider, TriggerInfo, UUIDFilenameProvider, init_devices
    from ophyd_async.epics.adcore import NDROIIO, ADWriterFactory, NDCircularBuffIO, NDPluginBaseIO, NDStatsIO
    from ophyd_async.epics.adsimdetector import SimDetector

    engine = RunEngine({}, call_returns_result=True)
    provider = StaticPathProvider(UUIDFilenameProvider(), folder)
    with init_devices(timeout=TIMEOUT):
        start = f"{scheme}://{prefix}"
        stats = NDStatsIO(f"{start}Stats2:")
        plugins: dict[str, NDPluginBaseIO] = {"stats": stats, "roi": NDROIIO(f"{start}ROI1:")}
        plugins["buffer"] = NDCircularBuffIO(f"{start}CB1:")
        detector = SimDetector(start, ADWriterFactory.hdf(provider), plugins=plugins, name="det")
    asyncio.run_coroutine_threadsafe(_enable(stats), engine.loop).result(TIMEOUT)
    documents: list[tuple[str, dict]] = []
    read: list[int] = []

    def note(name: str, document: dict) -> None:
        documents.append((name, document))
        if name == "stream_datum":
            read.append(_readable(documents))

    engine.subscribe(note)
    begun = time.monotonic()
    engine(bp.count([detector], num=number))
    seconds = time.monotonic() - begun

    def fly() -> Any:
        yield from bps.open_run()
        yield from bps.stage(detector, wait=True)
        yield from bps.prepare(detector, TriggerInfo(number_of_events=FLOWN), wait=True)
        yield from bps.declare_stream(detector, name="flown", collect=True)
        yield from bps.kickoff(detector, wait=True)
        yield from bps.collect_while_completing([detector], [detector], flush_period=0.2, stream_name="flown")
        yield from bps.unstage(detector, wait=True)
        yield from bps.close_run()

    engine(fly())
    idle = asyncio.run_coroutine_threadsafe(_idle(detector), engine.loop).result(TIMEOUT)
    total = asyncio.run_coroutine_threadsafe(_total(stats), engine.loop).result(TIMEOUT)
    seen = {"documents": documents, "readable": read, "idle": idle, "seconds": seconds, "files": _files(documents)}
    return {**seen, "total": total}


async def _enable(stats: Any) -> None:
    from ophyd_async.core import EnableDisable

    await stats.enable_callbacks.set(EnableDisable.ENABLE)
    await stats.array_counter.set(0)


async def _total(stats: Any) -> list[float]:
    """Return ArrayCounter and Total once the last frame of both runs is in."""
    from ophyd_async.core import wait_for_value

    await wait_for_value(stats.unique_id, FLOWN, TIMEOUT)
    return [await stats.array_counter.get_value(), await stats.total.get_value()]


async def _idle(detector: Any) -> list[Any]:
    driver = detector.driver
    return [bool(await driver.acquire.get_value()), str(await driver.detector_state.get_value())]


def _files(documents: list[tuple[str, dict]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, document in documents:
        if name == "stream_resource":
            path = _path_of(document)
            with h5py.File(path) as file:
                data: Any = file[document["parameters"]["dataset"]]
                frames = {frame.tobytes() for frame in data[:]}
                found[document["uid"]] = {
                    "shape": data.shape,
                    "dtype": data.dtype.str,
                    "chunks": data.chunks,
                    "distinct": len(frames),
                }
    return found


def _readable(documents: list[tuple[str, dict]]) -> int:
    """Return how many frames a reader finds at once in the file of the newest resource."""
    resource = next(document for name, document in reversed(documents) if name == "stream_resource")
    with h5py.File(_path_of(resource), "r", swmr=True, libver="latest") as file:
        data: Any = file[resource["parameters"]["dataset"]]
        return int(data.shape[0])


def _path_of(resource: dict) -> str:
    return resource["uri"].removeprefix("file://localhost")


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
