"""The verdict rule for single samples: can they be told from samples that no model saw?

The attacker's AUC is 1/2 in a model that never saw them, but for what chance and the choice of the
samples do to it. Networks retrained without them, attacked on the same samples, show how much that
is: two or more of them give a band (`bands.band`).

- LIKE RETRAINED: the interval lies within `NEAR_HALF` of 1/2, or the AUC lies in the band, whose
  top is below the midpoint of retrained networks and the original.
- RETAINED: the interval lies above 1/2 and the AUC above the band, at least `RETAINED_ABOVE` of the
  way from 1/2 to the original.
- BELOW RETRAINED: the interval lies below 1/2, and the AUC below the band.
- NOT MEASURABLE: the original does not give the samples away, nor does the erased model.
- INCONCLUSIVE: anything else.

Where the original gives nothing away and the erased model does, RETAINED needs an AUC of
`ROOM / 2` above 1/2, from which the original would count as giving samples away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unspan.audit_record.remarks import Remark, RemarkCode
from unspan.audit_record.results import AttackResult
from unspan.audit_record.vocabulary import (
    BELOW_RETRAINED,
    INCONCLUSIVE,
    LIKE_RETRAINED,
    NOT_MEASURABLE,
    RETAINED,
)
from unspan.auditing.bands import LEVEL, Band, band, own_variance
from unspan.auditing.verdict_rule import (
    BELOW,
    RETAINED_ABOVE,
    ROOM,
    Judged,
    advantages,
    deciding,
    row_of,
)
from unspan.metrics.score import Reading

NEAR_HALF = 0.05  # an AUC nearer to 1/2 than this counts as 1/2
_HALF = 0.5
_AS_RETRAINED = Remark(RemarkCode.NETWORKS_VARY)
_NOT_GIVEN_AWAY = Remark(RemarkCode.NOT_GIVEN_AWAY)
_GIVEN_AWAY_SINCE = Remark(RemarkCode.GIVEN_AWAY_SINCE)
_TOO_FEW = Remark(RemarkCode.TOO_FEW_SAMPLES)


@dataclass(frozen=True)
class _Attack:
    """One attack on the erased model.

    Attributes:
        reading: its AUC.
        low: lower end of the interval, which holds for all attacks together.
        high: upper end.
        around: where `_signed` of one more retrained network would lie; None with fewer than two.
    """

    reading: Reading
    low: float
    high: float
    around: Band | None

    @property
    def tells(self) -> bool:
        """It tells the samples apart, and more than chance and the choice of them explain."""
        beyond = self.around is None or _signed(self.reading) > self.around.high
        return self.low > _HALF and beyond

    @property
    def reach(self) -> float:
        """How far its interval reaches from 1/2, either way."""
        return max(self.high - _HALF, _HALF - self.low)


def judge_members(
    originals: Sequence[Reading],
    attacks: Sequence[Reading],
    references: Sequence[Sequence[Reading]] = (),
) -> AttackResult:
    """The word for the attacks on single samples.

    The attack decides whose interval reaches furthest from 1/2; one that tells samples apart comes
    first. All intervals hold together with 95 %, and that of the result is one of them.

    Args:
        originals: AUC of the request against samples never seen, in the original, by attack.
        attacks: in the erased model.
        references: in each retrained network, with the others as its references; none where there
            are fewer than two.
    """
    original = max(originals, key=lambda one: one.advantage)
    each = [
        _Attack(one, *one.interval(1 - LEVEL / len(attacks)), around)
        for one, around in zip(attacks, _bands(references, len(attacks)), strict=True)
    ]
    telling = [one for one in each if one.tells and one.high > _HALF + NEAR_HALF]
    found = max(telling or each, key=lambda one: one.reach)
    judged = _judged(original, found)
    erased = found.reading
    row = replace(
        row_of(original, erased, []),
        reference=_HALF if found.around is None else _HALF + found.around.centre / 2,
        erased_low=found.low,
        erased_high=found.high,
    )
    return deciding(row, judged, advantages(original, erased, [], None))


def _bands(references: Sequence[Sequence[Reading]], attacks: int) -> list[Band | None]:
    """Where each attack on one more retrained network would lie."""
    if len(references) < 2:
        return [None] * attacks
    each = zip(*references, strict=True)
    return [
        band([_signed(one) for one in same], own_variance([[one] for one in same]), attacks)
        for same in each
    ]


def _signed(one: Reading) -> float:
    """The advantage, below zero where the samples look less like members than others do."""
    return 2 * (one.value - _HALF)


def _judged(original: Reading, found: _Attack) -> Judged:
    apart = original.value - _HALF
    rho = None if apart < ROOM / 2 else (found.reading.value - _HALF) / apart
    around = found.around
    if found.reach <= NEAR_HALF:
        return Judged(LIKE_RETRAINED, [], rho)
    if rho is None:
        return _judged_alone(found)
    if around is not None and around.low <= _signed(found.reading) <= around.high:
        told_apart = around.high < (around.centre + _signed(original)) / 2
        return (
            Judged(LIKE_RETRAINED, [], rho)
            if told_apart
            else Judged(INCONCLUSIVE, [_AS_RETRAINED], rho)
        )
    if found.tells:
        return Judged(RETAINED if rho >= RETAINED_ABOVE else INCONCLUSIVE, [], rho)
    if found.high < _HALF:
        return Judged(BELOW_RETRAINED, [BELOW])
    return Judged(INCONCLUSIVE, [_TOO_FEW], rho)


def _judged_alone(found: _Attack) -> Judged:
    """The word where the original does not give the samples away."""
    around, value = found.around, found.reading.value
    if found.tells:
        given_away = value - _HALF >= ROOM / 2
        return Judged(RETAINED if given_away else INCONCLUSIVE, [_GIVEN_AWAY_SINCE])
    if found.high < _HALF and (around is None or _signed(found.reading) < around.low):
        return Judged(BELOW_RETRAINED, [BELOW])
    return Judged(NOT_MEASURABLE, [_NOT_GIVEN_AWAY])
