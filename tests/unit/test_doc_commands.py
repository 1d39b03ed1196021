"""The commands in README.md and docs/: subcommands and options exist, PVs are served, files and make targets are there.

`make docs-check` runs them; this looks at them, in milliseconds.
"""

import argparse
import csv
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from ioc.cli import command_line
from tests.support.doc_blocks import ROOT, Block, blocks, pages, rayfan_calls

PV = re.compile(r"\b(?:RF|M|TX|RX|W1|A|GW:RF):([A-Z][A-Za-z0-9]*(?::[A-Za-z0-9*+]+)*(?:_RBV)?)")
EPICS = ("caget", "caput", "camonitor", "pvget", "pvput", "pvmonitor", "caproto-get", "caproto-put")
CHANNELS = re.compile(
    r"((Pva|Cons|Coll|EjfatIn|In|Plug|ROI|Stats|CB|Trans|Proc|Codec)\d+:)?(Quarantine:)?(Image|Status)$"
)
MADE = re.compile(
    r"Cons\d+:(Stat|Set|Meta):|Dist\d+:Set[*\d]+:Member[*\d]+:Image$|(detector|supervisor|Cons\d+):[A-Z_]+$"
)
"""Names that a processor's declarations or a configuration make."""


def described(block: Block) -> str:
    return block.place


ALL = [block for page in pages() for block in blocks(page)]
COMMANDS = [block for block in ALL if block.is_commands]


@cache
def served() -> frozenset[str]:
    """Return the names of all records, with each number as 1."""
    with (ROOT / "db" / "records.csv").open(newline="", encoding="utf-8") as file:
        names = {row["name"].removeprefix("$(P)") for row in csv.DictReader(file)}
    templates = "".join(path.read_text() for path in (ROOT / "db").glob("*.template"))
    derived = re.findall(r'(?:record\(\w+, |alias\()"\$\(P\)([^"]+)"', templates)
    names |= {name.replace("$(R)", device) for name in derived for device in ("cam1:", "Cons1:", "")}
    return frozenset(first(name) for name in names)


def first(name: str) -> str:
    """Return a name with the numbers of its devices as 1."""
    return re.sub(r"(?<=[A-Za-z])\d+(?=:)", "1", name)


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("block", COMMANDS, ids=described)
def test_commands_are_understood(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bash, and those of `rayfan` by its parser; what stands for something else (`...`, `[...]`) is no command."""
    if "[--" in block.text:
        return  # a summary of the options; the reference has them all
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{block.place}: {done.stderr}"
    monkeypatch.setattr(
        argparse.ArgumentParser, "error", lambda _self, message: pytest.fail(f"{block.place}: {message}")
    )
    for command in block.commands():
        for arguments in rayfan_calls(command):
            if not {"--help", "--version"} & set(arguments):
                command_line().parse_args(arguments)


@pytest.mark.parametrize("block", COMMANDS, ids=described)
def test_pvs_that_are_asked_for_are_served(block: Block) -> None:
    for command in block.commands():
        words = re.split(r"\s+", command)
        if words[0] not in EPICS and "p4p.client.cli" not in command:
            continue
        for name in PV.findall(command):
            known = first(name) in served() or CHANNELS.match(name) or MADE.match(name)
            assert known, f"{block.place}: {name} is on no record table"


@pytest.mark.parametrize("block", COMMANDS, ids=described)
def test_files_of_the_source_and_make_targets_are_there(block: Block) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in block.commands():
        for path in re.findall(r"\bops/[\w./@-]+", command):
            assert (ROOT / path).exists(), f"{block.place}: {path} is not there"
        words = shlex.split(re.sub(r"\$\([^)]*\)", "X", command))
        if words[0] == "make":
            assert set(words[1:2]) <= targets, f"{block.place}: there is no {command}"


@pytest.mark.parametrize("block", [one for one in ALL if one.language == "python"], ids=described)
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


def test_every_skip_says_why() -> None:
    silent = [block.place for block in ALL if "skip" in block.said and len(block.said["skip"]) < 10]
    assert silent == []


def test_every_drawing_is_declared() -> None:
    """An indented block whose first word is no command would be typed by somebody, or run by `make docs-check`."""
    known = {*EPICS, "rayfan", "make", "pip", "export", "kill", "sleep", "pvapy-hpc-consumer", "wc", "python", "curl"}
    known |= {"systemctl", "journalctl", "podman", "podman-compose", "pvagw", "promtool", "sudo", "cp", "cat", "EPICS"}
    odd = []
    for block in (one for one in COMMANDS if "skip" not in one.said):
        for command in block.commands():
            word = re.split(r"[\s=]", command.lstrip("("))[0]
            if Path(word).name not in known and not word.isupper() and word != "umask":
                odd.append(f"{block.place}: {command}")
    assert odd == [], "declare what is no command: <!-- check: picture -->"
