"""A client of an image channel as a process of its own, which looks at every pixel of what it gets.

`python -m tests.support.pva_watch KIND CHANNEL DELAY` watches until standard input ends, then prints an object. KIND
is `p4p`, `p4p-pipeline`, `pvapy`, `rayfan`, which looks for the fastest way, or `rayfan-pvaccess`; DELAY is what each
frame takes, in s. A frame is torn if a pixel is not its id, as tests.support.pva_source makes them; ids of one series
may only grow. The first line says that the watch has begun.
"""

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

QUEUE_SIZE = 64


@dataclass(slots=True)
class Account:
    """What came: frames, torn, doubled and reordered ones, ids left out, and series."""

    frames: int = 0
    torn: int = 0
    doubled: int = 0
    reordered: int = 0
    missed: int = 0
    series: int = 0


class Watch:
    """Keeps the account of one client."""

    def __init__(self, delay: float) -> None:
        self.account = Account()
        self._delay = delay
        self._last: tuple[int, int] = (0, 0)
        self._again = False
        self._never = threading.Event()

    def reconnected(self) -> None:
        """Expect the newest frame once more: a server sends it to whoever comes."""
        self._again = True

    def take(self, series: int, unique_id: int, pixels: Any) -> None:
        """Look at one frame."""
        account, (last_series, last) = self.account, self._last
        account.frames += 1
        account.torn += not bool((pixels == unique_id).all())
        if series != last_series:
            account.series += 1
            account.reordered += series < last_series
        elif unique_id == last:
            account.doubled += not self._again
        elif unique_id < last:
            account.reordered += 1
        else:
            account.missed += unique_id - last - 1
        self._last, self._again = (series, unique_id), False
        if self._delay:
            self._never.wait(self._delay)


def with_p4p(name: str, watch: Watch, pipeline: bool) -> Callable[[], None]:
    """Watch with p4p; return what ends it."""
    from p4p.client.thread import Context, Disconnected

    from ioc.channels.ntndarray import from_value, is_empty

    def take(value: Any) -> None:
        if isinstance(value, Disconnected | Exception):
            watch.reconnected()
            return
        if is_empty(value):
            return
        frame = from_value(value)
        watch.take(frame.series, frame.unique_id, frame.data)

    context = Context("pva", nt=False)
    options = f"queueSize={QUEUE_SIZE}" + (",pipeline=true" if pipeline else "")
    context.monitor(name, take, request=f"record[{options}]field()", notify_disconnect=True)
    return context.close


def with_pvapy(name: str, watch: Watch) -> Callable[[], None]:
    """Watch with PvaPy; return what ends it."""
    pvaccess: Any = importlib.import_module("pvaccess")  # a compiled module, of which type checkers see nothing

    def take(image: Any) -> None:
        pixels = next(iter(image["value"][0].values()), None)
        if pixels is not None and image["uniqueId"]:
            series = next((one["value"] for one in image["attribute"] if one["name"] == "Series"), 0)
            series = series[0]["value"] if isinstance(series, tuple) else series
            watch.take(int(series), image["uniqueId"], pixels)

    channel = pvaccess.Channel(name)
    channel.monitor(take, f"record[queueSize={QUEUE_SIZE}]field()")
    return channel.stopMonitor


def with_rayfan(name: str, watch: Watch, fastest: bool) -> Callable[[], None]:
    """Watch with our receiver, by the fastest way if that is wished; return what ends it."""
    from ioc.channels.pva import PvaReceiver
    from ioc.channels.pva_source import Wish
    from ioc.core.frame import Frame

    receiver = PvaReceiver.of(name, Wish(QUEUE_SIZE, replay=QUEUE_SIZE, fastest=fastest))
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            for frame in receiver.receive(8, 0.1):
                assert isinstance(frame, Frame), "an image channel has no end marker"
                watch.take(frame.series, frame.unique_id, frame.data)

    thread = threading.Thread(target=run, name="watch")
    thread.start()

    def end() -> None:
        over.set()
        thread.join()
        print(f"rayfan: {receiver.choice}", file=sys.stderr)
        receiver.close(drain=False)

    return end


def begin(kind: str, name: str, watch: Watch) -> Callable[[], None]:
    """Begin to watch; return what ends it."""
    if kind.startswith("rayfan"):
        return with_rayfan(name, watch, kind == "rayfan")
    return with_pvapy(name, watch) if kind == "pvapy" else with_p4p(name, watch, kind == "p4p-pipeline")


def main(kind: str, name: str, delay: float) -> None:
    """Watch until standard input ends."""
    watch = Watch(delay)
    end = begin(kind, name, watch)
    print(json.dumps({"watching": kind}), flush=True)
    for line in sys.stdin:
        if line == "?\n":
            print(json.dumps(asdict(watch.account)), flush=True)
    account = asdict(watch.account)
    print(json.dumps(account), flush=True)
    if kind == "pvapy":
        os._exit(0)  # PvaPy aborts when the interpreter ends in mid-callback
    end()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
