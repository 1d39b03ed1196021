"""How frames come in from outside and go out to others: [intake.*], and the outputs of groups and collectors."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ioc.core.config_metadata import PREFIX_MACRO
from ioc.core.config_table import Table

MOST_STREAMS = 64
SCHEMES = {
    "pva": "a channel of somebody else is monitored",
    "put": "a channel of ours that others put frames into",
    "rpc": "a service of ours that others call with a frame",
    "file": "frames of an HDF5 file",
}
"""How frames come in."""
OUTPUTS = {
    "put": "frames are put into a channel of somebody else",
    "rpc": "a service of somebody else is called with each frame",
}
"""How frames go out, besides `pva`."""
_NAME = re.compile(r"[^\s\x00-\x1f/?#]{1,60}")
_FIELD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def scheme_of(url: str) -> tuple[str, str]:
    """Return scheme and name of `scheme://name`; both empty if it is none."""
    scheme, mark, name = url.partition("://")
    return (scheme, name) if mark else ("", "")


def _input(url: str) -> str:
    scheme, name = scheme_of(url)
    if scheme not in SCHEMES or not name or (scheme != "file" and not _NAME.fullmatch(name)):
        raise ValueError(f"expected {', '.join(f'{one}://NAME ({what})' for one, what in SCHEMES.items())}")
    return url


def _output(given: str) -> str:
    scheme, name = scheme_of(given)
    if given != "pva" and (scheme not in OUTPUTS or not _NAME.fullmatch(name)):
        known = ", ".join(f"{one}://NAME ({what})" for one, what in OUTPUTS.items())
        raise ValueError(f"expected pva (a channel of ours), {known}")
    return given


def _field(path: str) -> str:
    if path and not _FIELD.fullmatch(path):
        raise ValueError("expected the path of a field, for example timeStamp.userTag")
    return path


Url = Annotated[str, AfterValidator(_input)]
Output = Annotated[str, AfterValidator(_output)]
FieldPath = Annotated[str, AfterValidator(_field)]


class IntakeConfig(Table):
    """Frames that come from outside, besides the detector's; `$(P)In1:` for the first table."""

    url: list[Url] = Field(min_length=1, max_length=MOST_STREAMS)
    """Where they come from, one or several streams: `pva://CHANNEL`, monitored; `put://CHANNEL`, served for puts;
    `rpc://SERVICE`, served for calls; `file://PATH`, an HDF5 file. `$(P)` stands for the prefix of this appliance."""
    queue_size: int = Field(default=64, ge=2, le=65536)
    """Frames of one stream that may wait to be taken in."""
    queue_bytes: int | None = Field(default=None, ge=1)
    """Bytes of one stream that may wait; left out: a part of the memory budget."""
    id_field: FieldPath = "uniqueId"
    """Field that numbers the frames; empty: they are numbered as they come."""
    first_id: int = Field(default=1, ge=-(1 << 31), le=1 << 31)
    """What the source calls its first frame; it is frame 1 here."""
    id_step: int | None = Field(default=None, ge=0, le=65536)
    """What the id grows by from one frame of a stream to the next; 0: by anything, no gap is a loss. Left out: 1 for
    pva, 0 for put and rpc."""
    fields: list[FieldPath] = Field(default=[])
    """pva: fields that are asked for, besides value, dimension and the id; left out: all of them."""
    skip_initial: int = Field(default=0, ge=0, le=65536)
    """pva: updates after each connection that are not taken: a server shows its last image first."""
    pipeline: bool = False
    """pva: ask for flow control. Not towards PvaPy's server, which dies of it."""
    structure: Literal["pvapy", "areadetector"] = "pvapy"
    """put: the structure of our channel. A put of PvaPy dies if it is not the very one that it sends: `pvapy`, that of
    images that PvaPy's tools make; `areadetector`, that of areaDetector's and Rayfan's, which PvaPy passes on."""
    dataset: str | None = None
    """file: path of the data set; may be left out if the file has one with 3 dimensions."""
    frame_rate: float = Field(default=1000.0, gt=0, le=1e6)
    """file: Hz."""
    loop: bool = False
    """file: begin again at the end, as a new series."""

    @model_validator(mode="before")
    @classmethod
    def _one_url(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("url"), str):
            return {**given, "url": [given["url"]]}
        return given

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(self.url)) < len(self.url):
            raise ValueError(f"url: expected different streams, found {', '.join(self.url)}")
        return self

    def under(self, prefix: str) -> Self:
        """Return this table with the prefix put in."""
        return self.model_copy(update={"url": [url.replace(PREFIX_MACRO, prefix) for url in self.url]})

    def step_of(self, scheme: str) -> int:
        """Return what the id of a stream grows by; 0: by anything."""
        if self.id_step is not None:
            return self.id_step
        return 1 if scheme == "pva" else 0


class Remote(Table):
    """What frames that are put out elsewhere may take."""

    output_timeout: float = Field(default=5.0, gt=0, le=3600)
    """s that `put://` and `rpc://` outputs wait for the far end to take a frame. Then it is lost there, or, with
    policy lossless or acknowledged, offered again until it is taken."""


def with_intakes(given: Any) -> Any:
    """Return the tree of a configuration where each `input` that is a URL is a table [intake.*] of its own."""
    if not isinstance(given, dict):
        return given
    tree = dict(given)
    for kind in ("groups", "collectors", "egress", "writers"):
        tables = tree.get(kind)
        if isinstance(tables, dict):
            tree[kind] = {name: _taken_from_outside(table, tree) for name, table in tables.items()}
    return tree


def _taken_from_outside(table: Any, tree: dict[str, Any]) -> Any:
    url = table.get("input") if isinstance(table, dict) else None
    if not isinstance(url, str) or scheme_of(url)[0] not in SCHEMES:
        return table
    intakes = tree.get("intake", {})
    if isinstance(intakes, dict):
        tree["intake"] = {**intakes, url: intakes.get(url, {"url": url})}
    return {**table, "input": f"intake.{url}"}


def file_of(url: str) -> Path:
    """Return the file of a `file://` URL."""
    return Path(scheme_of(url)[1]).expanduser()
