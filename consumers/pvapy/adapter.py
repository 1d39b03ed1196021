"""`pvapy:FILE.py:CLASS`: a PvaPy processor as one of ours. The class runs in a child process; this end has its records.

Should the class crash, the frame it had counts as failed, whatever the policy; the next frame starts it anew.
"""

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from consumers.processor import (
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    Context,
    Metadata,
    Processor,
    Setting,
    Statistic,
    Value,
)
from consumers.pvapy.class_process import ClassProcess
from ioc.core.errors import ConfigError, RayfanError, RefusedError, mismatch
from ioc.core.frame import Frame

_TYPES: dict[str, type[bool] | type[int] | type[float] | type[str]] = {
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
}


class PvapyProcessor(Processor):
    """Gives each frame to a PvaPy class and returns what that publishes; `Arguments` are its configDict."""

    declared_settings = (
        Setting("Arguments", "{}", description="JSON object: configDict of the class"),
        Setting("ProcessorId", 0, low=0, description="processorId, 0: place in group from 1"),
        Setting("Fields", "", description="Attributes that are fields, too"),
    )
    reference: ClassVar[str]
    names: ClassVar[Mapping[str, str]]
    """Names of statistics by what the class calls them."""

    def __init__(self) -> None:
        self._process: ClassProcess | None = None
        self._context: Context | None = None
        self._restarts = 0
        self._arguments: dict[str, Any] = {}

    def configure(self, settings: Mapping[str, Value]) -> None:
        arguments = _object_of(str(settings["Arguments"]))
        if self._process is not None and arguments != self._arguments:
            self._process.ask(do="configure", arguments=arguments)
        self._arguments = arguments
        self.settings = settings

    def start(self, context: Context) -> None:
        self._context = context
        self._begin()
        self.report(Restarts=0)

    def process(self, frame: Frame, metadata: Metadata) -> list[Frame]:
        assert self._context is not None
        values = {pv: metadata[name] for name, pv in self._context.channels.items() if name in metadata}
        return self._living().process(frame, values)

    def flush(self) -> list[Frame]:
        return self._process.flush() if self._process is not None and self._process.alive() else []

    def statistics(self) -> dict[str, Value]:
        if self._process is not None and self._process.alive():
            told = self._process.ask(do="statistics").get("statistics", {})
            kinds = {one.name: one.type for one in self.declared_statistics}
            self.report(
                **{self.names[name]: kinds[self.names[name]](told[name]) for name in self.names if name in told}
            )
        return super().statistics()

    def reset(self) -> None:
        self._restarts = 0
        super().reset()
        self.report(Restarts=0)
        if self._process is not None and self._process.alive():
            self._process.ask(do="reset")

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def _living(self) -> ClassProcess:
        if self._process is None or not self._process.alive():
            self._begin()
            self._restarts += 1
            self.report(Restarts=self._restarts)
        assert self._process is not None
        return self._process

    def _begin(self) -> None:
        assert self._context is not None
        if self._process is not None:
            self._process.kill()
        process = ClassProcess(self.reference)
        self._process = process
        number = int(self.settings["ProcessorId"]) or self._context.member + 1
        process.ask(
            do="start",
            arguments=self._arguments,
            processor_id=number,
            input_channel=self._context.group,
            output_channel=f"{self._context.name}:Image",
            metadata_channels=list(self._context.channels.values()),
            fields=str(self.settings["Fields"]).replace(",", " ").split(),
        )


def adapted(reference: str, where: str) -> type[PvapyProcessor]:
    """Return a processor for `FILE.py:CLASS` or `PACKAGE.MODULE:CLASS`, with the statistics that the class declares.

    Raises:
        ConfigError: PvaPy is not installed, or the class cannot be loaded.
    """
    if importlib.util.find_spec("pvaccess") is None:
        raise ConfigError(mismatch(where, "PvaPy, which the class needs", "none", "pip install 'rayfan[pvapy]'"))
    place, colon, name = reference.partition(":")
    if not (place and colon and name.isidentifier()):
        raise ConfigError(mismatch(where, "pvapy:FILE.py:CLASS or pvapy:PACKAGE.MODULE:CLASS", f"pvapy:{reference}"))
    if place.endswith(".py"):
        reference = f"{Path(place).expanduser().resolve()}:{name}"
    try:
        process = ClassProcess(reference)
        process.kill()
    except RayfanError as error:
        raise ConfigError(f"{where}: {error}") from None
    names = record_names(process.types)
    statistics = tuple(
        Statistic(names[own], _TYPES[kind], description=own[:LONGEST_DESCRIPTION])
        for own, kind in process.types.items()
    )
    members = {
        "__doc__": f"PvaPy's {name} of {place}, in a process of its own.",
        "reference": reference,
        "names": names,
        "declared_statistics": (*statistics, Statistic("Restarts", int, description="Times that the class crashed")),
    }
    return type(name, (PvapyProcessor,), members)


def record_names(names: Mapping[str, str]) -> dict[str, str]:
    """Return a name that a record may have for each statistic; none comes twice."""
    found: dict[str, str] = {}
    taken = {"restarts"}
    for name in names:
        short = re.sub(r"[^A-Za-z0-9]", "", name)[:LONGEST_NAME] or "Value"
        short = short if short[0].isalpha() else f"N{short}"[:LONGEST_NAME]
        number = 2
        while short.lower() in taken:
            short = f"{short[: LONGEST_NAME - 2]}{number}"
            number += 1
        taken.add(short.lower())
        found[name] = short
    return found


def _object_of(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise RefusedError(f"setting Arguments: expected a JSON object, found {text!r}: {error}") from None
    if not isinstance(found, dict):
        raise RefusedError(mismatch("setting Arguments", "a JSON object", text))
    return found
