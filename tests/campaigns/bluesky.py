"""Bluesky plans with an unmodified SimDetector, again and again, over Channel Access and over pvAccess.

    python -m tests.campaigns.bluesky [--rounds 30] [--seconds 240]

A round is one `count` and one flight of ophyd-async's SimDetector with its HDF writer. Region, data type, compression
and the port whose frames are written change from round to round, and so does what an NDAttribute says. Asked of each:
documents that event_model finds valid, indices without a gap, frames in the file at once when a document announces
them, shapes, types, chunks and ids as the documents say, no frame like another, everything idle afterwards. Between
them classic ophyd counts into files, and pyepics' class of areaDetector acquires. The ledger has the last word.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.appliance import RunningAppliance, appliance
from tests.support.bluesky_session import FRAMES, Session

CONFIG = """
[detector]
frame_rate = 500
size = [96, 64]
acquire_at_start = false
source = { kind = "generated", pattern = "sim_ramp" }
[writers.files]
[plugins]
names = ["Stats1", "Stats2", "ROI1", "Proc1", "Codec1", "CB1"]
"""
MOST_FRAMES = 12
CLIENT_SECONDS = 200.0
ROOT = Path(__file__).parents[2]
PORTS = ("SIM1", "ROI1", "STATS2", "CODEC1")
TYPES = {"UInt8": "|u1", "UInt16": "<u2", "Int32": "<i4", "Float32": "<f4"}
ATTRIBUTES = {
    "Number": 'type="PARAM" source="ARRAY_COUNTER" datatype="INT"',
    "Exposure": 'type="PARAM" source="ACQ_TIME" datatype="DOUBLE"',
    "Long": 'type="CONST" source="5" datatype="INT64"',
    "Absent": 'type="EPICS_PV" source="NO:SUCH:PV" dbrtype="DBR_FLOAT"',
}
"""NDAttributes that the detector adds; of the last one there is never a value. No text: the type that ophyd-async 0.21
says for one, S40, is none to event_model."""
COMPRESSIONS = ("None", "zlib", "Blosc", "BSLZ4", "LZ4")


def rounds(scheme: str, prefix: str, folder: Path, number: int, until: float) -> None:
    """Do up to `number` rounds, until the clock shows `until`; print a line for each."""
    dice = random.Random(f"{scheme}{number}")
    session = Session(scheme, prefix, folder)
    session.run(prepare(session, scheme, prefix))
    for at in range(number):
        if time.time() > until:
            break
        begun = time.monotonic()
        plan = chosen(dice)
        session.forget()
        try:
            session.run(choose(scheme, prefix, plan))
            session.count(plan["count"])
            session.fly(plan["fly"])
            found = faults(session, plan)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a finding of this round
            found = [f"{type(error).__name__}: {error}"[:600]]
        line = {"scheme": scheme, "round": at, "seconds": time.monotonic() - begun, "faults": found, "plan": plan}
        print(json.dumps(line), flush=True)
    start = f"{scheme}://{prefix}HDF1:"
    session.run(put(f"{start}NDArrayPort", "SIM1"))  # what classic ophyd knows nothing of, it refuses
    session.run(put(f"{start}LazyOpen", 0))  # and it wants the number of a file before the first frame


def chosen(dice: random.Random) -> dict[str, Any]:
    """Return what is different in this round."""
    return {
        "count": dice.randint(1, 4),
        "fly": dice.randint(1, MOST_FRAMES),
        "size": [dice.choice((96, 64, 40)), dice.choice((64, 48))],
        "type": dice.choice(list(TYPES)),
        "port": dice.choice(PORTS),
        "compression": dice.choice(COMPRESSIONS),
    }


async def prepare(session: Session, scheme: str, prefix: str) -> None:
    """Enable the plug-ins between detector and writer, once."""
    start = f"{scheme}://{prefix}"
    for name in ("Stats2", "ROI1", "Codec1"):
        await put(f"{start}{name}:EnableCallbacks", 1)
        await put(f"{start}{name}:QueueSize", 200)
    await put(f"{start}Codec1:Compressor", 6)  # BSLZ4
    texts = (f'<Attribute name="{name}" {rest} />' for name, rest in ATTRIBUTES.items())
    await session.detector.driver.nd_attributes_file.set(f"<Attributes>{''.join(texts)}</Attributes>")


async def choose(scheme: str, prefix: str, plan: dict[str, Any]) -> None:
    """Set what is different in a round, as operators do beside a plan."""
    start = f"{scheme}://{prefix}"
    await put(f"{start}cam1:SizeX", plan["size"][0])
    await put(f"{start}cam1:SizeY", plan["size"][1])
    await put(f"{start}cam1:DataType", plan["type"])
    await put(f"{start}HDF1:Compression", plan["compression"])
    await put(f"{start}HDF1:NDArrayPort", plan["port"])


async def put(name: str, value: Any) -> None:
    """Put to completion by a client library of the scheme."""
    scheme, _, pv = name.partition("://")
    if scheme == "ca":
        from aioca import caput

        await caput(pv, value, wait=True, timeout=20)
    else:
        from p4p.client.asyncio import Context

        with Context("pva") as context:
            await context.put(pv, value, wait=True)


def faults(session: Session, plan: dict[str, Any]) -> list[str]:
    """Return what is wrong with the documents and files of a round."""
    documents = session.documents
    found = [*invalid(documents), *out_of_order(documents)]
    resources = {one["uid"]: one for name, one in documents if name == "stream_resource"}
    datums = [one for name, one in documents if name == "stream_datum"]
    frames = dict.fromkeys(resources, 0)
    for datum, readable in zip(datums, session.read, strict=True):
        uid, indices = datum["stream_resource"], datum["indices"]
        if indices["start"] != frames[uid]:
            found.append(f"indices begin with {indices['start']} behind {frames[uid]}")
        if readable < indices["stop"]:
            found.append(f"{indices['stop']} frames announced, {readable} can be read")
        frames[uid] = indices["stop"]
    datasets = {uid: one["parameters"]["dataset"] for uid, one in resources.items()}
    if Counter(zip(datasets.values(), frames.values(), strict=True)) != expected_frames(plan):
        found.append(f"announced {sorted(frames.values())} frames, wanted {plan['count']} and {plan['fly']}")
    keys = {}
    for name, one in documents:
        if name == "descriptor":
            keys |= one["data_keys"]
    for uid, file in session.files().items():
        found += mistaken(file, resources[uid], keys, frames[uid], plan)
    for key, parameters, seen in session.columns():
        said = keys[key]["dtype_numpy"]
        if seen is None or [*parameters["chunk_shape"]] != [*seen[2]] or (said != seen[1] and not said.startswith("S")):
            found.append(f"NDAttribute {key}: said {said} {parameters['chunk_shape']}, found {seen}")
    idle = session.run(session.idle())
    if idle[0] or idle[2] or not idle[1].endswith("Idle"):
        found.append(f"not idle afterwards: {idle}")
    return found


def expected_frames(plan: dict[str, Any]) -> Counter[tuple[str, int]]:
    """Return how many frames are to be announced of which data sets."""
    names = [FRAMES, *(f"/entry/instrument/NDAttributes/{name}" for name in ATTRIBUTES)]
    return Counter((name, plan[what]) for name in names for what in ("count", "fly"))


def mistaken(file: dict[str, Any], resource: dict, keys: dict, frames: int, plan: dict[str, Any]) -> list[str]:
    """Return what in a file is not as the documents say."""
    columns, rows = plan["size"]
    expected = {
        "shape": (frames, rows, columns),
        "dtype": TYPES[plan["type"]],
        "chunks": tuple(resource["parameters"]["chunk_shape"]),
        "distinct": frames,
        "complete": 1,
    }
    found = [f"{name}: expected {value}, found {file[name]}" for name, value in expected.items() if file[name] != value]
    key = keys[resource["data_key"]]
    if (tuple(key["shape"])[-2:], key["dtype_numpy"]) != ((rows, columns), file["dtype"]):
        found.append(f"descriptor says {key['shape']} {key['dtype_numpy']}, the file {file['shape']} {file['dtype']}")
    if len(file["ids"]) != frames:
        found.append(f"{len(file['ids'])} ids of {frames} frames")
    return found


def invalid(documents: list[tuple[str, dict]]) -> list[str]:
    """Return what event_model's schemas object to."""
    import event_model

    found = []
    for name, document in documents:
        kind = event_model.DocumentNames[name]
        try:
            event_model.schema_validators[kind].validate(document)
        except Exception as error:  # noqa: BLE001 - jsonschema's own kinds of error
            found.append(f"{name} is not valid: {str(error)[:200]}")
    return found


def out_of_order(documents: list[tuple[str, dict]]) -> list[str]:
    """Return which of the two runs did not begin and end as runs do."""
    names = [name for name, _ in documents]
    found = []
    for what in ("start", "stop", "descriptor"):
        if names.count(what) != 2:
            found.append(f"expected two documents {what}, found {names.count(what)}")
    exits = [one["exit_status"] for name, one in documents if name == "stop"]
    return [*found, *(f"exit status {one}" for one in exits if one != "success")]


def client(run: RunningAppliance, *arguments: str) -> list[dict[str, Any]]:
    """Return the lines that a client of another process printed."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(
        command, env=run.environment, cwd=ROOT, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode:
        lines.append({"faults": [f"{arguments}: exit code {done.returncode}: {done.stderr[-800:]}"]})
    return lines


def classic(run: RunningAppliance) -> list[str]:
    """Let classic ophyd and pyepics have a go; return what is wrong."""
    folder = str(run.folder / "data")
    seen = client(run, "tests.support.bluesky_client", "classic", run.prefix, folder, "2")[-1]
    found = list(seen.get("faults", []))
    if not found and seen["names"] != ["start", "descriptor", "resource", *["datum", "event"] * 2, "stop"]:
        found.append(f"classic ophyd: {seen['names']}")
    seen = client(run, "tests.support.bluesky_client", "pyepics", run.prefix, folder, "3")[-1]
    found += seen.get("faults", [])
    if "counter" in seen and seen["counter"] != 3:
        found.append(f"pyepics: {seen}")
    return found


def campaign(number: int, seconds: float) -> int:
    """Run the campaign; return the exit code."""
    until = time.time() + seconds
    wrong: Counter[str] = Counter()
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rayfan.toml").write_text(CONFIG)
        (Path(folder) / "data").mkdir()
        with appliance(Path(folder), "rayfan.toml") as run:
            run.wait_running("detector", "HDF1", "Plug1")
            for scheme in ("ca", "pva"):
                share = time.time() + (until - time.time()) / (2 if scheme == "ca" else 1)
                lines = client(
                    run, "tests.campaigns.bluesky", "--client", scheme, run.prefix, f"{folder}/data", str(number),
                    str(share),
                )  # fmt: skip
                for line in lines:
                    done[scheme] += "round" in line
                    wrong.update(line["faults"])
                    if line["faults"]:
                        print(json.dumps(line), flush=True)
            wrong.update(classic(run))
            report = run.stop()
    stage = next(one for one in report["stages"] if one["name"] == "HDF1")
    print(f"rounds of count and fly: {dict(done)}; frames published {report['published']}, residue {report['residue']}")
    for what, times in wrong.most_common():
        print(f"  {times} times: {what}")
    lost = stage["received"] != report["published"] or any(stage["dropped"].values())
    return 0 if not wrong and not lost and min(done["ca"], done["pva"]) > 0 else 1


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="of each protocol at most")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--client", nargs=5, metavar=("SCHEME", "PREFIX", "FOLDER", "NUMBER", "UNTIL"))
    given = parser.parse_args()
    if given.client:
        scheme, prefix, folder, number, until = given.client
        rounds(scheme, prefix, Path(folder), int(number), float(until))
        return 0
    return campaign(given.rounds, given.seconds)


if __name__ == "__main__":
    sys.exit(main())
