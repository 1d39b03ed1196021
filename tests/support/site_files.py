"""Files of `ops/` that are made from the code. Written anew by `python -m tests.support.site_files`.

The lists are those of the demonstration. For a configuration of one's own: `rayfan pvlist CONFIG.toml --format ...`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from ioc.console import read_config
from ioc.pvlist_command import alarms, archiver
from tests.support.grafana_dashboard import dashboard

OPS = Path(__file__).parents[2] / "ops"
COMMAND = "python -m tests.support.site_files"
FILES: Mapping[str, Callable[[], str]] = {
    "alarms/demonstration.xml": lambda: alarms(read_config(None, [])),
    "archiver/demonstration.json": lambda: archiver(read_config(None, [])),
    "prometheus/dashboard.json": dashboard,
}


def write() -> None:
    """Write all files."""
    for name, make in FILES.items():
        (OPS / name).parent.mkdir(parents=True, exist_ok=True)
        (OPS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write()
