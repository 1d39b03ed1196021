"""Predicts the rate that a configuration sustains: it is run, for a few seconds, as fast as it goes without a loss.

A model of the machine would have to know the processor, the codec and the scheduler; a trial asks them. The trial runs
under a prefix, ports and folders of its own. Every group is lossless in it, so that the slowest part holds the source
back: what the source then reaches is what can be asked for. What leaves the host is left out.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import ValidationError

from ioc.bench.appliance import Appliance
from ioc.bench.workplace import workplace
from ioc.core.config import Config
from ioc.core.errors import PeerError, UserError
from ioc.doctor.finding import Finding, good, warning
from ioc.doctor.rates import asked_rate
from ioc.supervisor.plan import plan
from ioc.supervisor.toml_text import toml_text

FASTEST = 1e6
"""Hz, the most that can be configured: as fast as it goes."""
WARM_SECONDS = 1.5
TRIAL_SECONDS = 4.0
PIECES = 4
"""Parts of the trial, of whose rates the median counts."""
MARGIN = 0.9
"""Part of the rate of the trial that can be asked for with some reserve."""
LOSSLESS = "lossless"


def finding(config: Config, keep: Callable[[Config, float], None]) -> Finding:
    """Return what the configuration sustains beside what it asks for; what it sustains is given to `keep`."""
    what = "sustainable rate"
    if config.detector.source.kind == "pva":
        return good(what, "not predicted: the rate is that of the foreign detector")
    left_out = [f"egress.{name}" for name, egress in config.egress.items() if egress.uri or egress.balancer]
    try:
        rate = sustained(config)
    except PeerError as error:
        return warning(what, "not predicted: the trial failed", str(error))
    keep(config, rate)
    asked = asked_rate(config)
    told = f"{rate:.0f} Hz, {asked:.0f} Hz asked for" + (f"; without {', '.join(left_out)}" if left_out else "")
    if asked > rate:
        advice = "lossless groups would slow the source, others would drop frames: lower the rate or add consumers"
        return warning(what, told, advice)
    if asked > MARGIN * rate:
        return warning(what, told, "there is little reserve for anything else that this machine does")
    return good(what, told)


def sustained(config: Config, seconds: float = TRIAL_SECONDS) -> float:
    """Return the Hz that the appliance of a configuration reaches without a loss.

    Raises:
        PeerError: the trial failed.
    """
    text = trial_text(config)
    names = [spec.name for spec in plan(trial_config(config), Path())]
    with workplace() as folder, Appliance(folder, text, seconds + WARM_SECONDS) as running:
        running.wait_until_running(names)
        running.wait_for_frames(["detector"])
        running.wait(WARM_SECONDS)
        rates = []
        for _ in range(PIECES):
            first = _reading(running)
            running.wait(seconds / PIECES)
            last = _reading(running)
            rates.append((last[1] - first[1]) / (last[0] - first[0]))
        running.stop()
    return median(rates)


def trial_config(config: Config) -> Config:
    """Return the configuration that is tried out.

    Raises:
        UserError: it cannot be, for example where a group takes what comes by EJFAT from elsewhere.
    """
    table: dict[str, Any] = config.model_dump(exclude_none=True)
    table["detector"] |= {
        "frame_rate": FASTEST,
        "acquire_time": 0.0,
        "image_mode": "Continuous",
        "acquire_at_start": True,
    }
    for group in table["groups"].values():
        group["policy"] = LOSSLESS
        group["placement"] = "local"
        group.pop("jobs", None)
    kept = {name: one for name, one in table["egress"].items() if not (one.get("uri") or one.get("balancer"))}
    table["egress"] = {name: {**one, "policy": LOSSLESS} for name, one in kept.items()}
    if not kept:
        table["ingress"] = {}
    table["balancers"] = {}
    table["web"] = {"enabled": False}
    for writer in table["writers"].values():
        writer["policy"] = LOSSLESS
    for key in ("prefix", "run_dir", "autosave", "put_log", "metrics"):
        table.pop(key, None)
    try:
        return Config.model_validate(table)
    except ValidationError as error:
        raise UserError(f"this configuration cannot be tried out alone on this machine: {error}") from error


def trial_text(config: Config) -> str:
    """Return the trial's configuration as TOML, without what its place gives it: prefix and run folder."""
    text = toml_text(trial_config(config))
    return "\n".join(line for line in text.splitlines() if not line.startswith(("prefix =", "run_dir =")))


def _reading(running: Appliance) -> tuple[float, int]:
    """Return time (s) and frames published, waiting for a status that is newer than now."""
    begun = time.monotonic_ns()
    while (status := running.status("detector")).get("heartbeat_ns", 0) < begun:
        running.wait(0.02)
    return status["heartbeat_ns"] / 1e9, status["stage"]["processed"]
