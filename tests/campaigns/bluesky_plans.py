"""Plans beyond count and fly with unmodified ophyd-async detectors: two appliances in one RunEngine, one scheme a time.

    python -m tests.campaigns.bluesky_plans

Over Channel Access, then over pvAccess: two SimDetectors counted and flown together, several exposures in one stage,
several frames an event, another size, type and folder from run to run, runs that fail half way, runs that somebody
aborts, stops or interrupts with Ctrl-C while frames flow, and goes on with, detectors staged twice, a figure of a
plug-in read with each frame, and ContAcqDetector with the circular buffer.
Asked of each: documents that event_model finds valid, indices without a gap, as many frames in each file as announced,
of the shape and type that the descriptor says, ids without a gap, all idle afterwards. The ledgers have the last word.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters that reading needs

from tests.campaigns.bluesky import invalid, put
from tests.support.appliance import RunningAppliance, appliance
from tests.support.bluesky_session import FRAMES, IDS, TIMEOUT, path_of

CONFIG = """
[detector]
frame_rate = 200
size = [64, 48]
acquire_at_start = false
source = { kind = "generated", pattern = "sim_ramp" }
[writers.files]
[plugins]
names = ["Stats1", "CB1"]
"""
ROOT = Path(__file__).parents[2]
CLIENT_SECONDS = 190.0
Plan = Generator[Any, Any, Any]


class StoppedError(Exception):
    """What a plan fails with half way."""


class Bench:
    """Two detectors, a RunEngine, and what the documents of the last run said."""

    def __init__(self, scheme: str, prefixes: list[str], folder: Path) -> None:
        from bluesky.run_engine import RunEngine
        from ophyd_async.core import PathInfo, UUIDFilenameProvider, init_devices
        from ophyd_async.epics.adcore import ADWriterFactory, ContAcqDetector, NDStatsIO, PluginSignalDataLogic
        from ophyd_async.epics.adsimdetector import SimDetector

        self.scheme, self.prefixes, self.folder, self.depth = scheme, prefixes, folder, 0
        self.engine = RunEngine({}, call_returns_result=True)
        self.documents: list[tuple[str, dict]] = []
        self.engine.subscribe(lambda name, document: self.documents.append((name, document)))
        names = UUIDFilenameProvider()

        def place(datakey_name: str | None = None) -> PathInfo:
            return PathInfo(directory_path=self.folder, filename=names(datakey_name), create_dir_depth=self.depth)

        first, second = (f"{scheme}://{prefix}" for prefix in prefixes)
        with init_devices(timeout=TIMEOUT):
            one = SimDetector(first, ADWriterFactory.hdf(place), name="one")
            other = SimDetector(second, ADWriterFactory.hdf(place), name="other")
            stats = NDStatsIO(f"{first}Stats1:", name="stats")
            figured = SimDetector(first, plugins={"stats": stats}, name="figured")
            buffered = ContAcqDetector(first, ADWriterFactory.hdf(place), name="buffered")
        figured.add_detector_logics(PluginSignalDataLogic(figured.driver, stats.total))
        self.one, self.other, self.figured, self.buffered, self.stats = one, other, figured, buffered, stats

    def run(self, coroutine: Any) -> Any:
        """Return what a coroutine of the devices returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.engine.loop).result(TIMEOUT)

    def put(self, at: int, name: str, value: Any) -> None:
        """Put to a record of one of the appliances, to completion."""
        self.run(put(f"{self.scheme}://{self.prefixes[at]}{name}", value))

    def fly(self, detectors: list[Any], kickoffs: int, **trigger: Any) -> None:
        """Prepare and stage once, take frames in several kickoffs, collecting meanwhile."""
        import bluesky.plan_stubs as bps
        from ophyd_async.core import TriggerInfo

        def plan() -> Plan:
            yield from bps.open_run()
            yield from bps.stage_all(*detectors)
            for at in range(kickoffs):
                for detector in detectors:
                    yield from bps.prepare(detector, TriggerInfo(**trigger), group="ready")
                yield from bps.wait(group="ready", timeout=TIMEOUT)
                if not at:
                    yield from bps.declare_stream(*detectors, name="flown", collect=True)
                yield from bps.kickoff_all(*detectors, wait=True)
                yield from bps.collect_while_completing(detectors, detectors, flush_period=0.1, stream_name="flown")
            yield from bps.unstage_all(*detectors)
            yield from bps.close_run()

        self.engine(plan())


def together(bench: Bench) -> dict[str, int]:
    import bluesky.plans as bp

    bench.engine(bp.count([bench.one, bench.other], num=4))
    return {"one": 4, "other": 4}


def flown_together(bench: Bench) -> dict[str, int]:
    bench.fly([bench.one, bench.other], 1, number_of_events=15)
    return {"one": 15, "other": 15}


def prepared_again_and_again(bench: Bench) -> dict[str, int]:
    bench.fly([bench.one], 3, number_of_events=4, livetime=0.001, deadtime=0.002)
    return {"one": 12}


def frames_an_event(bench: Bench) -> dict[str, int]:
    bench.fly([bench.one, bench.other], 2, number_of_events=3, collections_per_event=4)
    return {"one": 24, "other": 24}


def size_and_type_change(bench: Bench) -> dict[str, int]:
    import bluesky.plans as bp

    for name, value in (("SizeX", 40), ("SizeY", 24), ("DataType", "UInt16")):
        bench.put(0, f"cam1:{name}", value)
    bench.engine(bp.count([bench.one], num=2))
    return {"one": 2}


def another_folder(bench: Bench) -> dict[str, int]:
    import bluesky.plans as bp

    bench.folder, bench.depth = bench.folder / "deeper" / f"{time.time_ns()}", -2
    bench.engine(bp.count([bench.one, bench.other], num=1))
    assert len(list(bench.folder.iterdir())) == 2, "both files are in the new folder"
    return {"one": 1, "other": 1}


def failed_in_flight(bench: Bench) -> dict[str, int]:
    """Fail while frames flow; what was announced is there, the next runs must find all idle."""
    try:
        bench.engine(long_flight(bench, lambda: _fail("half way")))
    except StoppedError:
        return {"one": -1}
    raise AssertionError("the plan did not fail")


def _fail(when: str) -> None:
    raise StoppedError(when)


def long_flight(bench: Bench, each: Callable[[], object]) -> Plan:
    """Fly for long, collecting meanwhile; `each` is called when something was collected."""
    import bluesky.plan_stubs as bps
    from bluesky.preprocessors import stage_wrapper
    from ophyd_async.core import TriggerInfo

    def plan() -> Plan:
        yield from bps.open_run()
        yield from bps.prepare(bench.one, TriggerInfo(number_of_events=100_000), wait=True)
        yield from bps.declare_stream(bench.one, name="flown", collect=True)
        yield from bps.checkpoint()
        yield from bps.kickoff(bench.one, wait=True)
        while True:
            yield from bps.sleep(0.1)
            yield from bps.collect(bench.one, name="flown")
            if _announced(bench) > 2:
                each()

    yield from stage_wrapper(plan(), [bench.one])


def _announced(bench: Bench) -> int:
    """Return how many times frames were announced in this scene."""
    return sum(name == "stream_datum" for name, _ in bench.documents)


def interrupt(bench: Bench, plan: Plan, act: Callable[[], object]) -> None:
    """Run a plan that somebody else interrupts by `act` as soon as its first frames are announced.

    Raises:
        AssertionError: it was not interrupted.
    """
    from bluesky.utils import RunEngineInterrupted

    over = threading.Event()

    def outside() -> None:
        while _announced(bench) < 2 and not over.wait(0.01):
            pass
        act()

    thread = threading.Thread(target=outside, name="outside", daemon=True)
    thread.start()
    try:
        bench.engine(plan)
    except RunEngineInterrupted:
        return
    finally:
        over.set()
        thread.join(TIMEOUT)
    raise AssertionError("the plan was not interrupted")


def ended(bench: Bench, status: str, count: int = -1) -> dict[str, int]:
    """Return how many frames there are to be, of a run that is over and says so.

    Raises:
        AssertionError: it is not over, or ended otherwise.
    """
    exits = [one["exit_status"] for name, one in bench.documents if name == "stop"]
    assert (exits, bench.engine.state) == ([status], "idle"), f"{exits} {bench.engine.state}, expected {status}"
    return {"one": count}


def ctrl_c(times: int) -> None:
    """Press it, slowly enough for Bluesky to take each as meant."""
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.3)


def a_long_count(bench: Bench, number: int = 10_000) -> Plan:
    import bluesky.plans as bp

    return bp.count([bench.one], num=number)


def count_aborted_from_outside(bench: Bench) -> dict[str, int]:
    interrupt(bench, a_long_count(bench), lambda: bench.engine.abort("enough"))
    return ended(bench, "abort")


def count_stopped_from_outside(bench: Bench) -> dict[str, int]:
    interrupt(bench, a_long_count(bench), bench.engine.stop)
    return ended(bench, "success")


def count_paused_by_ctrl_c_and_resumed(bench: Bench) -> dict[str, int]:
    """Pause at the next checkpoint; every point is taken once in the end."""
    interrupt(bench, a_long_count(bench, 20), lambda: ctrl_c(1))
    bench.engine.resume()
    return ended(bench, "success", 20)


def count_interrupted_by_ctrl_c_and_aborted(bench: Bench) -> dict[str, int]:
    interrupt(bench, a_long_count(bench), lambda: ctrl_c(2))
    bench.engine.abort("two times Ctrl-C")
    return ended(bench, "abort")


def flight_aborted_from_outside(bench: Bench) -> dict[str, int]:
    interrupt(bench, long_flight(bench, lambda: None), lambda: bench.engine.abort("enough"))
    return ended(bench, "abort")


def flight_stopped_from_outside(bench: Bench) -> dict[str, int]:
    interrupt(bench, long_flight(bench, lambda: None), bench.engine.stop)
    return ended(bench, "success")


def flight_interrupted_by_ctrl_c_and_stopped(bench: Bench) -> dict[str, int]:
    interrupt(bench, long_flight(bench, lambda: None), lambda: ctrl_c(2))
    bench.engine.stop()
    return ended(bench, "success")


def failed_between_points(bench: Bench) -> dict[str, int]:
    import bluesky.plans as bp

    def each(detectors: Any, _take: Any = None) -> Any:
        import bluesky.plan_stubs as bps

        yield from bps.trigger_and_read(detectors)
        if sum(name == "event" for name, _ in bench.documents) >= 2:
            raise StoppedError("after the second point")

    try:
        bench.engine(bp.count([bench.one], num=5, per_shot=each))
    except StoppedError:
        return {"one": 2}
    raise AssertionError("the plan did not fail")


def staged_twice(bench: Bench) -> dict[str, int]:
    import bluesky.plan_stubs as bps

    def plan() -> Plan:
        yield from bps.stage(bench.one, wait=True)
        yield from bps.stage(bench.one, wait=True)
        yield from bps.open_run()
        for _ in range(3):
            yield from bps.trigger_and_read([bench.one])
        yield from bps.close_run()
        yield from bps.unstage(bench.one, wait=True)
        yield from bps.unstage(bench.one, wait=True)

    bench.engine(plan())
    return {"one": 3}


def figures(bench: Bench) -> dict[str, int]:
    """Read Stats1's total with each frame: of the ramp, it is another one each time."""
    import bluesky.plans as bp

    bench.put(0, "Stats1:EnableCallbacks", 1)
    bench.engine(bp.count([bench.figured], num=5))
    events = [document["data"] for name, document in bench.documents if name == "event"]
    totals = [value for data in events for key, value in data.items() if key.endswith("total")]
    assert len(set(totals)) == 5, f"a figure of each frame: {totals}"
    bench.put(0, "cam1:WaitForPlugins", 0)
    return {}


def circular_buffer(bench: Bench) -> dict[str, int]:
    """Take frames out of a stream that goes on, by a trigger of CB1."""
    import bluesky.plan_stubs as bps
    from ophyd_async.core import TriggerInfo
    from ophyd_async.epics.core import stop_busy_record

    buffered: Any = bench.buffered

    def plan() -> Plan:
        yield from bps.open_run()
        yield from bps.stage(buffered, wait=True)
        yield from bps.prepare(buffered, TriggerInfo(number_of_events=6), wait=True)
        yield from bps.declare_stream(buffered, name="flown", collect=True)
        yield from bps.kickoff(buffered, wait=True)
        yield from bps.abs_set(buffered.cb.trigger_, True, group="triggered")
        yield from bps.collect_while_completing([buffered], [buffered], flush_period=0.1, stream_name="flown")
        yield from bps.unstage(buffered, wait=True)
        yield from bps.close_run()

    bench.put(0, "HDF1:NDArrayPort", "CB1")
    bench.put(0, "cam1:ImageMode", "Continuous")
    acquiring = bench.run(_begun(buffered.driver))
    try:
        bench.engine(plan())
    finally:
        bench.run(stop_busy_record(buffered.driver.acquire))
        bench.run(_over(acquiring))
        bench.put(0, "HDF1:NDArrayPort", "SIM1")
    return {"buffered": 6}


async def _begun(driver: Any) -> Any:
    """Begin to acquire without an end; return what is done when it has ended all the same."""
    from ophyd_async.core import wait_for_value

    status = driver.acquire.set(True)
    await wait_for_value(driver.acquire, True, TIMEOUT)
    return status


async def _over(status: Any) -> None:
    await asyncio.wait_for(status, TIMEOUT)


SCENES: tuple[Callable[[Bench], dict[str, int]], ...] = (
    *(together, flown_together, prepared_again_and_again, frames_an_event, size_and_type_change, another_folder),
    *(failed_in_flight, together, failed_between_points, staged_twice, figures, circular_buffer, together),
    *(count_aborted_from_outside, flown_together, count_stopped_from_outside, together),
    *(count_paused_by_ctrl_c_and_resumed, count_interrupted_by_ctrl_c_and_aborted, flown_together),
    *(flight_aborted_from_outside, together, flight_stopped_from_outside, flown_together),
    *(flight_interrupted_by_ctrl_c_and_stopped, together),
)
"""What is done, in this order; each returns how many frames of which detector are to be in files, -1: any number."""


def faults(bench: Bench, expected: dict[str, int]) -> list[str]:
    """Return what is wrong with the documents and files of a scene."""
    found = invalid(bench.documents)
    resources = {one["uid"]: one for name, one in bench.documents if name == "stream_resource"}
    announced = dict.fromkeys(resources, 0)
    for name, datum in bench.documents:
        if name == "stream_datum":
            uid, indices = datum["stream_resource"], datum["indices"]
            if indices["start"] != announced[uid]:
                found.append(f"indices begin with {indices['start']} behind {announced[uid]}")
            announced[uid] = indices["stop"]
    keys: dict[str, dict] = {}
    for name, one in bench.documents:
        keys |= one["data_keys"] if name == "descriptor" else {}
    seen: dict[str, int] = {}
    for uid, resource in resources.items():
        key = resource["data_key"]
        with h5py.File(path_of(resource)) as file:
            data: Any = file[FRAMES]
            ids: Any = file[IDS]
            series: Any = file["/entry/instrument/NDAttributes/Series"]
            per_event = keys[key]["shape"][0]
            seen[key] = seen.get(key, 0) + announced[uid] * per_event
            shape, dtype = (*keys[key]["shape"][1:],), keys[key]["dtype_numpy"]
            if (data.shape[1:], data.dtype.str) != (shape, dtype):
                found.append(f"{key}: descriptor says {shape} {dtype}, the file has {data.shape} {data.dtype.str}")
            if data.shape[0] < announced[uid] * per_event or len(ids) != data.shape[0]:
                found.append(f"{key}: {data.shape[0]} frames and {len(ids)} ids, {announced[uid]} events announced")
            pairs = list(zip(series[:].tolist(), ids[:].tolist(), strict=True))
            if len(set(pairs)) != len(pairs):
                found.append(f"{key}: frames are twice in the file")
    for key, frames in expected.items():
        if seen.get(key, 0) != frames and not (frames < 0 and seen.get(key, 0) > 0):
            found.append(f"{key}: expected {frames} frames, announced {seen.get(key, 0)}")
    for detector in (bench.one, bench.other):
        idle = bench.run(_idle(detector))
        if idle[0] or idle[2] or idle[1] not in ("Idle", "Aborted"):
            found.append(f"{detector.name} is not idle afterwards: {idle}")
    return found


async def _idle(detector: Any) -> tuple[bool, str, bool]:
    state = await detector.driver.detector_state.get_value()
    return bool(await detector.driver.acquire.get_value()), state.value, bool(await detector.hdf.capture.get_value())


def scenes(scheme: str, prefixes: list[str], folder: Path) -> None:
    """Do every scene; print a line for each."""
    bench = Bench(scheme, prefixes, folder)
    for scene in SCENES:
        bench.documents.clear()
        begun = time.monotonic()
        try:
            found = faults(bench, scene(bench))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding of this scene
            found = [f"{type(error).__name__}: {error}"[:800]]
        line = {"scheme": scheme, "scene": scene.__name__, "seconds": time.monotonic() - begun, "faults": found}
        print(json.dumps(line), flush=True)


def campaign() -> int:
    """Run the campaign; return the exit code."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runs: list[RunningAppliance] = []
        shared: dict[str, str] = {}
        for name in ("one", "other"):
            place = Path(folder) / name
            place.mkdir()
            (place / "rayfan.toml").write_text(CONFIG)
            run = stack.enter_context(appliance(place, "rayfan.toml", **shared))
            shared = {key: value for key, value in run.environment.items() if key.startswith("EPICS_")}
            runs.append(run)
        for run in runs:
            run.wait_running("detector", "HDF1", "Plug1")
        bad = sum(told(runs, scheme, Path(folder)) for scheme in ("ca", "pva"))
        reports = [run.stop() for run in runs]
    for report in reports:
        stage = next(one for one in report["stages"] if one["name"] == "HDF1")
        lost = stage["received"] != report["published"] or any(stage["dropped"].values())
        bad += lost or report["residue"] != 0
        print(f"frames published {report['published']}, HDF1 received {stage['received']}, residue {report['residue']}")
    return 1 if bad else 0


def told(runs: list[RunningAppliance], scheme: str, folder: Path) -> int:
    """Let a client do all scenes over one protocol; print what came of them and return how many were bad."""
    data = folder / f"data-{scheme}"
    data.mkdir()
    command = [sys.executable, "-m", "tests.campaigns.bluesky_plans", "--client", scheme, str(data)]
    command += [run.prefix for run in runs]
    done = subprocess.run(
        command, env=runs[0].environment, cwd=ROOT, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for line in lines:
        print(f"{scheme:4s} {line['scene']:40s} {line['seconds']:5.1f} s  {'; '.join(line['faults']) or 'good'}")
    if done.returncode or len(lines) != len(SCENES):
        print(f"{scheme}: exit code {done.returncode} after {len(lines)} scenes: {done.stderr[-1500:]}")
        return 1
    return sum(bool(line["faults"]) for line in lines)


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", nargs=4, metavar=("SCHEME", "FOLDER", "PREFIX", "PREFIX"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        scheme, folder, *prefixes = given.client
        scenes(scheme, prefixes, Path(folder))
        return 0
    return campaign()


if __name__ == "__main__":
    sys.exit(main())
