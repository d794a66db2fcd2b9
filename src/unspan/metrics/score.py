"""What a measurement is: a `Score` for people, a `Reading` for comparing models sample by sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from scipy.stats import binomtest, norm
from torch import Tensor

Better = Literal["lower", "higher", "reference", "none"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of an audit.

    Attributes:
        name: what was measured.
        value: None when it cannot be measured; `note` says why.
        low: lower end of the 95 % interval, None when there is none.
        high: upper end.
        unit: `share` in [0, 1], `AUC` in [0, 1], `bits`, `seconds`, `points`, or `1` for plain numbers.
        better: which direction means more forgotten (on forget splits) or more kept (on retain splits);
            `reference` when nearer to the reference model is better, `none` when it only describes.
        split: which samples.
        n: how many samples are behind the value.
        note: one sentence for the reader.
        detail: JSON values: settings, convergence.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = "share"
    better: Better = "none"
    split: str = ""
    n: int = 0
    note: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one attack reads of the forgotten samples in one model, test sample by test sample.

    Readings of several models by the same attack are paired: row i is the same sample in all of them.

    Attributes:
        attack: name of the attack.
        unit: `share` (a hit is 1) or `AUC` (a contribution is the share of retained samples scored below).
        forget: `[m]` float64 contribution of each forget test sample, in [0, 1].
        rest: `[r]` contribution of each retained test sample for an AUC (share of forget samples scored above),
            None for a share.
        retain: accuracy of the same attack on the retained test samples, None when it has none.
        detail: JSON values: settings, convergence.
    """

    attack: str
    unit: Literal["share", "AUC"]
    forget: Tensor
    rest: Tensor | None = None
    retain: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """Accuracy on the forget samples, or AUC of forget against the rest."""
        return float(self.forget.double().mean())

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson for a share of hits; Hanley-McNeil/DeLong variance on the logit scale for an AUC."""
        if self.unit == "share":
            return share_interval(float(self.forget.sum()), len(self.forget), level)
        return auc_interval(self.forget, self.rest if self.rest is not None else self.forget, level)

    def score(self, split: str) -> Score:
        """The reading as a `Score`: lower means less of the forgotten samples is read."""
        low, high = self.interval()
        return Score(name=self.attack, value=self.value, low=low, high=high, unit=self.unit, better="lower", split=split, n=len(self.forget), detail=self.detail)


def share_interval(hits: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a share of n; means of several runs are rounded to whole hits.

    >>> share_interval(0, 100)[1] < 0.037
    True
    """
    found = binomtest(round(hits), n).proportion_ci(level)
    return float(found.low), float(found.high)


def auc_reading(attack: str, forget: Tensor, rest: Tensor, **detail: Any) -> Reading:
    """The AUC with which a score separates forget from retained samples, with each sample's contribution.

    Args:
        attack: name.
        forget: `[m]` scores of forget samples; higher should mean forget.
        rest: `[r]` scores of retained samples.
        detail: JSON values for the report.
    """
    forget, rest = forget.double(), rest.double()
    return Reading(attack=attack, unit="AUC", forget=_below(forget, rest), rest=1 - _below(rest, forget), detail=detail)


def _below(values: Tensor, others: Tensor) -> Tensor:
    """Share of `others` below each value, ties counted half."""
    ordered = others.sort().values
    strict = torch.searchsorted(ordered, values.contiguous(), right=False)
    loose = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (strict + loose).double() / (2 * max(len(ordered), 1))


def auc_interval(forget: Tensor, rest: Tensor, level: float = 0.95) -> tuple[float, float]:
    """DeLong interval of an AUC from both groups' contributions, on the logit scale.

    A perfect separation has variance 0; then the exact interval of `min(m, r)` hits is given instead.
    """
    area = float(forget.mean())
    smaller = min(len(forget), len(rest))
    spread = _variance(forget) / len(forget) + _variance(rest) / len(rest)
    if smaller < 2 or spread <= 0 or not 0 < area < 1:
        return share_interval(area * smaller, max(smaller, 1), level)
    step = float(norm.ppf(0.5 + level / 2)) * math.sqrt(spread) / (area * (1 - area))
    middle = math.log(area / (1 - area))
    return _logistic(middle - step), _logistic(middle + step)


def _variance(values: Tensor) -> float:
    return float(values.double().var()) if len(values) > 1 else 0.0


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
