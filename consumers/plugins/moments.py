"""Where the light of an image lies and how it spreads: centroid, sigmas and higher moments, as ADCore has them."""

import math

import numpy as np
from numpy.typing import NDArray

CENTROID = (
    "CentroidTotal",
    "CentroidX",
    "CentroidY",
    "SigmaX",
    "SigmaY",
    "SigmaXY",
    "SkewX",
    "SkewY",
    "KurtosisX",
    "KurtosisY",
    "Eccentricity",
    "Orientation",
)
"""Names of the records."""


def moments(of_columns: NDArray, of_rows: NDArray, mixed: float) -> dict[str, float]:
    """Return the figures of `CENTROID` of an image with these sums, along x and along y, and of pixel * x * y.

    In pixels, Orientation in degrees. Without light all are 0. Source: ADCore, NDPluginStats.cpp, doComputeCentroidT;
    moments are taken about the centroid at once, which is the same but for rounding.
    """
    total = float(of_columns.sum())
    if not total > 0:
        return dict.fromkeys(CENTROID, 0.0)
    x, about_x = _central(of_columns, total)
    y, about_y = _central(of_rows, total)
    variance_x, variance_y, shared = about_x[2], about_y[2], mixed / total - x * y
    sigma_x, sigma_y = math.sqrt(max(0.0, variance_x)), math.sqrt(max(0.0, variance_y))
    spread = variance_x + variance_y
    return {
        "CentroidTotal": total,
        "CentroidX": x,
        "CentroidY": y,
        "SigmaX": sigma_x,
        "SigmaY": sigma_y,
        "SigmaXY": shared / (sigma_x * sigma_y) if sigma_x and sigma_y else 0.0,
        "SkewX": about_x[3] / variance_x**1.5 if variance_x > 0 else 0.0,
        "SkewY": about_y[3] / variance_y**1.5 if variance_y > 0 else 0.0,
        "KurtosisX": about_x[4] / variance_x**2 - 3.0 if variance_x > 0 else 0.0,
        "KurtosisY": about_y[4] / variance_y**2 - 3.0 if variance_y > 0 else 0.0,
        "Eccentricity": ((variance_x - variance_y) ** 2 - 4 * shared**2) / spread**2 if spread else 0.0,
        "Orientation": math.degrees(0.5 * math.atan2(2.0 * shared, variance_x - variance_y)),
    }


def _central(sums: NDArray, total: float) -> tuple[float, dict[int, float]]:
    """Return the centre of sums along an axis, and the moments 2, 3 and 4 about it, for a total of 1."""
    at = np.arange(len(sums), dtype=np.float64)
    centre = float(sums @ at) / total
    away = at - centre
    return centre, {order: float(sums @ away**order) / total for order in (2, 3, 4)}
