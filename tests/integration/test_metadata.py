"""The example with six metadata channels: each frame has its values, says how they were found, and is accounted for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.appliance import RunningAppliance, appliance
from tests.support.clients import user_of

EXAMPLE = Path(__file__).parents[2] / "ops" / "examples" / "metadata.toml"
FRAMES = 400
CHANNELS = ("Energy", "X", "Y", "Pressure", "Heater", "Ring")
PROCESSOR = '''
import json

from consumers.processor import Processor


class Recorder(Processor):
    """Writes down what it is given with each frame."""

    def start(self, context):
        self.out = (context.folder / "frames").open("ab", buffering=0)

    def process(self, frame, metadata):
        qualities = {name: quality.value for name, quality in metadata.quality.items()}
        line = [frame.series, frame.unique_id, dict(metadata), qualities, dict(frame.attributes)]
        self.out.write(json.dumps(line).encode() + b"\\n")
        return frame

    def flush(self):
        self.out.write(b'"end"\\n')
'''


def seen(run: RunningAppliance, name: str) -> list[Any]:
    """Return the lines that a recorder wrote."""
    path = run.run_dir / "files" / name / "frames"
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # a line may be seen while it is being written
    return [json.loads(line) for line in whole.splitlines()]


def connected(run: RunningAppliance) -> bool:
    """Return whether all channels are there."""
    figures = run.status("Cons1").get("figures", {})
    return all(figures.get(f"Meta:{name}:Connected") == 1 for name in CHANNELS)


def test_six_channels_go_with_every_frame(tmp_path: Path) -> None:
    (tmp_path / "recorder.py").write_text(PROCESSOR)
    settings = [
        "detector.frame_rate=200",
        "detector.image_mode=Multiple",
        f"detector.num_images={FRAMES}",
        "detector.metadata.Heater.every=50",
        "groups.match.metadata.channels.X.window=0.000001",  # frames come in bursts when the machine is loaded
        # a loaded machine may take its time: nothing is to be given up early here
        *(f"groups.match.metadata.channels.{name}.wait=20" for name in ("Energy", "X", "Y")),
        *(f"groups.match.metadata.channels.{name}.wait=1" for name in ("Pressure", "Ring")),
        *(f"groups.match.metadata.channels.{name}.reach=60" for name in ("Pressure", "Ring")),
        "groups.match.processor=recorder.py:Recorder",
        "groups.stats.processor=recorder.py:Recorder",
    ]
    arguments = [str(EXAMPLE), *(word for setting in settings for word in ("--set", setting))]
    with appliance(tmp_path, *arguments) as run:
        run.wait_running("detector", "Cons1", "Cons2", "Cons3")
        run.wait_until(lambda: connected(run), "all channels are connected", 60.0)
        with user_of(run) as user:
            user.put_plain("cam1:Acquire", 1)
            names = ("Cons1", "Cons2", "Cons3")
            run.wait_until(lambda: all("end" in seen(run, name) for name in names), "the end of the series", 90.0)
            _assert_records(user)
        report = run.stop()
    assert report["published"] == FRAMES
    frames = [line for line in seen(run, "Cons1") if line != "end"]
    assert [unique_id for _, unique_id, *_ in frames] == list(range(1, FRAMES + 1))
    for _, unique_id, values, qualities, attributes in frames:
        _assert_values(unique_id, values, qualities)
        assert {name: attributes[name] for name in values} == values
        assert {name: attributes[f"{name}Quality"] for name in CHANNELS} == qualities
    behind = {line[1]: line[2:4] for name in ("Cons2", "Cons3") for line in seen(run, name) if line != "end"}
    assert behind == {unique_id: [values, qualities] for _, unique_id, values, qualities, _ in frames}


def _assert_values(unique_id: int, values: dict[str, float], qualities: dict[str, str]) -> None:
    for name in ("Energy", "X", "Y"):
        assert (values[name], qualities[name]) == (unique_id, "matched"), f"{name} of frame {unique_id}"
    assert qualities["Pressure"] in ("matched", "interpolated", "nearest")
    assert values["Pressure"] == pytest.approx(unique_id, abs=10), f"frame {unique_id}"
    assert qualities["Heater"] in ("matched", "nearest", "missing")  # missing: the first ones, before it was updated
    assert qualities["Ring"] == "nearest"


def _assert_records(user: Any) -> None:
    user.wait("Cons1:Meta:Energy:Matched_RBV", FRAMES)
    assert user.get("Cons1:Meta:Energy:Connected_RBV") == "yes"
    assert user.get("Cons1:Meta:Energy:Unmatched_RBV") == 0
    assert user.get("Cons1:Meta:Y:ClockOffset_RBV") == pytest.approx(5.0, abs=0.01)
    complete, unmatched = (user.get(f"Cons1:Meta:{name}_RBV") for name in ("Complete", "Unmatched"))
    assert complete + unmatched == FRAMES
    user.put("Cons1:Meta:X:Window", 0.001)
    user.wait("Cons1:Meta:X:Window_RBV", 0.001)
