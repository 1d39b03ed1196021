"""Starts the test IOC and the test client, and talks to them in JSON lines: one request, one answer."""

import json
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

ANSWER_WITHIN = 60.0
"""s; a deadline for a hung process, not a measure of anything."""


class Helper:
    """A module of tests.support running as a process; `ask` calls one of its functions."""

    def __init__(self, module: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._module = module
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"tests.support.{module}", *arguments],
                cwd=Path(__file__).parents[2],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.first = self._read()

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function of the process and return what it returns."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([function, *arguments]).encode() + b"\n")
        self.process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise AssertionError(f"{self._module}.{function}{arguments}: {answer['error']}")
        return answer["value"]

    def end(self) -> int:
        """Close the process's input, wait for its end and return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(ANSWER_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self._module} did not end within {ANSWER_WITHIN} s of the end of input") from None

    def __enter__(self) -> "Helper":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.end()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_WITHIN)
        line = self.process.stdout.readline() if ready else b""
        assert line, f"{self._module} gave no answer within {ANSWER_WITHIN} s; its log: {self.log.read_text()[-3000:]}"
        return json.loads(line)


def answer_lines(functions: Mapping[str, Any], first: Any) -> None:
    """Say `first`, then answer requests from standard input until it ends; the other side of `Helper`."""
    _say({"value": first})
    for line in sys.stdin:
        function, *arguments = json.loads(line)
        try:
            _say({"value": functions[function](*arguments)})
        except Exception as error:  # noqa: BLE001 - told to the test, which fails
            _say({"error": repr(error)})


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
