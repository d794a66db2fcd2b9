"""The mean over people or topics with its bootstrap interval, and the extremes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RESAMPLED = 10_000


def spread(values: Sequence[float], resampled: int = _RESAMPLED) -> dict[str, float]:
    """Mean, 95 % interval by resampling the values, the largest value and the smallest."""
    one = np.array(values)
    draws = np.random.default_rng(0).integers(0, len(one), (resampled, len(one)))
    low, high = np.quantile(one[draws].mean(1), [0.025, 0.975])
    return {
        "mean": float(one.mean()),
        "low": float(low),
        "high": float(high),
        "largest": float(one.max()),
        "smallest": float(one.min()),
    }
