"""The reading rule: how much of what the original knew is still recovered, against a reference that
never knew it.

For one attack, with O, E and R what it reads in the original, the erased and the reference model,
the recoverable fraction is `rho = (E - R) / (O - R)`: 1 means nothing was removed, 0 means no more
than the reference gives away, below 0 means less than a model that never saw the data, which is
itself a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.score import Reading
from unspan.report.formatting import percent
from unspan.report.rule import (
    ERASED,
    ERASED_BELOW,
    INCONCLUSIVE,
    NOT_MEASURABLE,
    RETAINED,
    RETAINED_ABOVE,
    ROOM,
    Verdict,
)

BLIND_BELOW = 0.5  # of its accuracy on retained samples in the original
_RESAMPLES = 2000
_DRAWN = 100_000  # positions drawn at a time
_SMALL = 100  # below this many forget samples a bootstrap is too narrow: exact intervals widen it


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """How one attack reads the erased model.

    Attributes:
        attack: name.
        unit: `share` or `AUC`.
        n: forget test samples.
        original: what the attack reads in the original.
        erased: in the erased model, with 95 % interval `erased_low` to `erased_high`.
        reference: in the reference (mean over several).
        rho: recoverable fraction, None when it is not measurable.
        rho_low: lower end of its 95 % interval (paired bootstrap over test samples and references).
        rho_high: upper end.
        rho_low_corrected: lower end with the error rate divided by the number of attacks tried
            (Bonferroni).
        verdict: one of the four words.
        exceeds: more is read than in the reference, by the 95 % interval of the difference, however
            little room there is between reference and original.
        retain: accuracy of the attack on retained samples in the erased model.
        note: one sentence when something needs saying.
        identity: which attack this is, for decisions.
    """

    attack: str
    unit: str
    n: int
    original: float
    erased: float
    erased_low: float
    erased_high: float
    reference: float
    rho: float | None
    rho_low: float | None
    rho_high: float | None
    rho_low_corrected: float | None
    verdict: Verdict
    exceeds: bool = False
    retain: float | None = None
    note: str = ""
    identity: AttackId = AttackId(AttackKind.OTHER)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self) | {"identity": self.identity.to_dict()}


def verdict(
    original: Reading,
    erased: Reading,
    references: Sequence[Reading],
    *,
    attacks: int = 1,
    seed: int = 0,
) -> AttackResult:
    """Apply the reading rule to one attack.

    Args:
        original: of the model before.
        erased: of the model after; row i is the same test sample everywhere.
        references: of one or more models that never saw the forget data.
        attacks: how many attacks are tried together.
        seed: of the bootstrap.
    """
    o, e, r = original.value, erased.value, sum(one.value for one in references) / len(references)
    low, high = erased.interval()
    facts: dict[str, Any] = {
        "attack": erased.attack,
        "identity": erased.identity,
        "unit": erased.unit,
        "n": len(erased.forget),
        "original": o,
        "erased": e,
        "erased_low": low,
        "erased_high": high,
        "reference": r,
        "retain": erased.retain,
    }
    drawn, above = _resampled_rho(original, erased, references, seed)
    facts["exceeds"] = _ends(above, 0.95)[0] > 0
    if o - r < ROOM:
        return AttackResult(
            **facts,
            rho=None,
            rho_low=None,
            rho_high=None,
            rho_low_corrected=None,
            verdict=NOT_MEASURABLE,
            note=(
                "the reference reads the forgotten samples nearly as well as the original, so this"
                " attack cannot tell"
            ),
        )
    rho_low, rho_high = _ends(drawn, 0.95)
    corrected = _ends(drawn, 1 - 0.05 / attacks)[0]
    if len(erased.forget) < _SMALL:
        rho_low, rho_high = min(rho_low, (low - r) / (o - r)), max(rho_high, (high - r) / (o - r))
        corrected = min(corrected, (erased.interval(1 - 0.05 / attacks)[0] - r) / (o - r))
    note, word = (
        (
            "less is read than in the reference: over-erased, which is itself a trace"
            if rho_high < 0
            else ""
        ),
        judge(rho_low, rho_high),
    )
    if word == ERASED and blind(original, erased):
        note, word = (
            (
                f"the attack fails on what was to be kept as well ({percent(erased.retain or 0)}"
                f" against {percent(original.retain or 0)} before), so that it reads little says"
                " nothing"
            ),
            INCONCLUSIVE,
        )
    return AttackResult(
        **facts,
        rho=(e - r) / (o - r),
        rho_low=rho_low,
        rho_high=rho_high,
        rho_low_corrected=corrected,
        verdict=word,
        note=note,
    )


def blind(original: Reading, erased: Reading) -> bool:
    """Whether an attack lost more than half of its accuracy on retained samples: the features were
    made useless, or it was starved.
    """
    return (
        erased.retain is not None
        and original.retain is not None
        and erased.retain < BLIND_BELOW * original.retain
    )


def judge(rho_low: float, rho_high: float) -> Verdict:
    """The word for an interval of the recoverable fraction."""
    if rho_high <= ERASED_BELOW:
        return ERASED
    return RETAINED if rho_low >= RETAINED_ABOVE else INCONCLUSIVE


def overall(
    original: Sequence[Reading],
    erased: Sequence[Reading],
    references: Sequence[Sequence[Reading]],
    *,
    seed: int = 0,
) -> tuple[Verdict, list[AttackResult]]:
    """Verdicts of several attacks, and the word for all together; those that name samples first,
    then by what they read.

    RETAINED needs one attack that reads too much by its corrected interval (the first step of
    Holm). ERASED needs every measurable attack below its bound, and no other attack above the
    reference; no correction is needed there.

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
    measurable = [one for one in each if one.rho is not None]
    each.sort(key=lambda one: (one.unit == "share", one.erased), reverse=True)
    if not measurable:
        return NOT_MEASURABLE, each
    if any((one.rho_low_corrected or 0.0) >= RETAINED_ABOVE for one in measurable):
        return RETAINED, each
    clean = all(one.verdict == ERASED if one.rho is not None else not one.exceeds for one in each)
    return (ERASED if clean else INCONCLUSIVE), each


def _resampled_rho(
    original: Reading, erased: Reading, references: Sequence[Reading], seed: int
) -> tuple[Tensor, Tensor]:
    """`[2000]` recoverable fractions, and differences to the reference.

    Test samples are drawn jointly for all models, references among themselves.
    """
    o, e = _resampled(original, seed), _resampled(erased, seed)
    each = torch.stack([_resampled(one, seed) for one in references], 1)
    who = torch.randint(
        len(references), each.shape, generator=torch.Generator().manual_seed(seed + 2)
    )
    r = each.gather(1, who).mean(1)
    return (e - r) / (o - r).clamp_min(ROOM / 4), e - r


def _resampled(reading: Reading, seed: int) -> Tensor:
    """The value of a reading in each resample; an AUC by its first-order expansion in both
    groups.
    """
    value = _means(reading.forget, seed)
    return value if reading.rest is None else value + _means(reading.rest, seed + 1) - reading.value


def _means(values: Tensor, seed: int) -> Tensor:
    generator, n = torch.Generator().manual_seed(seed), len(values)
    step = max(1, _DRAWN // n)
    sizes = [min(step, _RESAMPLES - at) for at in range(0, _RESAMPLES, step)]
    return torch.cat(
        [values[torch.randint(n, (size, n), generator=generator)].mean(1) for size in sizes]
    )


def _ends(drawn: Tensor, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    return float(drawn.quantile(tail)), float(drawn.quantile(1 - tail))
