"""Keeps the tools that build extensions out of processes that only run them.

The EPICS libraries (epicscorelibs, pvxslibs, and with them p4p and softioc) find their shared objects by the package
`setuptools_dso`. All they want of it is in its module `runtime`, but the package itself imports setuptools, and Cython
where that is installed: 0.25 s of CPU at each start of a process. So the package is put in place without being run;
whoever asks it for more than its runtime has, a build, makes it run then.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec

PACKAGE = "setuptools_dso"
RUNTIME = f"{PACKAGE}.runtime"


def keep_out() -> None:
    """Put `setuptools_dso` in place, to be run when something of it is wanted that is not in its runtime."""
    spec = None if PACKAGE in sys.modules else find_spec(PACKAGE)
    if spec is None or spec.loader is None:
        return
    package, loader = module_from_spec(spec), spec.loader

    def wanted(name: str) -> object:
        runtime = import_module(RUNTIME)
        if name in runtime.__all__:
            return getattr(runtime, name)
        if name.startswith("__"):
            raise AttributeError(name)
        del vars(package)["__getattr__"]
        loader.exec_module(package)
        return getattr(package, name)

    vars(package)["__getattr__"] = wanted
    sys.modules[PACKAGE] = package
