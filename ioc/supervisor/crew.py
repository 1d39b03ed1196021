"""The workers of an appliance: made from the plan or taken over, as many per group as the detector's PVs say."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ioc.core.config_group import MOST_MEMBERS
from ioc.core.status import ProcessSpec, Role
from ioc.core.topology import DETECTOR, takers
from ioc.supervisor.counts import Counts
from ioc.supervisor.jobs import Jobs
from ioc.supervisor.plan import (
    ASIDE,
    another_member,
    balancer_of,
    bound_to,
    destination,
    jobs_of,
    needs_port_of,
    node_of,
    plan,
)
from ioc.supervisor.rules import Rules
from ioc.supervisor.run_folder import Birth, RunFolder
from ioc.supervisor.survivor import find_alive
from ioc.supervisor.worker import Fate, Worker

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Crew:
    """All workers, in the order of their start."""

    spec: ProcessSpec
    folder: RunFolder
    modules: Mapping[Role, str]
    rules: Rules
    workers: list[Worker] = field(default_factory=list)
    counts: Counts | None = None
    jobs: Jobs = field(default_factory=Jobs)

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.workers)

    @property
    def detector(self) -> Worker:
        """The worker of the detector."""
        return next(worker for worker in self.workers if worker.name == DETECTOR)

    def wanted(self) -> list[Worker]:
        """Return the workers that are to run."""
        return [worker for worker in self.workers if worker.fate is not Fate.OVER]

    def needed(self) -> list[Worker]:
        """Return the workers that frames go through and that are to run."""
        return [worker for worker in self.wanted() if worker.spec.role not in ASIDE]

    def of(self, role: Role) -> list[Worker]:
        """Return the workers of a role."""
        return [worker for worker in self.workers if worker.spec.role is role]

    def survivors(self, births: list[Birth]) -> list[str]:
        """Return the names of the processes that an earlier supervisor left running."""
        names = []
        for birth in births:
            if birth.spec.role is Role.SUPERVISOR or birth.job is not None:
                continue  # jobs outlive the rest of an appliance only by mistake
            process = find_alive(birth, self.folder, self.modules[birth.spec.role])
            if process is not None:
                names.append(birth.spec.name)
                process.close()
        return names

    def end_jobs(self, births: list[Birth]) -> None:
        """Cancel the jobs that an earlier appliance, which is gone, left behind."""
        for birth in births:
            if birth.job is not None:
                self.jobs.end(birth.spec, birth.job)

    def muster(self, births: list[Birth], now_ns: int) -> None:
        """Make all workers; those whose process of `births` still lives take it over.

        Raises:
            ConfigError: jobs are asked for that cannot be submitted here.
        """
        known = {birth.spec.name: birth for birth in births if birth.spec.role is not Role.SUPERVISOR}
        specs = plan(self.spec.config, self.folder.path, self.spec.debug)
        for table, spec in {spec.table: spec for spec in specs if jobs_of(spec) is not None}.items():
            log.info("the workers of group %s are jobs", table)
            self.jobs.check(spec)
        planned = {spec.name for spec in specs}
        specs += [birth.spec for name, birth in known.items() if name not in planned]
        for spec in specs:
            worker = self._add(spec)
            birth = known.get(spec.name)
            if birth is not None and not worker.adopt(birth, now_ns):
                if birth.over:
                    worker.rest()
                worker.restarts += not birth.over

    def reconcile(self, now_ns: int) -> None:
        """Have as many consumers of each group as is asked for; PVs may have changed that."""
        self._reconcile_chains(now_ns)
        detector = self.detector
        if not detector.running or detector.status is None:
            return
        config = self.spec.config
        by_slot = dict(enumerate(takers(config.inputs, DETECTOR), 1))
        for group in detector.status.groups:
            kind, _, name = by_slot.get(group.slot, "").partition(".")
            if kind != "groups" or config.groups[name].placement == "remote":
                continue
            self._have(name, group.count, group.count, now_ns)

    def _reconcile_chains(self, now_ns: int) -> None:
        counts = self.counts
        if counts is None:
            return
        for name in counts.groups:
            count = counts.of(name)
            self._have(name, count, max([count, *self._believed(name)]), now_ns)

    def _believed(self, table: str) -> Iterator[int]:
        """Yield how many members each giver of a group deals frames out to; one that has not told may think of any."""
        giver = self.spec.config.groups[table].input
        for one in self.workers:
            if one.spec.role not in (Role.CONSUMER, Role.COLLECTOR) or node_of(one.spec) != giver or not one.alive:
                continue
            told = one.status.groups if one.status is not None and one.current else None
            yield next((group.count for group in told if group.name == table), 0) if told else MOST_MEMBERS

    def _have(self, table: str, count: int, beyond: int, now_ns: int) -> None:
        """Have `count` members of a group; those from `beyond` on are to leave."""
        members = {one.spec.member: one for one in self.of(Role.CONSUMER) if one.spec.table == table}
        for member in range(count):
            self._want(table, member, members.get(member))
        for member, worker in members.items():
            if member is not None and member >= beyond:
                worker.leave(now_ns, self.rules.drain)

    def start_due(self, now_ns: int) -> None:
        """Start what is wanted, not there, and due; nothing while the run folder is full."""
        if any(not worker.alive for worker in self.workers) and self.folder.full():
            return
        for worker in self.workers:
            due = worker.retry_ns is None or worker.retry_ns <= now_ns
            if worker.fate is Fate.WANTED and not worker.alive and due and self._can_start(worker):
                worker.start(now_ns)

    def _add(self, spec: ProcessSpec) -> Worker:
        worker = Worker(spec, self.modules[spec.role], self.folder, self.rules, self.jobs)
        self.workers.append(worker)
        return worker

    def _want(self, table: str, member: int, worker: Worker | None) -> None:
        if worker is None:
            worker = self._add(another_member([one.spec for one in self.workers], table, member))
            log.info("group %s has one more member: %s", table, worker.name)
        elif worker.fate is Fate.OVER:
            log.info("group %s has %s again", table, worker.name)
            worker.revive()

    def _can_start(self, worker: Worker) -> bool:
        """Fill in what is known only now; return False if something is still to be waited for."""
        if worker.spec.role in ASIDE:  # it takes no time from those that are needed to start
            return all(one.ran or one.queued or one.fate is Fate.GIVEN_UP for one in self.needed())
        if worker.spec.role is Role.INGRESS and worker.status is not None and worker.status.port:
            worker.spec = bound_to(worker.spec, worker.status.port)
        balancer = balancer_of(worker.spec)
        if balancer is not None and not any(
            one.running for one in self.of(Role.BALANCER) if one.spec.table == balancer
        ):
            return False
        table = needs_port_of(worker.spec)
        if table is None:
            return True
        ingress = next(one for one in self.of(Role.INGRESS) if one.spec.table == table)
        if not ingress.running or ingress.status is None or ingress.status.port is None:
            return False
        address = destination(self.spec.config.ingress[table].address, ingress.status.port)
        worker.spec = worker.spec.model_copy(update={"destination": address})
        return True
