"""What a measurement is: a `Score` for people, a `Reading` for comparing models sample by
sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from unspan.metrics.identity import AttackId, AttackKind

Better = Literal["lower", "higher", "reference", "none"]

# of a sample; of 0.02, 0.05, 0.1 and 0.2 the smallest with about 93 % coverage for normal,
# mixed and two-valued scores from 50 a group
_MISS = 0.1
_HALF = 0.5  # AUC of one who guesses
_UNSEEN = 0.5  # squared deviations of what few samples did not show


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of an audit.

    Attributes:
        name: what was measured.
        value: None when it cannot be measured; `note` says why.
        low: lower end of the 95 % interval, None when there is none.
        high: upper end.
        unit: `share` in [0, 1], `AUC` in [0, 1], `bits`, `seconds`, `points`, `examples`, or `1`
            for plain numbers.
        better: which direction means more forgotten (on forget splits) or more kept (on retain
            splits); `reference` when nearer to the reference model is better, `none` when it only
            describes.
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


def unmeasured(
    name: str, reason: str, *, better: Better, split: str, unit: str = "share", n: int = 0
) -> Score:
    """A score without a value, whose note says why it cannot be measured."""
    note = f"not measurable: {reason}"
    return Score(name=name, value=None, unit=unit, better=better, split=split, n=n, note=note)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one attack reads of the forgotten samples in one model, test sample by test sample.

    Readings of several models by the same attack are paired: row i is the same sample in all of
    them.

    Attributes:
        attack: name of the attack.
        unit: `share` (a hit is 1) or `AUC` (a contribution is the share of retained samples scored
            below).
        forget: `[m]` float64 contribution of each forget test sample, in [0, 1].
        rest: `[r]` contribution of each retained test sample for an AUC (share of forget samples
            scored above), None for a share.
        alarms: `[r]` 1 where a retained test sample is taken for a forgotten class, or the mean of
            several runs; None where that is not known, and for an AUC.
        retain: accuracy of the same attack on the retained test samples, None when it has none.
        detail: JSON values: settings, convergence.
        identity: which attack this is, for decisions.
    """

    attack: str
    unit: Literal["share", "AUC"]
    forget: Tensor
    rest: Tensor | None = None
    alarms: Tensor | None = None
    retain: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    identity: AttackId = AttackId(AttackKind.OTHER)

    @cached_property
    def value(self) -> float:
        """Accuracy on the forget samples, or AUC of forget against the rest."""
        return float(self.forget.double().mean())

    @cached_property
    def false_positives(self) -> float | None:
        """Share of the retained test samples that are taken for a forgotten class."""
        return None if self.alarms is None else float(self.alarms.mean())

    @property
    def advantage(self) -> float:
        """What the attacker gains over guessing: 0 for one who guesses, 1 for one who is always
        right.

        Recall minus false positives for a share (Youden's J), and `2 |AUC - 1/2|` for an AUC, since
        an attacker who sees an AUC below 1/2 turns his rule round.
        """
        if self.unit == "AUC":
            return 2 * abs(self.value - _HALF)
        return self.value - (self.false_positives or 0.0)

    @property
    def sampling_variance(self) -> float:
        """Variance of the advantage over draws of the test samples (DeLong's for an AUC)."""
        own = _variance_of_mean(self.forget)
        if self.unit == "AUC":
            return 4 * (own + (0.0 if self.rest is None else _variance_of_mean(self.rest)))
        return own + (0.0 if self.alarms is None else _variance_of_mean(self.alarms))

    def paired_variance(self, other: Reading) -> float:
        """Variance of the difference of two advantages over draws of the test samples, which are
        the same in both models.
        """
        groups = [(self.forget, other.forget), (self.alarms, other.alarms)]
        if self.unit == "AUC":
            groups[1] = (self.rest, other.rest)
        turned = [one.unit == "AUC" and one.value < _HALF for one in (self, other)]
        sign = -1.0 if turned[0] != turned[1] else 1.0
        found = sum(
            _variance_of_mean(own - sign * others)
            for own, others in groups
            if own is not None and others is not None
        )
        return found * (4 if self.unit == "AUC" else 1)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson for a share of hits; Hanley-McNeil/DeLong variance on the logit scale for
        an AUC.
        """
        if self.unit == "share":
            return share_interval(float(self.forget.sum()), len(self.forget), level)
        return auc_interval(self.forget, self.rest if self.rest is not None else self.forget, level)

    def score(self, split: str) -> Score:
        """The reading as a `Score`: lower means less of the forgotten samples is read."""
        low, high = self.interval()
        return Score(
            name=self.attack,
            value=self.value,
            low=low,
            high=high,
            unit=self.unit,
            better="lower",
            split=split,
            n=len(self.forget),
            detail=self.detail,
        )


def _variance_of_mean(values: Tensor) -> float:
    """Of shares or their differences; half a miss is added, since few samples often show none."""
    values = values.double()
    return (float((values - values.mean()).square().sum()) + _UNSEEN) / max(len(values), 1) ** 2


def share_interval(hits: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a share of n; means of several runs are rounded to whole
    hits.

    >>> share_interval(0, 100)[1] < 0.037
    True
    """
    k = round(hits)
    tail = (1 - level) / 2
    from scipy.special import betaincinv  # slow to import

    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    return low, float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0


def mean_interval(shares: Tensor, level: float = 0.95) -> tuple[float, float]:
    """Interval of the mean of numbers in [0, 1], treating n of them as hits of n, rounded outwards.

    Hits have the largest variance of all numbers in [0, 1] with that mean, so the interval is exact
    for 0 and 1 and too wide for anything in between.
    """
    total = float(shares.double().sum())
    n = len(shares)
    return (
        share_interval(math.floor(total), n, level)[0],
        share_interval(min(math.ceil(total), n), n, level)[1],
    )


def auc_reading(attack: str, forget: Tensor, rest: Tensor, **detail: Any) -> Reading:
    """The AUC with which a score separates forget from retained samples, with each sample's
    contribution.

    Args:
        attack: name.
        forget: `[m]` scores of forget samples; higher should mean forget.
        rest: `[r]` scores of retained samples.
        detail: JSON values for the report.
    """
    forget, rest = forget.double(), rest.double()
    return Reading(
        attack=attack,
        unit="AUC",
        forget=_below(forget, rest),
        rest=1 - _below(rest, forget),
        detail=detail,
    )


def _below(values: Tensor, others: Tensor) -> Tensor:
    """Share of `others` below each value, ties counted half."""
    ordered = others.sort().values
    strict = torch.searchsorted(ordered, values.contiguous(), right=False)
    loose = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (strict + loose).double() / (2 * max(len(ordered), 1))


def auc_interval(forget: Tensor, rest: Tensor, level: float = 0.95) -> tuple[float, float]:
    """DeLong interval of an AUC from both groups' contributions, on the logit scale.

    Two corrections for few samples: Student's t with Welch's degrees of freedom, and `_MISS` of one
    sample on the wrong side in each group, because near 0 and 1 a small group often shows none of
    the rare misses that make the variance (500 against 50 samples at AUC 0.98: coverage 71 % to 96
    % without, 97 % to 99 % with, by the shape of the scores). Never wider than the exact interval
    of a share of `min(m, r)`, whose variance is the largest an AUC can have; a perfect separation
    gets that one.

    >>> low, high = auc_interval(torch.tensor([0.5, 1.0, 1.0]), torch.tensor([0.8, 0.9, 0.8]))
    >>> 0 < low < 0.83 < high < 1
    True
    """
    area = float(forget.mean())
    smaller = min(len(forget), len(rest))
    exact = share_interval(area * smaller, max(smaller, 1), level)
    if smaller < 2 or not 0 < area < 1:
        return exact
    miss = _MISS * max(area, 1 - area) ** 2
    parts = [
        (
            float((group.double() - area).square().sum() + miss) / (len(group) - 1) / len(group),
            len(group) - 1,
        )
        for group in (forget, rest)
    ]
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    from scipy.special import stdtrit  # slow to import

    step = float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(variance) / (area * (1 - area))
    middle = math.log(area / (1 - area))
    return max(_logistic(middle - step), exact[0]), min(_logistic(middle + step), exact[1])


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
