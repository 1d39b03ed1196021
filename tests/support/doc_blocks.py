"""The blocks of commands and files in README.md and docs/, and what a comment before one says about it.

A block is fenced, or indented by four spaces. `<!-- check: WORD; WORD: TEXT -->` before it says how it is checked:

    file: NAME     it is the content of this file, for the blocks that follow on the page
    needs: ARGS    it is run beside `rayfan ARGS`, for example `up --set plugins.queue_size=64`
    with: ARGS     these arguments are put behind each `rayfan` of it, so that it ends in seconds
    ends           the appliance ends by itself after it
    fails          its last command fails, as the page says
    prints: TEXT   the text is in what it prints
    skip: REASON   it cannot be run here, for this reason
    picture        it is a drawing or a formula, no command
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ("configuration.md", "records.md", "processors.md", "cli.md", "status.md", "python-api.md", "index.md")
KEYS = ("file", "needs", "with", "ends", "fails", "prints", "skip", "picture")
SHELL = ("", "sh", "bash", "console")
COMMENT = re.compile(r"<!-- check: (.*?) -->")
FENCE = re.compile(r"^(\s*)```(\w*)\s*$")


@dataclass(frozen=True, slots=True)
class Block:
    """One block: where it is, its language ("" if none is said), its lines, and what is said about it."""

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def text(self) -> str:
        """Its content."""
        return "\n".join(self.lines) + "\n"

    @property
    def is_commands(self) -> bool:
        """Whether it is something to type."""
        return self.language in SHELL and "picture" not in self.said and "file" not in self.said

    def commands(self) -> list[str]:
        """Return its commands, one each, without comments; lines that end in a backslash are joined."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        stripped = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in stripped if line]


def pages() -> list[Path]:
    """Return all pages that somebody wrote."""
    written = (path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name not in GENERATED)
    return [ROOT / "README.md", *written]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page.

    Raises:
        ValueError: a comment says something that is not known.
    """
    return list(_blocks(page, page.read_text(encoding="utf-8").splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    said: Mapping[str, str] = {}
    number = 0
    while number < len(lines):
        line, before = lines[number], lines[number - 1] if number else ""
        fence = FENCE.match(line)
        if found := COMMENT.search(line):
            said = _said(found[1], f"{page.name}:{number + 1}")
            number += 1
        elif fence is not None:
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
            inner = tuple(one.removeprefix(fence[1]) for one in lines[number + 1 : end])
            yield Block(page, number + 1, fence[2], inner, said)
            said, number = {}, end + 1
        elif line.startswith("    ") and (not before.strip() or before.startswith("<!--")):
            end = number
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            inner = tuple(one[4:] for one in lines[number:end])
            yield Block(page, number + 1, "", inner, said)
            said, number = {}, end
        else:
            said = said if not line.strip() else {}
            number += 1


def _said(text: str, place: str) -> dict[str, str]:
    found = {}
    for part in re.split(rf";\s*(?=(?:{'|'.join(KEYS)})\b)", text):
        key, _, value = part.partition(":")
        if key.strip() not in KEYS:
            raise ValueError(f"{place}: expected one of {', '.join(KEYS)}, found {key.strip()!r}")
        found[key.strip()] = value.strip()
    return found


def rayfan_calls(command: str) -> Iterator[list[str]]:
    """Yield the arguments of each `rayfan` in a command."""
    for part in re.split(r"&&|\|\||[|;]", command):
        words = shlex.split(re.sub(r"\$\([^)]*\)", "VALUE", part), comments=True)
        words = [word for word in words if word != "&"]
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["rayfan"] or (words and words[0].endswith("/rayfan")):
            cut = next((n for n, word in enumerate(words) if word.startswith((">", "2>"))), len(words))
            yield words[1:cut]
