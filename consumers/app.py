"""The processes besides the detector: consumer, collector, plug-ins, writer, intake, EJFAT's."""

from ioc.core.status import ExitCode, Role
from ioc.supervisor.child import Child, run


def main(child: Child) -> ExitCode:
    """Run the process that the spec asks for."""
    # imported here: a consumer has no use for sockets of EJFAT, nor an egress for processors
    if child.spec.role is Role.CONSUMER:
        from consumers.consumer import main as body
    elif child.spec.role is Role.COLLECTOR:
        from consumers.collector import main as body
    elif child.spec.role is Role.EGRESS:
        from consumers.egress import main as body
    elif child.spec.role is Role.WRITER:
        from consumers.writer import main as body
    elif child.spec.role is Role.INTAKE:
        from consumers.intake import main as body
    elif child.spec.role is Role.PLUGINS:
        from consumers.plugins.app import main as body
    elif child.spec.role is Role.BALANCER:
        from consumers.balancer import main as body
    else:
        from consumers.ingress import main as body
    return body(child)


if __name__ == "__main__":
    run(main)
