"""Which rates trials found on this host: kept for `rayfan up`, which says so before it starts if more is asked for.

A file of the user's cache folder, one rate for each configuration that was tried. The frame rate is no part of what is
tried, so it holds for the same configuration at any rate.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from ioc.core.config import Config
from ioc.core.errors import UserError

log = logging.getLogger(__name__)

FILE = "sustained-rates.json"
MOST = 100
"""Configurations that are remembered, the newest."""
LARGEST_FILE = 1 << 20
"""Bytes of the file; a larger one is none of ours."""


def remember(config: Config, rate: float, environment: Mapping[str, str] = os.environ) -> None:
    """Keep the Hz that a trial of the configuration reached; that it cannot be kept is no failure."""
    path = _path(environment)
    kept = _read(path)
    kept.pop(_key(config), None)
    kept[_key(config)] = rate
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{FILE}.{os.getpid()}")
        fresh.write_text(json.dumps(dict(list(kept.items())[-MOST:])))
        fresh.replace(path)
    except OSError as error:
        log.warning("%s cannot be written, so the rate is not remembered: %s", path, error)


def remembered(config: Config, environment: Mapping[str, str] = os.environ) -> float | None:
    """Return the Hz that the last trial of the configuration reached on this host, None if there was none."""
    kept = _read(_path(environment))
    try:
        return kept.get(_key(config)) if kept else None
    except UserError:  # it cannot be tried out, so it never was
        return None


def _path(environment: Mapping[str, str]) -> Path:
    cache = environment.get("XDG_CACHE_HOME", "")
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "rayfan" / FILE


def _key(config: Config) -> str:
    from ioc.doctor.trial import trial_text  # imported here: most starts have nothing to look up

    return hashlib.sha256(trial_text(config).encode()).hexdigest()


def _read(path: Path) -> dict[str, float]:
    """Return what is kept; a file that is not as it was written is as good as none."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: float(rate) for key, rate in found.items() if isinstance(rate, int | float)}
