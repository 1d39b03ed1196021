"""Stands in for EPICS base's command-line tools where they are not installed: `caget`, `caput`, `pvget`, `pvput`.

As much of them as the documentation uses: the same options, exit codes and refusals; `-m` of pvget ends after a few
updates. Run as a module: `python -m tests.support.epics_tools caget -t NAME`.
"""

import argparse
import sys
import threading
from functools import partial
from pathlib import Path

SECONDS = 60.0
"""s; EPICS base waits for 1 s, on a machine that is not as busy as one that runs tests."""
MONITORED = 2


def caget(arguments: list[str]) -> int:
    """Print values by Channel Access."""
    import epics

    parser = argparse.ArgumentParser(prog="caget")
    parser.add_argument("-t", action="store_true")
    parser.add_argument("-S", action="store_true")
    parser.add_argument("-w", type=float, default=SECONDS)
    parser.add_argument("names", nargs="+")
    options = parser.parse_args(arguments)
    missing = 0
    for name in options.names:
        pv = epics.PV(name, auto_monitor=False)
        if not pv.wait_for_connection(options.w):
            print(f"{name} *** Not connected (PV not found)")
            missing = 1
            continue
        value = pv.get(as_string=True, timeout=options.w)
        print(value if options.t else f"{name} {value}")
    return missing


def caput(arguments: list[str]) -> int:
    """Put a value by Channel Access."""
    import epics

    parser = argparse.ArgumentParser(prog="caput")
    parser.add_argument("-c", action="store_true")
    parser.add_argument("-S", action="store_true")
    parser.add_argument("-w", type=float, default=SECONDS)
    options, rest = parser.parse_known_args(arguments)  # a value may begin with a minus sign
    name, value = rest
    pv = epics.PV(name, auto_monitor=False)
    if not pv.wait_for_connection(SECONDS):
        print(f"Channel connect timed out: '{name}' not found.")
        return 1
    choices = pv.enum_strs or ()
    kind = pv.type or ""
    as_text = kind.endswith(("string", "char")) or value in choices or options.S
    given = value if as_text else float(value)
    done = pv.put(given, wait=options.c, timeout=options.w)
    epics.ca.poll(0.1)
    if options.c and done != 1:
        print("put-callback did not complete")
        return 1
    print(f"New : {name} {pv.get(as_string=True)}")
    return 0


def show(seen: threading.Semaphore, value: object) -> None:
    """Print an update, and say that it came."""
    print(str(value)[:100])
    seen.release()


def pvget(arguments: list[str]) -> int:
    """Print structures by pvAccess."""
    from p4p.client.thread import Context

    parser = argparse.ArgumentParser(prog="pvget")
    parser.add_argument("-r", default="")
    parser.add_argument("-m", action="store_true")
    parser.add_argument("-w", type=float, default=SECONDS)
    parser.add_argument("names", nargs="+")
    options = parser.parse_args(arguments)
    with Context("pva", nt=False) as context:
        for name in options.names:
            if not options.m:
                value = context.get(name, request=options.r or None, timeout=options.w)
                print(f"{name} {str(value)[:200]}")
                continue
            seen = threading.Semaphore(0)
            subscription = context.monitor(name, partial(show, seen))
            arrived = [seen.acquire(timeout=options.w) for _ in range(MONITORED)]
            subscription.close()
            if not arrived[0]:
                print(f"{name} timed out")
                return 1
    return 0


def pvput(arguments: list[str]) -> int:
    """Put a value by pvAccess."""
    from p4p.client.thread import Context

    name, value = arguments[-2:]
    with Context("pva", nt=False) as context:
        context.put(name, {"value": value}, timeout=SECONDS)
    return 0


TOOLS = {"caget": caget, "caput": caput, "pvget": pvget, "pvput": pvput}


def install(folder: Path, root: Path) -> None:
    """Write scripts of the tools' names into a folder that is to be on the path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOOLS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m {__name__} {name} "$@"\n')
        script.chmod(0o755)


if __name__ == "__main__":
    sys.exit(TOOLS[sys.argv[1]](sys.argv[2:]))
