"""Starts a process of an appliance: `python -m ioc.start MODULE ...` runs a module as `python -m MODULE ...` does.

What a process imports and makes at its start stays until its end. To look again and again for garbage in it takes a
tenth of the time, so nobody looks before the process has made what it needs; `settled` says that it has.
"""

import gc
import runpy
import sys


def main() -> None:
    """Run the module that the first argument names."""
    gc.disable()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)


def settled() -> None:
    """Look for garbage from now on, in what is made from now on only."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


if __name__ == "__main__":
    main()
