"""Finds and imports processors: `statistics`, `package.module:Class`, `path/to/file.py:Class` or `path/to/file.py`.

A user's file is imported under a private name; neither its folder nor the working folder gets onto `sys.path`.
Whatever is wrong with it is one ConfigError that names the file and its line.
"""

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType

import consumers.processors
from consumers.processor import Processor, Setting, Statistic
from ioc.core.errors import ConfigError, mismatch

FORMS = "'package.module:Class' or 'path/to/file.py:Class'"
PREFIX = "pvapy:"
"""What the name of a class written for PvaPy begins with."""
EXTRAS = {
    **dict.fromkeys(("compress", "decompress"), "compress"),
    **dict.fromkeys(("encrypt", "decrypt"), "crypto"),
    "integrate": "pyfai",
    "ptychonn": "ml",
}
"""The extra of the distribution that has what a processor of ours needs beyond the rest."""
PRIVATE = "_rayfan_user_"
"""What the module names of users' files begin with."""


def bundled() -> list[str]:
    """Return the names of the processors that come with Rayfan."""
    return sorted(module.name for module in pkgutil.iter_modules(consumers.processors.__path__))


def load_processor(reference: str, where: str = "processor") -> type[Processor]:
    """Return the processor class that `reference` names; `where` is the key of the configuration that it is from.

    Raises:
        ConfigError: there is no such processor, or it does not import, or its class does not fit.
    """
    if reference.startswith(PREFIX):
        from consumers.pvapy.adapter import adapted  # only who wants a class of PvaPy needs it

        return adapted(reference.removeprefix(PREFIX), where)
    module_part, _, class_name = reference.partition(":")
    if module_part.endswith(".py"):
        module = _import_file(Path(module_part).expanduser().resolve(), where)
    elif class_name and module_part:
        module = _import_module(module_part, where)
    elif module_part in bundled() and reference == module_part:
        module = _import_bundled(module_part, where)
    else:
        raise ConfigError(mismatch(where, f"{', '.join(bundled())}, {FORMS}", reference))
    place = f"{where}: {_place(module)}"
    found = _named(module, class_name, place) if class_name else _only(module, place)
    _check_class(found, place)
    return found


def _import_bundled(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(f"consumers.processors.{name}")
    except ImportError as error:
        if name not in EXTRAS:
            raise
        todo = f"pip install 'rayfan[{EXTRAS[name]}]'"
        raise ConfigError(mismatch(where, f"what the processor {name} needs", str(error), todo)) from None


def _import_file(path: Path, where: str) -> ModuleType:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise ConfigError(mismatch(f"{where}: {path}", "a Python file with a processor", found))
    name = f"{PRIVATE}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(mismatch(f"{where}: {path}", "a Python file", "something else"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and type hints of the file look themselves up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the boundary to a user's code, of which anything may come
        del sys.modules[name]
        raise _import_fault(error, str(path), where) from error
    return module


def _import_module(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the boundary to a user's code, of which anything may come
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            hint = "install the package that has it, or give the path of a file"
            raise ConfigError(mismatch(where, f"a module {name!r} that Python finds", str(error), hint)) from None
        raise _import_fault(error, _origin(name), where) from error


def _origin(name: str) -> str | None:
    """Return the file of a module that failed to import, None if Python cannot say."""
    try:
        spec = importlib.util.find_spec(name)
    except (Exception, SystemExit):  # noqa: BLE001 - the same user's code again: a parent package may fail, too
        return None
    return spec.origin if spec else None


def _import_fault(error: BaseException, path: str | None, where: str) -> ConfigError:
    """Return what went wrong while importing, with the line of the user's file."""
    if isinstance(error, SyntaxError):
        file, line, what = error.filename or path, error.lineno, error.msg
    else:
        file, line = _line(error, path)
        what = " ".join(str(error).split()) or "no message"
    hint = "install that package" if isinstance(error, ModuleNotFoundError) else "correct the file"
    found = f"{type(error).__name__}: {what}"
    return ConfigError(f"{where}: {file}, line {line}: expected a processor that imports, found {found}; {hint}")


def _line(error: BaseException, path: str | None) -> tuple[str | None, int | None]:
    """Return file and line of the last call that is in the user's file, or of the last call of all."""
    calls = traceback.extract_tb(error.__traceback__)
    own = [call for call in calls if call.filename == path] or calls
    return own[-1].filename, own[-1].lineno


def _place(module: ModuleType) -> str:
    return str(module.__file__) if module.__name__.startswith(PRIVATE) else f"module {module.__name__}"


def _named(module: ModuleType, class_name: str, place: str) -> type[Processor]:
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigError(mismatch(place, f"a processor class ({_listed(_classes(module))})", class_name))
    if not (inspect.isclass(found) and issubclass(found, Processor) and found is not Processor):
        what = f"class {class_name}" if inspect.isclass(found) else type(found).__name__
        hint = "derive the class from consumers.processor.Processor"
        raise ConfigError(mismatch(f"{place}: {class_name}", "a subclass of Processor", what, hint))
    return found


def _only(module: ModuleType, place: str) -> type[Processor]:
    classes = _classes(module)
    if len(classes) != 1:
        hint = "name the class after a colon" if classes else "derive a class from consumers.processor.Processor"
        raise ConfigError(mismatch(place, "exactly one processor class", _listed(classes), hint))
    return classes[0]


def _classes(module: ModuleType) -> list[type[Processor]]:
    """Return the public processor classes that the module itself defines."""
    return [
        item
        for name, item in vars(module).items()
        if inspect.isclass(item)
        and issubclass(item, Processor)
        and item.__module__ == module.__name__
        and not name.startswith("_")
    ]


def _listed(classes: list[type[Processor]]) -> str:
    return ", ".join(one.__name__ for one in classes) or "none"


def _check_class(found: type[Processor], place: str) -> None:
    """Refuse a class that the framework could not use.

    Raises:
        ConfigError: a method is missing or has other arguments, or names are declared twice.
    """
    place = f"{place}, class {found.__name__}"
    if found.process is Processor.process and found.process_batch is Processor.process_batch:
        raise ConfigError(mismatch(place, "a method process(self, frame, metadata)", "none"))
    for name, arguments in (("__init__", 0), ("configure", 1), ("start", 1), ("process", 2), ("process_batch", 2)):
        own, base = getattr(found, name), getattr(Processor, name)
        wanted = ", ".join(inspect.signature(base).parameters)
        _check_arguments(own, arguments + 1, f"{name}({wanted})", f"{place}, line {_line_of(own)}")
    _check_declared(found.declared_settings, Setting, f"{place}, declared_settings")
    _check_declared(found.declared_statistics, Statistic, f"{place}, declared_statistics")


def _check_arguments(function: object, count: int, expected: str, place: str) -> None:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    try:
        signature.bind(*[None] * count)
    except TypeError:
        raise ConfigError(mismatch(place, expected, f"({', '.join(signature.parameters)})")) from None


def _check_declared(declared: object, kind: type[Setting] | type[Statistic], place: str) -> None:
    if not isinstance(declared, tuple | list) or not all(isinstance(one, kind) for one in declared):
        raise ConfigError(mismatch(place, f"a tuple of {kind.__name__}", declared))
    names = [one.name.lower() for one in declared]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(mismatch(place, "each name once, in any case of letters", ", ".join(twice)))


def _line_of(function: object) -> int | None:
    code = getattr(function, "__code__", None)
    return code.co_firstlineno if code else None
