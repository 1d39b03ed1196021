"""The reference pages agree with the code, every key and record is on them, and links lead somewhere."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from consumers.loading import load_processor
from ioc.core.config import Config, load
from tests.support.doc_pages import COMMAND, LISTING, PAGES, ROOT, TABLES, configuration_page, records_page
from tests.support.index_page import DOCS

WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\"]+)\"")


@pytest.mark.parametrize(("name", "page"), PAGES.items(), ids=PAGES)
def test_page_is_what_the_code_says(name: str, page: Callable[[], str]) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == page(), f"docs/{name} is stale; run: {COMMAND}"


def test_every_key_has_a_line() -> None:
    page = configuration_page()
    inner = {"jobs", "source", "readout", "simulation", "x_sines", "y_sines", "metadata", "channels"}
    tables = {"detector", "groups", "collectors", "egress", "ingress", "balancers", "writers", "plugins", *inner}
    tables |= {"supervision", "quarantine", "intake", "web", "metrics"}
    for name, model in TABLES:
        section = page.split(f"## `[{name}]`" if name else "## Top level")[1].split("\n## ")[0]
        for key in set(model.model_fields) - tables:
            assert f"\n| `{key}` |" in section, f"{name}.{key}"
    assert set(Config.model_fields) >= tables - inner


def test_every_record_of_the_first_of_its_kind_has_one_line() -> None:
    page = records_page()
    with LISTING.open(newline="", encoding="utf-8") as file:
        names = [row["name"].removeprefix("$(P)") for row in csv.DictReader(file)]
    first = [name for name in names if not re.search(r"(Process|Dist|Member|Chain)([2-9]|\d\d):", name)]
    assert len(first) > 100
    for name in first:
        assert page.count(f"\n| `{name}` |") == 1, name


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for groups in LINK.findall(page.read_text(encoding="utf-8")):
        target = next(filter(None, groups))
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_of_configurations_are_accepted(page: Path) -> None:
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "toml":
            load(text, str(page.relative_to(ROOT)))


@pytest.mark.parametrize("name", ["README.md", "docs/how-to/write-a-processor.md"])
def test_examples_of_processors_load(name: str, tmp_path: Path) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    (example,) = [text for _, text in BLOCK.findall(page) if "(Processor)" in text]
    (tmp_path / "threshold.py").write_text(example)
    found = load_processor(f"{tmp_path / 'threshold.py'}:Threshold")
    assert [one.name for one in found.declared_settings] == ["Level"]


def test_every_test_that_the_ejfat_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reference" / "ejfat.md").read_text(encoding="utf-8")))
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_ejfat_*.py")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_balancer*.py")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "interop").glob("test_pvapy_ejfat.py")]
    there = set(re.findall(r"^def (test_\w+)", "\n".join(texts), re.MULTILINE))
    assert len(named) > 30 and named <= there, sorted(named - there)
