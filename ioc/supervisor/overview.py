"""Looks over all workers and their ledger: the view that console and records show, and the verdict at the end."""

import os
from collections import Counter
from dataclasses import dataclass

from ioc.core.ledger import Ledger, Stage
from ioc.core.status import ExitCode, Role, State
from ioc.core.topology import DETECTOR, IMAGE_GROUP
from ioc.supervisor.appliance import DEGRADED, FAILED, OK, Appliance, ChainView, ProcessView
from ioc.supervisor.crew import Crew
from ioc.supervisor.draining import drain_step
from ioc.supervisor.limits import Limits, usage_figures
from ioc.supervisor.plan import ASIDE
from ioc.supervisor.report import lost, waiting
from ioc.supervisor.worker import Fate, Worker


@dataclass(slots=True)
class Life:
    """Where the appliance is in its life; times are CLOCK_MONOTONIC. `failure` is why it has to end."""

    started_ns: int = 0
    running_since_ns: int | None = None
    draining: bool = False
    failure: tuple[ExitCode, str] | None = None

    @property
    def state(self) -> State:
        """The state of the appliance."""
        if self.draining:
            return State.DRAINING
        return State.STARTING if self.running_since_ns is None else State.RUNNING


def look_over(crew: Crew, ledger: Ledger, life: Life, now_ns: int) -> Appliance:
    """Return what there is to see now."""
    stages = {stage.name: stage for stage in ledger.stages}
    ordered = sorted(crew, key=lambda one: drain_step(one.spec))
    return Appliance(
        prefix=crew.spec.config.prefix,
        pid=os.getpid(),
        state=life.state,
        heartbeat_ns=now_ns,
        started_ns=life.started_ns,
        running_since_ns=life.running_since_ns,
        health=_health(crew, life),
        message=_message(crew, life),
        last_error=life.failure[1] if life.failure else "",
        published=ledger.published,
        series_published=ledger.series[-1][1] if ledger.series else 0,
        residue=ledger.residue(),
        complete=ledger.complete(),
        dropped=sum(lost(stage) for stage in ledger.stages if stage.group != IMAGE_GROUP),
        failed=sum(stage.failed for stage in ledger.stages),
        queued=sum(waiting(stage) for stage in ledger.stages),
        processes=[_process_view(worker, stages.get(worker.name) or Stage(worker.name), now_ns) for worker in ordered],
        most_failures=crew.rules.most_failures,
        chains=_chains(crew),
        web=_web(crew),
    )


def _web(crew: Crew) -> str:
    """Return where the web page is; empty while it is not served."""
    for worker in crew.of(Role.WEB):
        if worker.running and worker.status is not None:
            return str(worker.status.figures.get("Address", ""))
    return ""


def _chains(crew: Crew) -> list[ChainView]:
    counts, groups = crew.counts, crew.spec.config.groups
    running = Counter(one.spec.table for one in crew.of(Role.CONSUMER) if one.running)
    names = counts.groups if counts is not None else []
    return [
        ChainView(name=name, input=groups[name].input, count=counts.of(name), running=running[name])
        for name in names
        if counts is not None
    ]


def verdict(crew: Crew, ledger: Ledger, life: Life) -> tuple[ExitCode, str]:
    """Return the exit code of the whole, and why it is not 0."""
    if life.failure is not None:
        return life.failure
    involved = [worker for worker in crew if worker.spec.role not in ASIDE]
    for worker in involved:
        if worker.killed_late or worker.exit_code == ExitCode.NOT_DRAINED:
            return ExitCode.NOT_DRAINED, f"{worker.name}: {worker.last_error or 'could not finish its frames'}"
    for worker in involved:
        if worker.fate is Fate.GIVEN_UP or worker.exit_code not in (ExitCode.DRAINED, None):
            return ExitCode.FAILED, f"{worker.name}: {worker.last_error}"
    if ledger.residue():
        return ExitCode.FAILED, f"the ledger does not close: {ledger.residue()} frames are unaccounted for"
    return ExitCode.DRAINED, ""


def _process_view(worker: Worker, stage: Stage, now_ns: int) -> ProcessView:
    status = worker.status
    return ProcessView(
        name=worker.name,
        role=worker.spec.role,
        state=worker.state,
        pid=_pid(worker),
        job=worker.job.id if worker.job else "",
        job_state=worker.job.state if worker.job else "",
        restarts=worker.restarts,
        rate=status.rate if status and worker.current else 0.0,
        lag=waiting(stage),
        processed=stage.processed,
        failed=stage.failed,
        lost=lost(stage),
        last_error=worker.last_error or (status.last_error if status else ""),
        message=worker.message(now_ns),
        failures=worker.failures,
        backoff=worker.backoff(now_ns),
        usage=usage_figures(worker.usage, Limits.of(worker.spec)),
    )


def _pid(worker: Worker) -> int | None:
    """Return the process id, of a job on its own host; None while there is none."""
    if worker.job is None:
        return worker.process.pid if worker.process else None
    return worker.status.pid if worker.status is not None and worker.current else None


def _health(crew: Crew, life: Life) -> str:
    if life.failure is not None:
        return FAILED
    if life.state is State.RUNNING and not all(worker.running for worker in crew.needed()):
        return DEGRADED
    return OK


def _message(crew: Crew, life: Life) -> str:
    if life.draining:
        return "finishing what is on its way"
    missing = [worker.name for worker in crew.needed() if not worker.running]
    if missing:
        return f"waiting for {', '.join(missing)}"
    return next((worker.status.message for worker in crew if worker.name == DETECTOR and worker.status), "")
