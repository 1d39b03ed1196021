"""The request to stop: a signal handler says it at any moment, and nobody waits for ever."""

import signal
import subprocess
import sys
import threading

from ioc.supervisor.stop_request import StopRequest

INTERRUPTED = """
import faulthandler, signal
from ioc.supervisor.stop_request import StopRequest
faulthandler.dump_traceback_later(60, exit=True)
for delay in range(1500):
    asked = StopRequest()
    signal.signal(signal.SIGALRM, lambda *_: asked.set())
    signal.setitimer(signal.ITIMER_REAL, 2e-5 + delay * 1e-7)
    while not asked.wait(1e-5):
        pass
    asked.close()
print("asked")
"""


def test_it_is_said_once_and_for_all() -> None:
    asked = StopRequest()
    assert not asked.is_set() and not asked.wait(0.0)
    asked.set()
    asked.set()
    assert asked.is_set() and asked.wait() and asked.wait(0.0)
    asked.close()


def test_a_thread_that_waits_is_woken() -> None:
    asked = StopRequest()
    woken = threading.Thread(target=asked.wait, name="waits")
    woken.start()
    asked.set()
    woken.join(20)
    assert not woken.is_alive()
    asked.close()


def test_a_handler_may_say_it_at_any_moment_of_the_thread_that_waits() -> None:
    """With a `threading.Event` this hangs within some thousand tries: its lock is held by the interrupted thread."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert done.stdout == "asked\n", f"signal {signal.SIGALRM}: {done.stderr}"
