"""`rayfan processor list | describe | new | screen`: what they print and write, and that what is written runs."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from consumers.catalogue import description_text, listing_text
from consumers.loading import bundled, load_processor
from consumers.panel import panel_name
from ioc import cli
from ioc.columns import fit

THRESHOLD = """
from consumers.processor import Processor, Setting, Statistic

class Spots(Processor):
    '''Finds spots.

    Slowly.
    '''

    batch_size = 4
    declared_settings = (
        Setting("Level", 2.5, unit="counts", low=0, description="Above: a spot"),
        Setting("Method", "fast", choices=("fast", "good")),
    )
    declared_statistics = (Statistic("Found", int, unit="spot"),)

    def process(self, frame, metadata):
        return frame
"""


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what a command that goes well prints."""
    assert cli.main(["processor", *arguments]) == 0
    return capsys.readouterr().out


def test_the_list_names_every_processor_and_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "list").splitlines()
    assert [line.split()[0] for line in lines] == bundled()
    assert all(len(line.split("  ", 1)[1].strip()) > 10 for line in lines)
    entries = json.loads(told(capsys, "list", "--json"))
    assert [entry["name"] for entry in entries] == bundled()
    assert {entry["missing"] for entry in entries} == {""}, "the tests install every extra"


def test_on_a_terminal_no_line_is_longer_than_it_and_no_word_is_lost() -> None:
    for words in (listing_text, partial(description_text, "compress"), partial(description_text, "hot_pixels")):
        whole = words(None)
        for columns in (72, 80, 132):
            fitted = words(columns)
            assert fitted.split() == whole.split()
            assert max(len(line) for line in fitted.splitlines()) <= columns
    assert fit("name   ", "one two three", 17) == "name\n    one two three"
    assert fit(f"{'name':20}", "one two three four five six", 40) == f"{'name':20}one two three four\n{'':20}five six"


def test_a_description_says_all_that_is_declared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spots.py").write_text(THRESHOLD)
    found = json.loads(told(capsys, "describe", f"{tmp_path}/spots.py", "--json"))
    assert (found["class"], found["about"], found["batch_size"]) == ("Spots", "Finds spots.", 4)
    assert found["settings"] == [
        {
            "name": "Level",
            "type": "float",
            "default": 2.5,
            "unit": "counts",
            "low": 0,
            "high": None,
            "choices": [],
            "description": "Above: a spot",
        },
        {
            "name": "Method",
            "type": "str",
            "default": "fast",
            "unit": "",
            "low": None,
            "high": None,
            "choices": ["fast", "good"],
            "description": "",
        },
    ]
    assert found["statistics"] == [
        {"name": "Found", "type": "int", "unit": "spot", "low": None, "high": None, "description": ""}
    ]
    text = told(capsys, "describe", f"{tmp_path}/spots.py")
    assert "float = 2.5 counts [0..]" in text
    assert "str = 'fast' fast|good" in text
    assert '{"Level": 2.5, "Method": "fast"}' in text


@pytest.mark.parametrize("name", bundled())
def test_every_processor_can_be_described(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(told(capsys, "describe", name, "--json"))["about"].endswith(".")


def test_a_processor_that_is_not_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["processor", "describe", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("rayfan: processor: expected accumulate, ")


def test_a_new_processor_runs_and_its_test_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "new", "hot_spots", "--folder", str(tmp_path))
    assert str(tmp_path / "hot_spots.py") in text
    found = load_processor(str(tmp_path / "hot_spots.py"))
    assert found.__name__ == "HotSpots"
    test = str(tmp_path / "test_hot_spots.py")
    done = subprocess.run([sys.executable, test], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
    changed = (tmp_path / "hot_spots.py").read_text().replace("> self", "< self")
    (tmp_path / "hot_spots.py").write_text(changed)
    done = subprocess.run([sys.executable, test], capture_output=True, text=True, check=False)
    assert done.returncode == 1, "the test notices when the processor is wrong"


def test_a_new_processor_writes_over_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_mine.py").write_text("precious")
    assert cli.main(["processor", "new", "mine", "--folder", str(tmp_path)]) == 2
    assert "test_mine.py: expected no such file yet" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["test_mine.py"]
    for name in ("Mine", "9mine", "../mine", "mi ne", ""):
        assert cli.main(["processor", "new", name, "--folder", str(tmp_path)]) == 2
        assert "name of the processor: expected small letters" in capsys.readouterr().err
    assert cli.main(["processor", "new", "mine", "--folder", str(tmp_path / "nowhere")]) == 2
    assert "No such file or directory; choose another folder" in capsys.readouterr().err


def test_the_panel_of_a_processor_has_its_settings_and_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spots.py").write_text(THRESHOLD)
    printed = told(capsys, "screen", f"{tmp_path}/spots.py:Spots", "--folder", str(tmp_path))
    assert printed == f"{tmp_path}/processor_Spots.bob\n"
    panel = ElementTree.parse(printed.strip()).getroot()
    assert panel.tag == "display"
    named = [(widget.get("type"), widget.findtext("pv_name")) for widget in panel.iter("widget")]
    assert [one for one in named if one[1]] == [
        ("textentry", "$(P)$(R)Set:Level"),
        ("textupdate", "$(P)$(R)Set:Level_RBV"),
        ("combo", "$(P)$(R)Set:Method"),
        ("textupdate", "$(P)$(R)Set:Method_RBV"),
        ("textupdate", "$(P)$(R)Stat:Found_RBV"),
    ]
    assert {"Level", "Method", "Found"} <= {widget.findtext("text") for widget in panel.iter("widget")}


def test_the_panel_of_a_processor_that_is_included_is_the_one_beside_the_screens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "screen", "compress", "--folder", str(tmp_path))
    kept = Path(__file__).parents[2] / "ops" / "phoebus" / "processor_compress.bob"
    assert (tmp_path / kept.name).read_text() == kept.read_text()


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("statistics", "statistics"),
        ("threshold.py:Threshold", "Threshold"),
        ("/home/me/my-spots.py", "myspotspy"),
        ("pvapy:ops/examples/smoothing.py:SmoothingProcessor", "SmoothingProcessor"),
    ],
)
def test_a_panel_is_named_as_the_screen_of_a_consumer_looks_for_it(reference: str, name: str) -> None:
    assert panel_name(reference) == name


def test_a_panel_that_cannot_be_made_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["processor", "screen", "nothing", "--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("rayfan: processor: expected accumulate, ")
    assert cli.main(["processor", "screen", "compress", "--folder", str(tmp_path / "nowhere")]) == 2
    assert "No such file or directory; choose another folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
