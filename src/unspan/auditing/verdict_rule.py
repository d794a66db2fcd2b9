"""The verdict rule: how much of what the original knew is still recovered, against a reference that
never knew it.

For one attack, with O, E and R what it reads in the original, the erased and the reference model,
the recoverable fraction is `rho = (E - R) / (O - R)`: 1 means nothing was removed, 0 means no more
than the reference gives away, below 0 means less than a model that never saw the data, which is
itself a trace.

One attack (`verdict`), by the 95 % interval of rho:

- NOT MEASURABLE: O does not exceed R by `ROOM`.
- ERASED: the whole interval is at most `ERASED_BELOW`. An attack that names classes must still work
  on what was kept. Below R counts as ERASED too, with a note that this is a trace.
- RETAINED: the whole interval is at least `RETAINED_ABOVE`, also when it is widened for how many
  attacks were tried: of many attacks one reads too much by chance.
- INCONCLUSIVE: anything else.

All attacks together (`overall`), the first that holds:

- RETAINED: one attack is.
- INCONCLUSIVE: one attack is, or one that is not measurable reads more than the reference.
- ERASED: every measurable attack is.
- NOT MEASURABLE: no attack is measurable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unspan.audit_record.record import AttackResult
from unspan.audit_record.vocabulary import (
    ERASED,
    INCONCLUSIVE,
    NOT_MEASURABLE,
    RETAINED,
    Verdict,
)
from unspan.metrics.score import Reading
from unspan.report.formatting import percent

ERASED_BELOW = 0.10  # of the recoverable fraction
RETAINED_ABOVE = 0.25
ROOM = 0.10  # smallest difference of original and reference that can be measured
BLIND_BELOW = 0.5  # of its accuracy on retained samples in the original
_RESAMPLES = 2000  # at least
_BEYOND = 10  # resamples that lie beyond the end of an interval, at least
_LEAST_APART = ROOM / 4  # of original and reference in a resample, which may bring them together
_DRAWN = 100_000  # positions drawn at a time
_SMALL = (
    100  # below this many forget samples a bootstrap is too narrow: the reading's own widens it
)
_TOO_CLOSE = (
    "the reference reads the forgotten samples nearly as well as the original, so this attack"
    " cannot tell"
)
_OVER_ERASED = "less is read than in the reference: over-erased, which is itself a trace"


@dataclass(frozen=True)
class _Interval:
    """95 % interval of the recoverable fraction, and its lower end widened for many attacks."""

    low: float
    high: float
    corrected_low: float


def verdict(
    original: Reading,
    erased: Reading,
    references: Sequence[Reading],
    *,
    attacks: int = 1,
    seed: int = 0,
) -> AttackResult:
    """Apply the rule to one attack.

    Args:
        original: of the model before.
        erased: of the model after; row i is the same test sample everywhere.
        references: of one or more models that never saw the forget data.
        attacks: how many attacks are tried together.
        seed: of the bootstrap.
    """
    reference = sum(one.value for one in references) / len(references)
    low, high = erased.interval()
    level = 1 - 0.05 / attacks  # Bonferroni
    fractions, differences = _bootstrap(original, erased, references, _resamples(level), seed)
    unjudged = AttackResult(
        attack=erased.attack,
        identity=erased.identity,
        unit=erased.unit,
        n=len(erased.forget),
        original=original.value,
        erased=erased.value,
        erased_low=low,
        erased_high=high,
        reference=reference,
        rho=None,
        rho_low=None,
        rho_high=None,
        rho_low_corrected=None,
        verdict=NOT_MEASURABLE,
        exceeds=_ends(differences, 0.95)[0] > 0,
        retain=erased.retain,
        note=_TOO_CLOSE,
    )
    if original.value - reference < ROOM:
        return unjudged
    interval = _interval(original, erased, reference, fractions, level)
    word, note = judge(interval.corrected_low, interval.high), ""
    if interval.high < 0:
        note = _OVER_ERASED
    if word == ERASED and blind(original, erased):
        word, note = INCONCLUSIVE, _blind_note(original, erased)
    return replace(
        unjudged,
        rho=_fraction(erased.value, original.value, reference),
        rho_low=interval.low,
        rho_high=interval.high,
        rho_low_corrected=interval.corrected_low,
        verdict=word,
        note=note,
    )


def judge(corrected_low: float, high: float) -> Verdict:
    """The word for an interval of the recoverable fraction.

    Args:
        corrected_low: lower end, widened for how many attacks were tried. RETAINED follows from one
            attack of many, so its error grows with them.
        high: upper end of the 95 % interval. ERASED needs all attacks, so its error does not.
    """
    if high <= ERASED_BELOW:
        return ERASED
    return RETAINED if corrected_low >= RETAINED_ABOVE else INCONCLUSIVE


def blind(original: Reading, erased: Reading) -> bool:
    """Whether an attack lost more than half of its accuracy on retained samples: the features were
    made useless, or it was starved.
    """
    return (
        erased.retain is not None
        and original.retain is not None
        and erased.retain < BLIND_BELOW * original.retain
    )


def overall(
    original: Sequence[Reading],
    erased: Sequence[Reading],
    references: Sequence[Sequence[Reading]],
    *,
    seed: int = 0,
) -> tuple[Verdict, list[AttackResult]]:
    """The word for all attacks together, and the result of each: shares before AUCs, and of each
    the strongest first.

    Args:
        original: readings of the model before, one for each attack.
        erased: of the model after.
        references: for each attack, the readings of all references.
        seed: of the bootstrap.
    """
    each = [
        verdict(o, e, r, attacks=len(erased), seed=seed)
        for o, e, r in zip(original, erased, references, strict=True)
    ]
    each.sort(key=lambda one: (one.unit == "share", one.erased), reverse=True)
    measurable = [one for one in each if one.rho is not None]
    others = [one for one in each if one.rho is None]
    words = {one.verdict for one in measurable}
    if RETAINED in words:
        return RETAINED, each
    if INCONCLUSIVE in words or any(one.exceeds for one in others):
        return INCONCLUSIVE, each
    return (ERASED if measurable else NOT_MEASURABLE), each


def _fraction(erased: float, original: float, reference: float) -> float:
    """The recoverable fraction of one value."""
    return (erased - reference) / (original - reference)


def _interval(
    original: Reading, erased: Reading, reference: float, fractions: Tensor, level: float
) -> _Interval:
    """The interval of the recoverable fraction: bootstrap, widened for few samples by the interval
    of the erased model's reading (exact for a share, DeLong's for an AUC).

    Args:
        original: reading of the model before.
        erased: of the model after.
        reference: mean value of the references.
        fractions: of the resamples.
        level: of the lower end that is widened for many attacks.
    """
    low, high = _ends(fractions, 0.95)
    corrected = _ends(fractions, level)[0]
    if len(erased.forget) < _SMALL:
        exact_low, exact_high = erased.interval()
        exact_corrected = erased.interval(level)[0]
        low = min(low, _fraction(exact_low, original.value, reference))
        high = max(high, _fraction(exact_high, original.value, reference))
        corrected = min(corrected, _fraction(exact_corrected, original.value, reference))
    return _Interval(low, high, corrected)


def _blind_note(original: Reading, erased: Reading) -> str:
    return (
        f"the attack fails on what was to be kept as well ({percent(erased.retain or 0)} against"
        f" {percent(original.retain or 0)} before), so that it reads little says nothing"
    )


def _resamples(level: float) -> int:
    """How many resamples an interval of this level needs, so that some lie beyond its ends."""
    return max(_RESAMPLES, math.ceil(2 * _BEYOND / (1 - level)))


def _bootstrap(
    original: Reading, erased: Reading, references: Sequence[Reading], resamples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """`[resamples]` recoverable fractions, and as many differences of erased and reference.

    Each resample draws the test samples anew, the same ones for all models, and draws as many
    references as there are, with replacement. So an interval holds the chance of the samples and,
    where there are several references, that of training.
    """
    values = _resampled([original, erased, *references], resamples, seed)
    before, after, each = values[:, 0], values[:, 1], values[:, 2:]
    generator = torch.Generator().manual_seed(seed + 2)
    chosen = torch.randint(len(references), each.shape, generator=generator)
    reference = each.gather(1, chosen).mean(1)
    apart = (before - reference).clamp_min(_LEAST_APART)
    return (after - reference) / apart, after - reference


def _resampled(readings: Sequence[Reading], resamples: int, seed: int) -> Tensor:
    """The value of each reading in each resample, `[resamples, readings]`.

    An AUC depends on both groups; to first order its error is the sum of the errors that either
    group makes alone (DeLong), so each group is resampled by itself.
    """
    forgotten = _paired_means([one.forget for one in readings], resamples, seed)
    rests = [one.rest for one in readings if one.rest is not None]
    if len(rests) < len(readings):
        return forgotten
    values = torch.tensor([one.value for one in readings], dtype=torch.float64)
    return forgotten + _paired_means(rests, resamples, seed + 1) - values


def _paired_means(columns: Sequence[Tensor], resamples: int, seed: int) -> Tensor:
    """Means `[resamples, columns]` of rows drawn with replacement, the same rows in each column.

    Args:
        columns: each `[n]`, the values of one model.
        resamples: how often n rows are drawn.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    values = torch.stack([one.double() for one in columns])
    n = values.shape[1]
    step = max(1, _DRAWN // n)
    means = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        rows = torch.randint(n, (size, n), generator=generator)
        means.append(values[:, rows].mean(2).mT)
    return torch.cat(means)


def _ends(values: Tensor, level: float) -> tuple[float, float]:
    """The two ends that hold a share `level` of the values between them."""
    tail = (1 - level) / 2
    return float(values.quantile(tail)), float(values.quantile(1 - tail))
