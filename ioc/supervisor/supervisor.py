"""The supervisor: starts, watches, restarts, counts and drains the processes of an appliance; never touches a frame.

How it works: one loop in one thread. It sleeps on the descriptors of the processes, so that an end is seen at once,
and wakes ten times a second to read statuses and books. Everything that another thread or a signal wants is a request
that the loop takes up. If the supervisor dies, its processes go on, and the next one takes them over.
"""

import json
import logging
import os
import select
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ioc.core.clock import Clock, SystemClock
from ioc.core.commands import Commands
from ioc.core.errors import RefusedError, mismatch
from ioc.core.joining import new_token
from ioc.core.ledger import Ledger
from ioc.core.status import ExitCode, ProcessSpec, Role, State
from ioc.supervisor.accounts import Accounts
from ioc.supervisor.appliance import DEGRADED, OK, Appliance, QuarantineView
from ioc.supervisor.counts import Counts
from ioc.supervisor.crew import Crew
from ioc.supervisor.draining import drain_step, drain_steps
from ioc.supervisor.jobs import write_secret
from ioc.supervisor.ledger_report import whole_report
from ioc.supervisor.ledger_store import FILE, LedgerStore
from ioc.supervisor.limits import Patrol
from ioc.supervisor.losses import Losses
from ioc.supervisor.mishap import Mishap
from ioc.supervisor.overview import Life, look_over, verdict
from ioc.supervisor.plan import ASIDE, MODULES, why_not_restarted
from ioc.supervisor.quarantine import Quarantine
from ioc.supervisor.report import build
from ioc.supervisor.rules import Rules
from ioc.supervisor.run_folder import Birth, RunFolder
from ioc.supervisor.worker import Fate, Worker

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
SETTLING = 1.0
"""s that a frame may take from an egress to its ingress, besides the time that an event may take to become whole."""
HURRY_SECONDS = 1.0
"""s that a process has for its end at least, also when it was asked twice: enough where nothing is on its way."""
VIEW_SECONDS = 0.2
BY_COMMAND = "restarted by command"
SHOWN_NAMES = 8
"""Frames in quarantine that are named."""
Watcher = Callable[[Appliance], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a supervisor is handed besides its spec. `rules` None: those of the configuration.

    `launcher` is the pid whose end means: drain.
    """

    modules: Mapping[Role, str] = field(default_factory=lambda: MODULES)
    rules: Rules | None = None
    clock: Clock = field(default_factory=SystemClock)
    launcher: int | None = None


class Supervisor:
    """The processes of one appliance. `start`, then `run` until `ask_to_drain`; `run` returns the exit code."""

    def __init__(self, spec: ProcessSpec, folder: RunFolder, surroundings: Surroundings | None = None) -> None:
        self.spec = spec
        self.folder = folder
        self.watchers: list[Watcher] = []
        self._around = surroundings or Surroundings()
        self._rules = self._around.rules or Rules.of(spec.config)
        self.crew = Crew(spec, folder, self._around.modules, self._rules)
        self.quarantine = Quarantine(spec.quarantine_folder, spec.config.quarantine)
        self._patrol = Patrol()
        self._mishap = Mishap()
        self._commands = Commands((Exception,), self._mishap.told)
        self._clock = self._around.clock
        longest = max((one.event_timeout for one in spec.config.ingress.values()), default=0.0)
        self._settling = SETTLING + longest
        self._store: LedgerStore | None = None
        self._accounts: Accounts | None = None
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._requests = 0
        self._taken_up = 0
        self._step = 0
        self._drain_until_ns = 0
        self._life = Life()
        self._viewed_ns = 0
        self._losses = Losses()
        self.view = look_over(self.crew, Ledger(0, [], [], []), self._life, 0)
        self._launcher = self._watch_launcher()

    def start(self) -> None:
        """Take over what an earlier supervisor of this configuration left running, start the rest."""
        now = self._clock.monotonic_ns()
        self._life.started_ns = now
        births = self.folder.births()
        survivors = self.crew.survivors(births)
        earlier = next((birth.spec for birth in births if birth.spec.role is Role.SUPERVISOR), None)
        if survivors and earlier is not None and earlier.config != self.spec.config:
            log.warning("%s still run with another configuration: they are drained first", ", ".join(survivors))
            self._end_earlier(earlier)
            survivors = []
        if not survivors:
            self.crew.end_jobs(births)
            births = []
        self._accounts = self._open_ledger(bool(survivors))
        if not births or not self.spec.token_file.exists():
            write_secret(self.spec.token_file, new_token())
        self.folder.write("supervisor.spec", Birth(spec=self.spec, pid=os.getpid()).model_dump_json())
        self.crew.counts = Counts(self.spec.config, self.folder.path)  # behind the cleaning: of those that still run
        self.crew.muster(births, now)
        self._tick()

    def run(self) -> ExitCode:
        """Supervise until everything is over; return the truth."""
        while not self._over():
            self._wait()
            self._tick()
        return self._finish()

    def ask_to_drain(self) -> None:
        """Ask that everything finish and stop, in flow order; asked again: soon. Safe from signals and threads."""
        self._requests += 1
        os.eventfd_write(self._wake, 1)

    def submit(self, command: Callable[[], T]) -> "Future[T]":
        """Run `command` in the loop; the Future has its result or its error. Safe from threads."""
        future = self._commands.submit(command)
        os.eventfd_write(self._wake, 1)
        return future

    def set_count(self, number: int, count: int) -> None:
        """Have so many members in the `number`-th group of a chain (from 1); to be called in the loop.

        Raises:
            RefusedError: there is no such group, or a group never has so many.
        """
        counts = self.crew.counts
        groups = counts.groups if counts is not None else []
        if counts is None or not 1 <= number <= len(groups):
            raise RefusedError(mismatch(f"Chain{number}:Count", f"a group of a chain, of {len(groups)}", number))
        counts.set(groups[number - 1], count)

    def restart(self, name: str) -> None:
        """Let a process finish what it has, and start it anew; to be called in the loop.

        Raises:
            RefusedError: there is no such process, it may not be restarted, or it does not run.
        """
        reasons = {one.name: why_not_restarted(one.spec.config, one.spec.role, one.spec.table) for one in self.crew}
        able = [one for one in self.crew if one.running and reasons[one.name] is None]
        worker = next((one for one in able if one.name == name), None)
        if worker is None or self._life.draining:
            expected = f"a process that runs, one of {', '.join(one.name for one in able) or '(none)'}"
            raise RefusedError(mismatch("Restart", expected, name, reasons.get(name) or ""))
        worker.renew(self._clock.monotonic_ns(), BY_COMMAND, asked=True)

    def acknowledge(self) -> None:
        """Take losses and mishaps so far as seen: no alarm for them any more; the accounts stay; called in the loop."""
        self._losses.acknowledge()
        self._mishap.acknowledge()
        log.info("acknowledged: %d frames dropped, %d failed", self.view.dropped, self.view.failed)

    def drain(self, deadline: float) -> None:
        """Begin to drain; what has not finished `deadline` seconds from now is killed."""
        if not self._life.draining:
            log.info("draining")
        self._life.draining = True
        self._drain_until_ns = self._clock.monotonic_ns() + round(deadline * 1e9)

    def ledger(self) -> Ledger:
        """Return the account of all processes now."""
        assert self._accounts is not None
        return build(self._accounts.sources(self.crew.workers, self._over()))

    def abandon(self) -> None:
        """Tell every process to finish, because nobody will watch it any more."""
        for worker in self.crew:
            worker.leave(self._clock.monotonic_ns(), self._rules.drain)
        self.crew.jobs.close()

    def close(self) -> None:
        """Let go of everything; processes that run go on."""
        for worker in self.crew:
            worker.close()
        if self._accounts is not None and self._store is not None:
            self._accounts.close()
            self._store.close()
        os.close(self._wake)
        if self._launcher is not None:
            os.close(self._launcher)

    def _open_ledger(self, going_on: bool) -> Accounts:
        """Go on with the run whose processes live; else close what is left of the run before, and begin one."""
        self._store = LedgerStore(self.folder.path / FILE)
        accounts = Accounts(self._store, self._settling)
        state = self._store.resume()
        if state is not None and going_on:
            accounts.recall(state)
            return accounts
        if state is not None:
            self._close_run_before(accounts, state)
            accounts = Accounts(self._store, self._settling)
        if not going_on:
            self.folder.clean()
        self._store.begin(self.spec.config.prefix)
        return accounts

    def _close_run_before(self, accounts: Accounts, state: dict[str, Any]) -> None:
        """Complete the ledger of a run whose processes were all killed, from what they left behind."""
        assert self._store is not None
        accounts.recall(state)
        workers = [Worker(birth.spec, "", self.folder, self._rules) for birth in self.folder.births()]
        workers = [worker for worker in workers if worker.spec.role is not Role.SUPERVISOR]
        accounts.sample(workers, 0)
        accounts.finish(workers, 0)
        ledger = build(accounts.sources(workers, True))
        self._store.totals(ledger.published, ledger.residue())
        self._store.end(None)
        accounts.close()
        log.warning("the run before was killed: %d frames, residue %d", ledger.published, ledger.residue())

    @property
    def _drain_seconds(self) -> float:
        return self._rules.drain * drain_steps(self.spec.config)

    def _watch_launcher(self) -> int | None:
        if self._around.launcher is None:
            return None
        try:
            return os.pidfd_open(self._around.launcher)
        except ProcessLookupError:
            self.ask_to_drain()
            return None

    def _end_earlier(self, spec: ProcessSpec) -> None:
        around = Surroundings(self._around.modules, self._rules, self._clock)
        earlier = Supervisor(spec, self.folder, around)
        earlier._accounts = earlier._open_ledger(True)
        earlier.crew.muster(self.folder.births(), self._clock.monotonic_ns())
        for worker in earlier.crew:
            if not worker.alive:
                worker.rest()
        earlier.drain(self._drain_seconds)
        earlier.run()
        earlier.close()

    def _wait(self) -> None:
        descriptors = [self._wake, *(worker.process.fileno() for worker in self.crew if worker.process)]
        if self._launcher is not None:
            descriptors.append(self._launcher)
        ready, _, _ = select.select(descriptors, [], [], LOOK_SECONDS)
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if self._launcher is not None and self._launcher in ready:
            log.warning("the process that started this appliance is gone: draining")
            os.close(self._launcher)
            self._launcher = None
            self._requests += not self._life.draining

    def _tick(self) -> None:
        now = self._clock.monotonic_ns()
        self.folder.files.retry()
        for worker in self.crew:
            worker.look(now)
        self._take_up_requests(now)
        self._commands.run()
        self.quarantine.look(self.crew, now)
        self._judge(now)
        if self._life.draining:
            self._advance_drain(now)
        else:
            self._patrol.look(self.crew, now)
            self.crew.reconcile(now)
        assert self._accounts is not None
        self._accounts.sample(self.crew, now)  # first: what a process that is gone left is read before its next life
        self.crew.start_due(now)
        if now - self._viewed_ns >= VIEW_SECONDS * 1e9:
            self._viewed_ns = now
            self._show(look_over(self.crew, self.ledger(), self._life, now))

    def _take_up_requests(self, now_ns: int) -> None:
        if self._requests == self._taken_up:
            return
        again = self._life.draining or self._requests > self._taken_up + 1
        self._taken_up = self._requests
        self.drain(0.0 if again else self._drain_seconds)
        if again:
            log.warning("asked again: what does not finish within %g s is killed", HURRY_SECONDS)
            for worker in self.crew:
                worker.hurry(now_ns, HURRY_SECONDS)

    def _judge(self, now_ns: int) -> None:
        life = self._life
        if life.running_since_ns is None and all(worker.running or worker.queued for worker in self.crew.needed()):
            life.running_since_ns = now_ns
            log.info("all processes run")
        for worker in self.crew:
            if life.failure is not None or worker.fate is not Fate.GIVEN_UP or worker.spec.role in ASIDE:
                continue
            bad = worker.exit_code == ExitCode.BAD_CONFIGURATION
            never = life.running_since_ns is None and not worker.ran
            if never or worker.spec.role is Role.DETECTOR:
                code = ExitCode.BAD_CONFIGURATION if bad else ExitCode.FAILED
                life.failure = code, f"{worker.name}: {worker.last_error}"
                self.drain(self._drain_seconds)

    def _advance_drain(self, now_ns: int) -> None:
        while self._step < drain_steps(self.spec.config):
            ours = [worker for worker in self.crew if drain_step(worker.spec) == self._step]
            left = max(HURRY_SECONDS, (self._drain_until_ns - now_ns) / 1e9)
            for worker in ours:
                worker.leave(now_ns, min(self._rules.drain, left))
            if any(worker.alive for worker in ours):
                return
            self._step += 1

    def _over(self) -> bool:
        return self._life.draining and self._step == drain_steps(self.spec.config)

    def _finish(self) -> ExitCode:
        now = self._clock.monotonic_ns()
        for worker in self.crew:
            worker.look(now)
        self.crew.jobs.close()
        assert self._accounts is not None and self._store is not None
        self._accounts.sample(self.crew, now)
        self._accounts.finish(self.crew, now)
        ledger = self.ledger()
        code, message = verdict(self.crew, ledger, self._life)
        since = self._life.running_since_ns
        extras = {one.name: {"restarts": one.restarts, "exit": one.exit_code} for one in self.crew}
        whole = {"duration": 0.0 if since is None else round((now - since) / 1e9, 3), "exit": int(code)}
        self._end_ledger(ledger, code)
        report = whole_report(self.spec.config.prefix, ledger, {**extras, "": whole}, self._store)
        self.folder.write("ledger.json", json.dumps(report))
        last = look_over(self.crew, ledger, self._life, now)
        last.state = State.STOPPED if code is ExitCode.DRAINED else State.FAILED
        last.message, last.last_error, last.exit_code = "", message, int(code)
        self._show(last)
        return code

    def _end_ledger(self, ledger: Ledger, code: ExitCode) -> None:
        assert self._store is not None
        try:
            self._store.totals(ledger.published, ledger.residue())
            self._store.end(int(code))
        except sqlite3.OperationalError as error:
            log.error("the end of the run is not in the ledger: %s", error)

    def _show(self, view: Appliance) -> None:
        fault = self.folder.fault or (self._accounts.fault if self._accounts is not None else "") or self._mishap.words
        if fault:
            view.health = DEGRADED if view.health == OK else view.health
            view.message, view.last_error = fault, view.last_error or fault
        view.series = self._accounts.newest() if self._accounts is not None else None
        kept = self.quarantine.kept
        view.quarantine = QuarantineView(
            frames=len(kept.names),
            bytes=kept.size_bytes,
            names=list(kept.names[-SHOWN_NAMES:]),
            last=kept.last,
            most_frames=self.quarantine.most_frames,
            most_bytes=self.quarantine.most_bytes,
        )
        view.unseen = self._losses.update(view.dropped + view.failed)
        self.view = view
        self.folder.write("appliance.json", view.model_dump_json())
        for watcher in self.watchers:
            watcher(view)
