"""The score of the NeurIPS 2023 unlearning challenge: can N unlearned models be told from N
retrained ones, sample by sample?

Source: Triantafillou et al., "Are we making progress in unlearning? Findings from the first NeurIPS
unlearning competition", 2024, and the released `metric.py` (google-deepmind/unlearning_evaluation).
The families of decision rules, their steps and all constants are those of the release.

Mended: the release asserts on an array, which raises as soon as two thresholds are left; it divides
0 by 0 where both kinds of models give one same value; it changes the logits that it is given; it
needs CUDA.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unspan.errors import DataError

Array = NDArray[np.float64]

DELTA = 1e-5
CAP = 50.0  # of epsilon: the two kinds of models are told apart without error
BUCKET = 0.5  # of epsilon
_STEPS = 100  # thresholds a unit of the scaled logit
_BUFFER = 2.0  # how far the ends of a two-sided rule are moved, in units of the scaled logit
_PEAKED = 0.01  # range of the narrower kind over that of the wider: below it they are told apart
_FEWEST = 3  # models of a kind


@dataclass(frozen=True)
class ForgettingQuality:
    """How well unlearned models pass for retrained ones.

    Attributes:
        value: F, the mean over samples of `2 / 2^(1 + floor(epsilon / 0.5))`, in [0, 1]. 1 needs
            models that no rule tells apart. Unlearning that is perfect stays below it, since N
            models differ by chance.
        epsilons: `[n]` how well the best rule tells the two kinds apart by each sample, 0 to `CAP`.
        models: N.
    """

    value: float
    epsilons: Array
    models: int


def forgetting_quality(unlearned: Tensor, retrained: Tensor) -> ForgettingQuality:
    """F of the challenge: per sample, the best of all rules with one or two thresholds tells
    unlearned from retrained models.

    Print it beside the same of two sets of retrained models. That is what perfect unlearning gets,
    and it is far below 1: the best of many rules tells any two sets of N draws apart a little.

    Args:
        unlearned: `[N, n]` scaled logits (`lira.scaled_logits`) of the forget samples in N models
            that unlearned them, each from an original and with a seed of its own.
        retrained: `[N, n]` in N models trained without them.

    Raises:
        DataError: shapes differ, fewer than 3 models, no samples, or a value is not finite.
    """
    if unlearned.ndim != 2 or unlearned.shape != retrained.shape or not unlearned.shape[1]:
        raise DataError(
            "The score needs [N, n] of unlearned and of retrained models; got"
            f" {list(unlearned.shape)} and {list(retrained.shape)}."
        )
    models = len(unlearned)
    if models < _FEWEST:
        raise DataError(f"The score needs {_FEWEST} models of each kind; got {models}.")
    if not bool(unlearned.isfinite().all() and retrained.isfinite().all()):
        raise DataError("The score needs finite scaled logits.")
    pairs = zip(_columns(unlearned), _columns(retrained), strict=True)
    epsilons = np.array([_epsilon(*pair) for pair in pairs])
    # the last bucket that the release gives points for ends at ceil(ln(N - 1))
    most = math.floor(math.ceil(math.log(models - 1)) / BUCKET)
    place = 1 + np.floor(epsilons / BUCKET)
    points = np.where(place <= most, 2.0 / 2.0**place, 0.0)
    return ForgettingQuality(float(points.mean()), epsilons, models)


def challenge_score(
    quality: float,
    retain: tuple[float, float],
    test: tuple[float, float],
) -> float:
    """Final score of the challenge: F times two ratios of accuracy, which may exceed 1.

    Args:
        quality: `ForgettingQuality.value`.
        retain: mean accuracy on retained training samples of the unlearned, then of the retrained
            models, in (0, 1].
        test: the same on test samples.

    Raises:
        DataError: a retrained model names nothing.
    """
    if min(retain[1], test[1]) <= 0:
        raise DataError("Retrained models that name no sample give no ratio of accuracies.")
    return quality * (retain[0] / retain[1]) * (test[0] / test[1])


def _columns(values: Tensor) -> list[Array]:
    return list(values.double().cpu().numpy().T)


def _epsilon(unlearned: Array, retrained: Array) -> float:
    """How well the best rule tells two kinds of models apart by their answers to one sample."""
    narrow, wide = sorted((unlearned, retrained), key=np.ptp)
    if np.ptp(narrow) < _PEAKED * np.ptp(wide):
        return CAP
    if np.ptp(wide) == 0:
        return 0.0 if narrow[0] == wide[0] else CAP
    lower, higher = unlearned, retrained
    if np.median(retrained) <= np.median(unlearned):
        lower, higher = retrained, unlearned
    rates = [_one_threshold(higher, lower), _two_thresholds(narrow, wide)]
    missed = np.concatenate([one[0] for one in rates])
    false = np.concatenate([one[1] for one in rates])
    # a rate of 0 alone is taken for a lack of models
    kept = (missed > 0) & (false > 0)
    if bool(((missed == 0) & (false == 0)).any()) or not kept.any():
        return CAP
    return min(max(_ratio(missed[kept], false[kept]), 0.0), CAP)


def _ratio(missed: Array, false: Array) -> float:
    """Largest epsilon that the rates of some rule allow; negative where all are useless."""
    found = -math.inf
    for one, other in ((missed, false), (false, missed)):
        rest = 1 - DELTA - one
        able = rest > 0
        if able.any():
            found = max(found, float((np.log(rest[able]) - np.log(other[able])).max()))
    return found


def _one_threshold(higher: Array, lower: Array) -> tuple[Array, Array]:
    """Misses and false alarms of the rules "at least t", t in steps over the range of both."""
    ends = min(higher.min(), lower.min()), max(higher.max(), lower.max())
    steps = max(math.ceil((ends[1] - ends[0]) * _STEPS), 2)
    thresholds = np.linspace(*ends, steps)
    return _below(higher, thresholds), 1 - _below(lower, thresholds)


def _two_thresholds(narrow: Array, wide: Array) -> tuple[Array, Array]:
    """Misses and false alarms of the rules "between l and r", about as wide as the narrower kind
    and ending near its end.
    """
    width = float(np.ptp(narrow))
    last = float(narrow.max())
    steps = math.ceil(2 * _BUFFER * _STEPS)
    right = np.linspace(last - _BUFFER, last + _BUFFER, steps)[:, None]
    left = right - width + np.linspace(-_BUFFER, _BUFFER, steps)[None]
    inside = []
    for values in (narrow, wide):
        within = _below(values, right, included=True) - _below(values, left)
        inside.append(within.clip(min=0).ravel())
    return 1 - inside[0], inside[1]


def _below(values: Array, thresholds: Array, *, included: bool = False) -> Array:
    """Share of values below each threshold, or at most as large."""
    place = np.searchsorted(np.sort(values), thresholds, "right" if included else "left")
    return place / len(values)
