"""The accounts of load balancers: what went in and came out at none of the ingresses behind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ioc.core.ledger import Reason, Stage
from ioc.core.status import Role
from ioc.supervisor.plan import balancer_of
from ioc.supervisor.worker import Worker


@dataclass(frozen=True, slots=True)
class BalancerAccount:
    """A lab's load balancer: the names of the egresses before it and of the ingresses behind it.

    It knows packets, not frames: what was sent and came to none of its ingresses is on its way, or lost once all is
    over.
    """

    name: str
    table: str
    feeders: tuple[str, ...] = ()
    ingresses: tuple[str, ...] = ()


def account_of(worker: Worker, workers: Iterable[Worker]) -> BalancerAccount:
    """Return who is before and behind a load balancer."""
    through = [one for one in workers if balancer_of(one.spec) == worker.spec.table]
    feeders = tuple(one.name for one in through if one.spec.role is Role.EGRESS)
    ingresses = tuple(one.name for one in through if one.spec.role is Role.INGRESS)
    return BalancerAccount(worker.name, worker.spec.table or "", feeders, ingresses)


def balancer_stage(balancer: BalancerAccount, given: int, behind: Sequence[Stage], over: bool) -> Stage:
    """Return the stage of a load balancer: what was sent and came to none of its ingresses."""
    stage = Stage(balancer.name, balancer.table)
    seen = sum(one.meant() for one in behind)
    if over and seen < given:
        stage.dropped[Reason.LOST.value] = given - seen
    elif not over:
        stage.in_flight = given - seen  # the books are of one moment, give or take what is on the wire
    return stage
