"""The commands in README.md and docs/: subcommands and options exist, PVs are served, files and make targets are there.

`make docs-check` runs them; this looks at them, in milliseconds.
"""

import argparse
import csv
import re
import shlex
import subprocess
from functools import cache
from itertools import groupby
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


def described(item: Block | list[Block]) -> str:
    return item.place if isinstance(item, Block) else str(item[0].page.relative_to(ROOT))


ALL = [block for page in pages() for block in blocks(page)]
COMMANDS = [block for block in ALL if block.is_commands]
PAGES = [list(page) for _, page in groupby(COMMANDS, lambda block: block.page)]


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


def is_served(name: str) -> bool:
    return bool(first(name) in served() or CHANNELS.match(name) or MADE.match(name))


def test_there_are_commands_to_look_at() -> None:
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("page", PAGES, ids=described)
def test_commands_are_understood(page: list[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    """By bash, and those of `rayfan` by its parser; a summary of options (`[--`) is no command."""
    typed = [block for block in page if "[--" not in block.text]
    text = "".join(block.text for block in typed)
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page[0].page}: {done.stderr}"
    monkeypatch.setattr(argparse.ArgumentParser, "error", lambda _self, message: pytest.fail(message))
    parser = command_line()
    for block in typed:
        for arguments in (one for command in block.commands() for one in rayfan_calls(command)):
            print(f"{block.place}: rayfan {shlex.join(arguments)}")  # what failed, in the output of the test
            parser.parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=described)
def test_pvs_that_are_asked_for_are_served(page: list[Block]) -> None:
    for place, command in ((block.place, command) for block in page for command in block.commands()):
        if command.split()[0] in EPICS or "p4p.client.cli" in command:
            unknown = [name for name in PV.findall(command) if not is_served(name)]
            assert unknown == [], f"{place}: on no record table"


@pytest.mark.parametrize("page", PAGES, ids=described)
def test_files_of_the_source_and_make_targets_are_there(page: list[Block]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for place, command in ((block.place, command) for block in page for command in block.commands()):
        absent = [path for path in re.findall(r"\bops/[\w./@-]+", command) if not (ROOT / path).exists()]
        assert absent == [], f"{place}: not there"
        words = command.split()
        assert words[0] != "make" or words[1] in targets, f"{place}: there is no {command}"


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
