"""One process through all its states, on a clock of ours, with a process that does what the test says."""

import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.inputs import Givers
from ioc.core.config import load
from ioc.core.errors import RefusedError
from ioc.core.status import ExitCode, ProcessSpec, Role, State, Status
from ioc.supervisor import worker as module
from ioc.supervisor.death import last_trace
from ioc.supervisor.limits import Limits, Patrol, level, usage_figures
from ioc.supervisor.plan import plan
from ioc.supervisor.readbacks import values
from ioc.supervisor.rules import Rules
from ioc.supervisor.run_folder import RunFolder
from ioc.supervisor.supervisor import Supervisor
from ioc.supervisor.usage import Usage, cpu_seconds, kib_of, resident
from ioc.supervisor.worker import Fate, Worker

SECOND = 1_000_000_000
TEXT = "[groups.a]\nmemory_limit = 10000000\ncpu_limit = 2.0\n[supervision]\nmost_failures = 4\nhang = 1.0\n"


class Puppet:
    """A process that ends when it is told to; `sent` are the signals it got."""

    number = 100

    def __init__(self) -> None:
        Puppet.number += 1
        self.pid = Puppet.number
        self.started = 1
        self.code: int | None = None
        self.sent: list[signal.Signals] = []

    def owns(self, status: Status) -> bool:
        return status.pid == self.pid

    def ended(self) -> bool:
        return self.code is not None

    def exit_code(self) -> int | None:
        return self.code

    def send(self, number: signal.Signals) -> None:
        self.sent.append(number)

    def close(self) -> None:
        pass


class Life:
    """A worker, its puppet and the time."""

    def __init__(self, folder: Path, text: str = TEXT) -> None:
        config = load(text, "test")
        self.folder = RunFolder(folder)
        self.spec: ProcessSpec = next(one for one in plan(config, folder) if one.role is Role.CONSUMER)
        self.worker = Worker(self.spec, "module", self.folder, Rules.of(config))
        self.now = 1000 * SECOND
        self.beat = 0
        self.start()

    @property
    def puppet(self) -> Puppet:
        """The process of the present life."""
        found = self.worker.process
        assert isinstance(found, Puppet)
        return found

    def start(self) -> None:
        """Start it, as the supervisor does when it is due."""
        self.worker.start(self.now)

    def tell(self, state: State = State.RUNNING, error: str = "") -> None:
        """Let the process write a status."""
        self.beat += 1
        status = Status(
            role=Role.CONSUMER, name="Cons1", pid=self.puppet.pid, state=state, heartbeat_ns=self.beat, last_error=error
        )
        self.folder.write("Cons1.status", status.model_dump_json())

    def look(self, seconds: float = 0.1) -> State:
        """Let time pass and the supervisor look; return the state that it shows."""
        self.now += round(seconds * SECOND)
        self.worker.look(self.now)
        return self.worker.state

    def run(self) -> None:
        """Let it say that it runs."""
        self.tell()
        assert self.look() is State.RUNNING

    def die(self, code: int) -> State:
        """Let the process end; return the state that is shown then."""
        self.puppet.code = code
        return self.look()


@pytest.fixture
def life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    monkeypatch.setattr(module.Process, "launch", lambda _spec, _module: Puppet())
    yield Life(tmp_path)


def test_a_clean_run_goes_through_starting_running_draining_stopped(life: Life) -> None:
    states = [life.look()]
    life.run()
    states.append(life.worker.state)
    life.worker.leave(life.now, 5.0)
    assert life.puppet.sent == [signal.SIGTERM]
    states.append(life.look())
    states.append(life.die(ExitCode.DRAINED))
    assert states == [State.STARTING, State.RUNNING, State.DRAINING, State.STOPPED]
    assert (life.worker.message(life.now), life.worker.failures, life.worker.deaths) == ("", 0, life.worker.deaths)
    assert not life.worker.deaths


def test_a_life_that_is_paused_by_command_is_stopped_and_not_restarted(life: Life) -> None:
    life.run()
    life.tell(State.STOPPED)
    assert life.look() is State.STOPPED
    assert life.worker.retry_ns is None


def test_a_restart_by_command_is_at_once_and_no_failure(life: Life) -> None:
    for number in range(1, 7):
        life.run()
        life.worker.renew(life.now, "restarted by command", asked=True)
        assert life.puppet.sent == [signal.SIGTERM]
        assert life.look() is State.DRAINING
        assert life.die(ExitCode.DRAINED) is State.STARTING
        assert (life.worker.restarts, life.worker.failures, life.worker.last_error) == (number, 0, "")
        assert life.worker.backoff(life.now) == 0.0
        life.start()
    life.run()
    life.worker.renew(life.now, "restarted by command", asked=True)
    life.die(ExitCode.NOT_DRAINED)
    assert (life.worker.failures, life.worker.last_error) == (1, "restarted by command"), "it lost what it had"


def test_those_behind_wait_for_a_giver_until_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Process, "launch", lambda _spec, _module: Puppet())
    life = Life(tmp_path, TEXT + '[groups.b]\ninput = "groups.a"\n')
    door = life.spec.output_socket("groups.a", "Cons1")
    life.run()
    door.touch()  # as its first life does
    givers = Givers(life.spec, "groups.a")
    life.worker.renew(life.now, "restarted by command", asked=True)
    life.die(ExitCode.DRAINED)
    assert list(givers()) == ["Cons1"]
    life.start()
    life.die(-signal.SIGSEGV)
    assert list(givers()) == ["Cons1"]
    life.start()
    life.worker.leave(life.now, 5.0)
    assert list(givers()) == ["Cons1"], "it still finishes what it has"
    life.die(ExitCode.DRAINED)
    assert list(givers()) == []
    life.worker.revive()
    life.start()
    door.touch()
    life.die(-signal.SIGSEGV)
    life.worker.leave(life.now, 5.0)
    assert (list(givers()), life.worker.fate) == ([], Fate.OVER), "it was not there when it was asked to leave"


def test_a_restart_of_what_does_not_run_is_refused(tmp_path: Path) -> None:
    config = load(TEXT, "test")
    supervisor = Supervisor(
        ProcessSpec(role=Role.SUPERVISOR, name="supervisor", config=config, run_dir=tmp_path), RunFolder(tmp_path)
    )
    with pytest.raises(RefusedError, match=r"Restart: expected a process that runs, one of \(none\), found 'Cons1'"):
        supervisor.restart("Cons1")
    supervisor.crew.muster([], 0)
    with pytest.raises(RefusedError, match="found 'detector'; that would end the acquisition"):
        supervisor.restart("detector")
    with pytest.raises(RefusedError, match=r"found 'Cons1'$"):
        supervisor.restart("Cons1")
    supervisor.close()


def test_losses_are_new_until_they_are_acknowledged(tmp_path: Path) -> None:
    spec = ProcessSpec(role=Role.SUPERVISOR, name="supervisor", config=load(TEXT, "test"), run_dir=tmp_path)
    supervisor = Supervisor(spec, RunFolder(tmp_path))
    seen = []
    for dropped, failed in ((0, 0), (5, 2), (5, 2), (9, 2), (9, 2), (4, 2), (7, 3)):
        lost = supervisor.view.model_copy(update={"dropped": dropped, "failed": failed})
        supervisor._show(lost)
        seen.append(supervisor.view.unseen)
        if seen[-1] in (7, 4):
            supervisor.acknowledge()
    supervisor.close()
    assert seen == [0, 7, 0, 4, 0, 0, 4], "found frames are no losses, and later ones are new"


def test_a_command_that_fails_by_a_fault_of_ours_is_told_and_ends_no_supervision(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ProcessSpec(
        role=Role.SUPERVISOR, name="supervisor", config=load("[web]\nenabled = false", "test"), run_dir=tmp_path
    )
    monkeypatch.setattr(module.Process, "launch", lambda _spec, _module: Puppet())
    supervisor = Supervisor(spec, RunFolder(tmp_path))
    supervisor.start()

    def broken() -> None:
        raise OSError("no room for the quarantine")

    failed, later = supervisor.submit(broken), supervisor.submit(lambda: "done")
    refused = supervisor.submit(lambda: supervisor.restart("nobody"))
    supervisor._tick()
    assert isinstance(failed.exception(0), OSError) and later.result(0) == "done"
    assert isinstance(refused.exception(0), RefusedError)
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert record.exc_info is not None and "broken" in str(logging.Formatter().formatException(record.exc_info))
    supervisor._show(supervisor.view)
    shown = values(supervisor.view)
    assert shown["Health_RBV"] == "Degraded", "a record in alarm"
    assert shown["StatusMessage_RBV"] == "a command failed: OSError: no room for the quarantine"
    supervisor.submit(supervisor.acknowledge)
    supervisor._tick()
    supervisor._show(supervisor.view.model_copy(update={"health": "OK", "message": "", "last_error": ""}))
    assert values(supervisor.view)["Health_RBV"] == "OK"
    supervisor.close()


def test_restarts_wait_longer_and_longer_until_it_is_given_up(life: Life) -> None:
    waits = []
    for number in range(3):
        assert life.die(-signal.SIGSEGV) is State.STARTING
        waits.append(life.worker.backoff(life.now))
        found = life.worker.message(life.now)
        assert f"failure {number + 1} of 4" in found and "killed by SIGSEGV" in found
        life.now = max(life.now, life.worker.retry_ns or 0)
        life.start()
    assert waits == [0.0, 0.5, 1.0]
    assert life.die(-signal.SIGSEGV) is State.FAILED
    assert life.worker.message(life.now).startswith("given up after 4 failures")
    assert (life.folder.path / "Cons1.gone").read_text() == "was killed by SIGSEGV"
    assert [death.signal for death in life.worker.deaths] == ["SIGSEGV"] * 4


def test_failures_of_long_ago_do_not_count(life: Life) -> None:
    for _ in range(10):
        assert life.die(1) is State.STARTING
        assert life.worker.backoff(life.now) == 0.0
        life.now += 61 * SECOND
        life.start()
    assert life.worker.restarts == 10


def test_bad_configuration_is_not_tried_again(life: Life) -> None:
    life.tell(State.FAILED, "no such processor")
    assert life.die(ExitCode.BAD_CONFIGURATION) is State.FAILED
    assert life.worker.last_error == "no such processor"


def test_what_hangs_is_asked_for_its_stacks_and_killed(life: Life) -> None:
    life.run()
    for _ in range(12):
        life.look()
    assert life.puppet.sent == [signal.SIGUSR1]
    life.look()
    life.look()
    assert life.puppet.sent == [signal.SIGUSR1, signal.SIGKILL]
    assert life.die(-signal.SIGKILL) is State.STARTING
    assert life.worker.last_error.startswith("no sign of life for 1 s: killed")


def test_while_there_is_no_room_for_a_status_nobody_is_taken_for_dead(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    life.run()
    monkeypatch.setattr(life.folder, "full", lambda: True)
    for _ in range(30):
        assert life.look() is State.RUNNING
    assert not life.puppet.sent
    monkeypatch.setattr(life.folder, "full", lambda: False)
    life.tell()
    assert life.look() is State.RUNNING
    for _ in range(12):
        life.look()
    assert life.puppet.sent == [signal.SIGUSR1], "what hangs then is found out"


def test_the_error_of_a_frame_is_not_taken_for_the_end_of_the_process(life: Life) -> None:
    life.tell(State.RUNNING, "ValueError: of an earlier frame")
    life.look()
    life.die(4)
    assert life.worker.last_error == "ended with exit code 4"


def test_quarantining_is_shown_for_a_moment(life: Life) -> None:
    life.die(-signal.SIGSEGV)
    life.start()
    life.worker.put_aside(life.now)
    assert life.look() is State.QUARANTINING
    assert "died of twice" in life.worker.message(life.now)
    life.tell()
    assert life.look(1.0) is State.RUNNING


def test_too_much_memory_means_a_clean_end_and_a_new_start(life: Life) -> None:
    patrol = Patrol()
    life.run()
    for size, seen in ((9_000_000, "High"), (11_000_000, "Over"), (9_000_000, "High"), (11_000_000, "Over")):
        life.worker.usage = Usage(private=size)
        patrol.look([life.worker], life.now)
        patrol.look([life.worker], life.now)  # the same look again counts once
        assert level(size, Limits.of(life.spec).memory) == seen
        assert life.worker.fate is Fate.WANTED, "once is not enough"
    life.worker.usage = Usage(private=12_000_000)
    patrol.look([life.worker], life.now)
    assert life.puppet.sent == [signal.SIGTERM]
    assert life.worker.state is State.DRAINING
    assert "12000000 bytes of memory, memory_limit = 10000000" in life.worker.message(life.now)
    assert life.die(ExitCode.DRAINED) is State.STARTING
    assert (life.worker.backoff(life.now), life.worker.restarts, life.worker.failures) == (0.0, 1, 1)
    life.start()
    assert "memory_limit" in life.worker.spec.last_end
    life.run()


def test_what_does_not_end_when_it_is_renewed_is_killed_and_started_again(life: Life) -> None:
    life.run()
    life.worker.renew(life.now, "too much")
    life.tell()
    life.look(26.0)
    life.look(0.3)
    assert life.puppet.sent == [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL]
    assert life.die(-signal.SIGKILL) is State.STARTING
    assert not life.worker.killed_late, "nobody asked the appliance to stop"


def test_who_is_asked_to_leave_before_it_listens_has_nothing_to_finish(life: Life) -> None:
    life.worker.leave(life.now, 5.0)
    assert life.die(-signal.SIGTERM) is State.STOPPED
    assert life.worker.exit_code == ExitCode.DRAINED


def test_who_is_hurried_has_a_moment_and_is_killed_after_it(life: Life) -> None:
    life.run()
    life.worker.leave(life.now, 25.0)
    life.look()
    life.worker.hurry(life.now, 1.0)
    life.look(0.9)
    assert life.puppet.sent == [signal.SIGTERM]
    life.look(0.2)
    life.look(0.3)
    assert life.puppet.sent == [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL]
    assert life.die(-signal.SIGKILL) is State.STOPPED
    assert (life.worker.killed_late, life.worker.last_error) == (True, "did not finish in time and was killed")


def test_who_ends_well_before_the_kill_comes_was_not_killed(life: Life) -> None:
    life.run()
    life.worker.leave(life.now, 1.0)
    life.look(1.1)
    assert life.worker.killed_late
    assert life.die(ExitCode.DRAINED) is State.STOPPED
    assert (life.worker.killed_late, life.worker.last_error) == (False, "")


def test_a_hurry_gives_nobody_more_time(life: Life) -> None:
    life.run()
    life.worker.leave(life.now, 0.5)
    life.worker.hurry(life.now, 1.0)
    life.look(0.6)
    assert life.puppet.sent == [signal.SIGTERM, signal.SIGUSR1]


def test_a_renewal_gives_way_to_a_request_to_leave(life: Life) -> None:
    life.run()
    life.worker.renew(life.now, "too much")
    life.worker.leave(life.now, 5.0)
    assert life.die(ExitCode.DRAINED) is State.STOPPED


def test_a_death_keeps_the_stacks_and_the_settings(life: Life) -> None:
    life.folder.write("Cons1.settings", json.dumps({"Level": 3}))
    (life.folder.path / "Cons1.log").write_text("hello\nFatal Python error: Segmentation fault\n  File x\n")
    life.worker._log_start = 0
    life.die(-signal.SIGSEGV)
    (death,) = life.worker.deaths
    assert death.trace.startswith("Fatal Python error") and "File x" in death.trace
    assert (death.exit_code, death.pid > 100, life.worker.settings) == (-11, True, {"Level": 3})


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("a\nTraceback (most recent call last)\nold\nTraceback (most recent call last)\nnew", "Traceback"),
        ("a\nThread 0x1\n one\nCurrent thread 0x2\n two", "Thread 0x1"),
        ("only words", "only words"),
        ("", ""),
    ],
)
def test_the_trace_is_found_in_what_was_written(written: str, found: str) -> None:
    trace = last_trace(written)
    assert trace.startswith(found)
    assert "old" not in trace


def test_memory_and_time_are_read_as_the_kernel_writes_them() -> None:
    text = "Name:\tx\nVmRSS:\t    1000 kB\nRssAnon:\t     600 kB\nVmSwap:\t      24 kB\n"
    assert resident(text) == (1_024_000, 624 * 1024)
    assert kib_of("gone", "VmRSS") == 0
    fields = " ".join(["S", *["0"] * 10, "150", "50", *["0"] * 30])
    assert cpu_seconds(f"7 (a name) with) {fields}") == pytest.approx(2.0, rel=0.01)
    assert cpu_seconds("") == 0.0


def test_what_has_no_limit_is_never_over_it() -> None:
    assert (level(1e12, None), level(8, 10), level(9, 10), level(11, 10)) == ("OK", "OK", "High", "Over")
    told = usage_figures(Usage(1, 2, 3, 0.5), Limits(None, 0.4))
    assert (told["PrivateLimit"], told["CPU"], told["CPUState"], told["MemoryState"]) == (0, 50.0, "Over", "OK")
