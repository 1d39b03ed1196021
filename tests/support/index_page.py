"""The first page of the documentation and the list of decisions, made from README.md and the titles of the pages."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"

HEAD = """\
# Rayfan

<!-- Made from README.md by `{command}`; do not edit. -->

{about}

![The chain: detector, distributor, consumers, EJFAT egress and ingress, supervisor](chain.svg)

* New here: [first steps](tutorial/first-steps.md), then [your own processor](tutorial/own-processor.md).
* Something to be done: the how-to pages below.
* Why it works as it does: the explanations. What exactly there is: the reference, made from the code.

## Real, emulated, absent

{table}

## Pages

"""
PARTS = (
    ("Tutorials", "tutorial"),
    ("How to", "how-to"),
    ("Explanation", "explanation"),
    ("Reference", "reference"),
)


def index_page(command: str) -> str:
    """Return docs/index.md."""
    readme = README.read_text(encoding="utf-8")
    about = re.search(r"^Rayfan is .*?\n\n", readme, re.MULTILINE | re.DOTALL)
    assert about is not None, "README.md: expected a paragraph that begins with 'Rayfan is'"
    table = readme.split("\n## Real, emulated, absent\n\n")[1].split("\n## ")[0].strip()
    head = HEAD.format(command=command, about=about[0].strip(), table=table)
    return head + "".join(_part(*part) for part in PARTS) + "* Decisions: [one page each](decisions/index.md)\n"


def decisions_page(command: str) -> str:
    """Return docs/decisions/index.md."""
    head = (
        f"# Decisions\n\nMade from the titles by `{command}`; do not edit. A record for each door that was closed.\n\n"
    )
    pages = [path for path in sorted((DOCS / "decisions").glob("*.md")) if path.name != "index.md"]
    return head + "".join(f"* [{title(path)}]({path.name})\n" for path in pages)


def _part(caption: str, folder: str) -> str:
    links = [f"[{title(path)}]({folder}/{path.name})" for path in sorted((DOCS / folder).glob("*.md"))]
    return f"* {caption}: " + ",\n  ".join(links) + "\n"


def title(path: Path) -> str:
    """Return the first heading of a page."""
    lines: Iterator[str] = iter(path.read_text(encoding="utf-8").splitlines())
    return next(line[2:].strip() for line in lines if line.startswith("# "))
