"""The example ops/examples/ejfat-lab.toml as its users run it: a worker is killed, one joins, all is counted."""

import json
import os
import signal
from pathlib import Path

from tests.support.appliance import appliance, count_ids

EXAMPLE = Path(__file__).parents[2] / "ops" / "examples" / "ejfat-lab.toml"
WORKERS = ("EjfatIn1", "EjfatIn2", "EjfatIn3")
JOINING = """
[detector]
acquire_at_start = false

[ingress.late]
uri = "{uri}"
"""


def test_a_worker_is_killed_and_one_joins_and_every_frame_is_accounted_for(tmp_path: Path) -> None:
    quick = (
        "balancers.lab.epoch=0.2",
        "balancers.lab.lead=0.1",
        "egress.facility.warm_up=0.2",
        "detector.size=[64,64]",
        "detector.frame_rate=60",
    )
    first, second = tmp_path / "sender", tmp_path / "late"
    first.mkdir()
    second.mkdir()
    with appliance(first, str(EXAMPLE), *(part for key in quick for part in ("--set", key))) as sender:
        sender.wait_running("EjfatLb1", "Ejfat1", *WORKERS)
        frames = lambda name: sender.status(name).get("figures", {}).get("Frames", 0)  # noqa: E731
        sender.wait_until(lambda: all(frames(name) > 5 for name in WORKERS), "every worker gets frames")
        os.kill(sender.status("EjfatIn2")["pid"], signal.SIGKILL)
        config = second / "late.toml"
        config.write_text(JOINING.format(uri=(sender.run_dir / "lab.uri").read_text()))
        with appliance(second, str(config), "--set", "ingress.late.linger=0.5") as late:
            late.wait_running("EjfatIn1")
            got = lambda: late.status("EjfatIn1").get("figures", {}).get("Frames", 0)  # noqa: E731
            late.wait_until(lambda: got() > 10, "the worker that joined gets frames")
            before = frames("EjfatIn2")
            sender.wait_until(lambda: frames("EjfatIn2") > before + 5, "the worker that was killed is back")
            joined = late.stop()
        report = sender.stop()
    stages = {stage["name"]: stage for stage in report["stages"]}
    received = sum(stages[name]["received"] for name in WORKERS)
    elsewhere = next(stage for stage in joined["stages"] if stage["name"] == "EjfatIn1")["received"]
    lost = stages["EjfatLb1"]["dropped"]["lost"]
    assert stages["Ejfat1"]["processed"] == report["published"] == received + lost
    assert 10 < elsewhere <= lost == count_ids(stages["EjfatLb1"]["missed"])
    assert stages["EjfatIn2"]["restarts"] == 1
    assert "token" not in json.dumps(report)
