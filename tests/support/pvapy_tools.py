"""PvaPy's command line tools, unmodified, as processes of a test: consumers, collectors, mirrors and simulators."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NOTES = (*("--processor-file", str(ROOT / "tests/support/pva_pvapy.py")), *("--processor-class", "ImageNotes"))
NO_CURSES = "--disable-curses"


class Tools:
    """Starts them in one environment; their logs, and what consumers were given, lie in `folder`."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._environment = {**environment, "EPICS_PVAS_SERVER_PORT": "0"}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def consumer(self, number: int, channel: str, mode: str, *options: str) -> None:
        """Start a pvapy-hpc-consumer; what it is given is in `notes(number)`."""
        arguments = [
            *("--input-channel", channel, "--input-mode", mode, "--consumer-id", str(number)),
            *options,
            *NOTES,
        ]
        arguments += ["--processor-args", json.dumps({"folder": str(self.folder)}), "--server-queue-size", "64"]
        log = ("--log-level", "error", "--log-file", str(self.folder / f"pvapy-errors{number}.log"))
        self._start(f"consumer{number}", "pvapy-hpc-consumer", *arguments, *log, NO_CURSES, "--runtime", "120")

    def collector(self, channel: str, producers: str, output: str) -> None:
        """Start a pvapy-hpc-collector of the channels of `producers`, which goes out by `output`."""
        arguments = [*("--input-channel", channel, "--producer-id-list", producers), "--output-channel", output]
        arguments += [
            "--server-queue-size",
            "64",
            "--receiver-queue-size",
            "64",
            "--collector-cache-size",
            "10",
            *NOTES,
        ]
        arguments += ["--processor-args", json.dumps({"folder": str(self.folder)})]
        self._start("collector", "pvapy-hpc-collector", *arguments, NO_CURSES, "--runtime", "120")

    def mirror(self, source: str, channel: str) -> None:
        """Start a pvapy-mirror-server."""
        self._start(
            "mirror", "pvapy-mirror-server", "--channel-map", f"({channel},{source},pva,64)", "--runtime", "120"
        )

    def simulator(self, channel: str, rate: float, seconds: float) -> None:
        """Start a pvapy-ad-sim-server of images of 32x32 bytes."""
        arguments = ["--channel-name", channel, "--n-x-pixels", "32", "--n-y-pixels", "32", "--n-frames", "50"]
        arguments += [
            "--frame-rate",
            str(rate),
            "--runtime",
            str(seconds),
            "--start-delay",
            "0",
            "--report-period",
            "0",
        ]
        self._start("simulator", "pvapy-ad-sim-server", *arguments, NO_CURSES)

    def notes(self, number: int) -> list[dict[str, Any]]:
        """Return a line for each image that a consumer was given so far."""
        path = self.folder / f"{number}.jsonl"
        text = path.read_text() if path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["size"] is not None]

    def ids(self, number: int) -> list[int]:
        """Return the ids of the images that a consumer was given so far."""
        return [line["id"] for line in self.notes(number)]

    def logs(self) -> str:
        """Return the ends of all logs, for the message of a failed test."""
        return "\n".join(f"== {log.name}\n{log.read_text()[-1000:]}" for log in sorted(self.folder.glob("pvapy-*.log")))

    def _start(self, name: str, tool: str, *arguments: str) -> None:
        with (self.folder / f"pvapy-{name}.log").open("wb") as log:
            command = [str(BIN / tool), *arguments]
            process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)
        self._stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
