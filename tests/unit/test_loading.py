"""Loading processors: bundled, by module, by file; and one clear error for each that does not load."""

import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from consumers.loading import EXTRAS, PRIVATE, bundled, load_processor
from consumers.processor import Processor
from consumers.processors.statistics import Statistics
from ioc.core.errors import ConfigError
from ioc.core.frame import Frame

GOOD = """
    from dataclasses import dataclass
    from consumers.processor import Processor, Setting

    @dataclass
    class Box:
        size: "int"

    class Good(Processor):
        declared_settings = (Setting("Size", 3),)

        def process(self, frame, metadata):
            return [frame] * Box(self.settings["Size"]).size
"""
KEY = "groups.mine.processor"


def write(path: Path, text: str) -> Path:
    """Write a Python file without the indentation of this one."""
    path.write_text(dedent(text).lstrip("\n"))
    return path


def error_of(reference: str) -> str:
    """Return the message with which a processor is refused."""
    with pytest.raises(ConfigError) as caught:
        load_processor(reference, KEY)
    message = str(caught.value)
    assert message.startswith(KEY)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", bundled())
def test_every_bundled_processor_loads_by_its_short_name(name: str) -> None:
    found = load_processor(name)
    assert issubclass(found, Processor)
    found()


@pytest.mark.parametrize(
    ("name", "package"), [("ptychonn", "onnxruntime"), ("compress", "lz4"), ("decrypt", "cryptography")]
)
def test_what_is_not_installed_is_said_with_what_to_install(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [
        one
        for one in sys.modules
        if one.startswith(("consumers.", "ioc.channels.compression", package)) and one != "consumers.loading"
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install 'rayfan[{EXTRAS[name]}]'" in error_of(name)


def test_a_processor_of_an_installed_module() -> None:
    assert load_processor("consumers.processors.statistics:Statistics") is Statistics


@pytest.mark.parametrize("ending", ["", ":Good"])
def test_a_processor_of_a_file(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / "mine.py", GOOD)
    before = list(sys.path)
    found = load_processor(f"{path}{ending}")
    frame = Frame(1, 1, 0, np.zeros((1, 1)))
    assert found().process(frame, {}) == [frame] * 3
    assert sys.path == before
    assert "mine" not in sys.modules
    assert found.__module__.startswith(f"{PRIVATE}mine_")


def test_a_relative_path_starts_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "mine.py", GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_processor("sub/mine.py:Good").__name__ == "Good"


def test_files_of_the_same_name_do_not_hide_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "mine.py", GOOD.replace("Good", f"Good{name}"))
    found = [load_processor(str(tmp_path / name / "mine.py")) for name in ("a", "b")]
    assert [one.__name__ for one in found] == ["Gooda", "Goodb"]
    assert found[0].__module__ != found[1].__module__


def test_a_file_cannot_be_mistaken_for_a_module_of_the_same_name(tmp_path: Path) -> None:
    found = load_processor(str(write(tmp_path / "statistics.py", GOOD)))
    assert found.__name__ == "Good"
    assert load_processor("statistics") is Statistics


def test_processors_that_a_file_imports_or_hides_are_not_its_own(tmp_path: Path) -> None:
    text = "from consumers.processors.statistics import Statistics\n" + dedent(GOOD) + "class _Hidden(Good): pass\n"
    assert load_processor(str(write(tmp_path / "mine.py", text))).__name__ == "Good"


@pytest.mark.parametrize("reference", ["nothing", "package.module", "", ":Class", "statistics:", "a/b"])
def test_an_unknown_name_lists_the_known_ones_and_the_forms(reference: str) -> None:
    message = error_of(reference)
    assert f"{KEY}: expected {', '.join(bundled())}, 'package.module:Class' or 'path/to/file.py:Class'" in message
    assert message.endswith(f"found {reference!r}")


@pytest.mark.parametrize("name", ["no_such_package", "consumers.no_such_module", "no.such.package"])
def test_a_module_that_is_not_there(name: str) -> None:
    assert f"expected a module {name!r} that Python finds, found" in error_of(f"{name}:Class")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    message = error_of(f"{tmp_path}/nothing.py:Class")
    assert f"{tmp_path}/nothing.py: expected a Python file with a processor, found 'no such file'" in message
    (tmp_path / "folder.py").mkdir()
    assert "found 'a folder'" in error_of(f"{tmp_path}/folder.py")


BASE = "from consumers.processor import Processor, Setting, Statistic\n"
METHOD = "    def process(self, frame, metadata): return frame\n"
BAD = {
    "syntax": ("x = 1\ndef process(:\n", "{path}, line 2: expected a processor that imports, found SyntaxError: "),
    "indentation": ("def f():\nx = 1\n", "{path}, line 2: expected a processor that imports, found IndentationError"),
    "missing package": (
        "\n\nimport no_such_package\n",
        "{path}, line 3: expected a processor that imports, found ModuleNotFoundError: No module named "
        "'no_such_package'; install that package",
    ),
    "raises": ("x = 1\n1 / 0\n", "{path}, line 2: expected a processor that imports, found ZeroDivisionError"),
    "raises below": (
        "import json\n\njson.loads('{')\n",
        "{path}, line 3: expected a processor that imports, found JSOND",
    ),
    "exits": ("raise SystemExit(3)\n", "{path}, line 1: expected a processor that imports, found SystemExit: 3"),
    "no class": ("x = 1\n", "{path}: expected exactly one processor class, found 'none'; derive a class from"),
    "two classes": (
        f"{BASE}class A(Processor):\n{METHOD}class B(Processor):\n{METHOD}",
        "{path}: expected exactly one processor class, found 'A, B'; name the class after a colon",
    ),
    "no process": (f"{BASE}class A(Processor): pass\n", "class A: expected a method process(self, frame, metadata)"),
    "few arguments": (
        f"{BASE}class A(Processor):\n    def process(self, frame): return frame\n",
        "{path}, class A, line 3: expected process(self, frame, metadata), found '(self, frame)'",
    ),
    "init": (
        f"{BASE}class A(Processor):\n{METHOD}    def __init__(self, size): pass\n",
        "class A, line 4: expected __init__(self), found '(self, size)'",
    ),
    "wrong declaration": (
        f"{BASE}class A(Processor):\n    declared_settings = (\n        Setting('two words', 1),)\n{METHOD}",
        "{path}, line 4: expected a processor that imports, found ValueError: name: expected a letter",
    ),
    "declared twice": (
        f"{BASE}class A(Processor):\n    declared_statistics = (Statistic('A'), Statistic('a'))\n{METHOD}",
        "class A, declared_statistics: expected each name once, in any case of letters, found 'a'",
    ),
    "no tuple": (
        f"{BASE}class A(Processor):\n    declared_settings = (Setting('A', 1))\n{METHOD}",
        "class A, declared_settings: expected a tuple of Setting, found Setting(",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_does_not_work_is_one_clear_error(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    path = tmp_path / "mine.py"
    path.write_text(text)
    assert expected.format(path=path) in error_of(str(path))


def test_a_file_that_does_not_import_leaves_no_module_behind(tmp_path: Path) -> None:
    before = set(sys.modules)
    error_of(str(write(tmp_path / "mine.py", "raise ValueError('first line\\nsecond line')")))
    assert not {name for name in set(sys.modules) - before if name.startswith(PRIVATE)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Bad", "expected a processor class (Good), found 'Bad'"),
        ("Box", "Box: expected a subclass of Processor, found 'class Box'; derive the class from"),
        ("dataclass", "dataclass: expected a subclass of Processor, found 'function'"),
        ("Processor", "Processor: expected a subclass of Processor, found 'class Processor'"),
    ],
)
def test_a_class_that_is_none(tmp_path: Path, name: str, expected: str) -> None:
    path = write(tmp_path / "mine.py", GOOD)
    message = error_of(f"{path}:{name}")
    assert str(path) in message
    assert expected in message


def test_a_module_that_fails_names_the_line_in_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    path = write(tmp_path / "rayfan_test_failing.py", "import json\njson.loads('{')\n")
    assert f"{path}, line 2: expected a processor that imports, found JSON" in error_of("rayfan_test_failing:Class")
    path = write(tmp_path / "rayfan_test_needing.py", "x = 1\nimport no_such_package\n")
    assert f"{path}, line 2: expected a processor" in error_of("rayfan_test_needing:Class")
    write(tmp_path / "rayfan_test_empty.py", "\n")
    assert "module rayfan_test_empty: expected a processor class (none), found 'Class'" in error_of(
        "rayfan_test_empty:Class"
    )
