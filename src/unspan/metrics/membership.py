"""Membership inference from losses: the published attack as published, and one that is balanced and
two-sided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.errors import DataError
from unspan.metrics.binary_logistic import fit_logistic
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading, Score, auc_reading, share_interval, unmeasured

RATES = (0.01, 0.001)  # false-positive rates at which attacks are read


def losses(outputs: Outputs) -> Tensor:
    """Cross-entropy of each sample in nats, `[n]` float64 (compute outputs with evaluation
    transforms on both sides).

    Raises:
        DataError: no class scores, or a sample without a label.
    """
    if outputs.logits is None:
        raise DataError("Loss attacks need class scores; these outputs are of an embedding model.")
    if bool((outputs.labels < 0).any()):
        raise DataError("Loss attacks need the label of every sample; some have none.")
    return cross_entropy(outputs.logits.double(), outputs.labels, reduction="none")


def published_loss_attack(
    members: Tensor, others: Tensor, split: str, *, splits: int = 5, seed: int = 0
) -> Score:
    """Accuracy of the attack of ESC's Table 1; kept for comparison with the literature, never as a
    verdict.

    The longer list is shuffled and cut; a scikit-learn logistic regression with its defaults sees
    the raw loss; accuracy is the mean over stratified splits with 10 % test part. One-sided and
    unscaled: members with *high* losses, as gradient ascent makes them, need not be found. Nearer
    to the reference model is better; 0.5 is chance. The interval is that of one split. Source:
    KU-VGI/ESC `mia.py`; the cut uses a local generator instead of NumPy's global state.

    Args:
        members: `[m]` losses of forget training samples.
        others: `[r]` losses of unseen samples of the same classes.
        split: which samples.
        splits: how many (DLFD: 10).
        seed: of the cut and the splits.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit

    name = "membership accuracy (published)"
    size = min(len(members), len(others))
    if size < 10 or not bool(members.isfinite().all() and others.isfinite().all()):
        few = f"{size} samples a side, 10 needed."
        reason = few if size < 10 else "the attack fails on infinite losses."
        return unmeasured(name, reason, better="reference", split=split, n=2 * size)
    generator = torch.Generator().manual_seed(seed)
    cut = [
        part[torch.randperm(len(part), generator=generator)[:size]] for part in (members, others)
    ]
    x = torch.cat(cut).double().cpu().numpy()[:, None]
    y = (torch.arange(2 * size) < size).int().numpy()
    hits = []
    steps = 0
    tested = 0
    for fit, test in StratifiedShuffleSplit(n_splits=splits, random_state=seed).split(x, y):
        model = LogisticRegression().fit(x[fit], y[fit])
        hits.append(float(model.score(x[test], y[test])))
        steps = max(steps, int(model.n_iter_[0]))
        tested = len(test)
    value = sum(hits) / splits
    low, high = share_interval(value * tested, tested)
    return Score(
        name=name,
        value=value,
        low=low,
        high=high,
        better="reference",
        split=split,
        n=2 * size,
        detail={"splits": hits, "steps": steps, "converged": steps < 100},
    )


def loss_attack(
    members: Tensor,
    others: Tensor,
    split: str,
    *,
    splits: int = 5,
    seed: int = 0,
    rates: Sequence[float] = RATES,
    clip: float = 100.0,
) -> list[Score]:
    """Balanced accuracy, AUC and TPR at low FPR of a two-sided loss attack; lower is better, 0.5
    (TPR: the FPR) is chance.

    Losses are clipped, standardised on the fit part, and given with their squares to a logistic
    regression, so members with unusually high losses are found too. Both groups are halved `splits`
    times; each half is attacked by a fit on the other. Accuracy and AUC are means over the halves,
    their intervals those of one half: the halves share samples, and intervals that count them as
    independent contain 0.5 in only 86 % of cases without leakage.

    Args:
        members: `[m]` losses of forget training samples (evaluation transforms).
        others: `[r]` losses of unseen samples of the same classes (evaluation transforms).
        split: which samples.
        splits: random halvings, stratified by group.
        seed: of the halvings.
        rates: false-positive rates; a TPR is given only when `r >= 10 / rate`.
        clip: losses beyond it are cut, in nats.

    Raises:
        DataError: a loss is NaN.
    """
    n = len(members) + len(others)
    smaller = min(len(members), len(others))
    if smaller < 10:
        reason = f"{smaller} samples a side, 10 needed."
        return [
            unmeasured(_BALANCED, reason, better="lower", split=split, n=n),
            unmeasured(_AUC, reason, unit="AUC", better="lower", split=split, n=n),
            *(tpr_at_fpr(members, others, split, fpr=rate) for rate in rates),
        ]
    groups = [part.double().clamp(-clip, clip) for part in (members, others)]
    if any(bool(part.isnan().any()) for part in groups):
        raise DataError("A loss is NaN: look for NaN in the class scores.")
    generator = torch.Generator().manual_seed(seed)
    halvings = [_halve(groups, generator) for _ in range(splits)]
    return [
        *_over_halves(halvings, 2 * (smaller // 2), split, n, clip),
        *(tpr_at_fpr(*halvings[0].scored, split, fpr=rate) for rate in rates),
    ]


def two_sided_scores(
    members: Tensor, others: Tensor, *, splits: int = 5, seed: int = 0, clip: float = 100.0
) -> tuple[Tensor, Tensor]:
    """How much each loss looks like one of the forget samples, by fits that did not see it.

    The attack of `loss_attack`: samples whose losses were all moved to one value stand out from
    unseen ones, whose losses spread, though their mean is the same.

    Args:
        members: `[m]` losses of the forget samples.
        others: `[r]` losses of unseen samples.
        splits: random halvings, over which the scores are averaged.
        seed: of the halvings.
        clip: losses beyond it are cut, in nats.

    Returns:
        Scores `[m]` and `[r]`; higher means of the request.
    """
    groups = [part.double().clamp(-clip, clip) for part in (members, others)]
    generator = torch.Generator().manual_seed(seed)
    found = [_halve(groups, generator).scored for _ in range(splits)]
    mine, theirs = (torch.stack([one[side] for one in found]).mean(0) for side in (0, 1))
    return mine, theirs


_BALANCED = "membership balanced accuracy"
_AUC = "membership AUC"


def _over_halves(
    halvings: Sequence[_Halving], trials: int, split: str, n: int, clip: float
) -> list[Score]:
    """Means over all halves, with the interval of one half, which has `trials` samples."""
    hits = [hit for one in halvings for hit in one.hits]
    readings = [reading for one in halvings for reading in one.readings]
    converged = all(one.converged for one in halvings)
    areas = [reading.value for reading in readings]
    ends = [reading.interval() for reading in readings]
    accuracy = sum(hits) / len(hits)
    low, high = share_interval(accuracy * trials, trials)
    return [
        Score(
            name=_BALANCED,
            value=accuracy,
            low=low,
            high=high,
            better="lower",
            split=split,
            n=n,
            detail={"halves": hits, "converged": converged},
        ),
        Score(
            name=_AUC,
            value=sum(areas) / len(areas),
            low=sum(end[0] for end in ends) / len(ends),
            high=sum(end[1] for end in ends) / len(ends),
            unit="AUC",
            better="lower",
            split=split,
            n=n,
            detail={"halves": areas, "converged": converged, "clip": clip},
        ),
    ]


@dataclass(frozen=True)
class _Halving:
    """Both groups halved at random, each half attacked by a fit on the other.

    Attributes:
        hits: balanced accuracy on each half.
        readings: the attack on each half.
        scored: score of every member, and of every other sample, by the fit that did not see it.
        converged: both fits ended.
    """

    hits: list[float]
    readings: list[Reading]
    scored: tuple[Tensor, Tensor]
    converged: bool


def _halve(groups: Sequence[Tensor], generator: torch.Generator) -> _Halving:
    halves = [torch.randperm(len(part), generator=generator).chunk(2) for part in groups]
    scored = (torch.empty_like(groups[0]), torch.empty_like(groups[1]))
    hits = []
    readings = []
    converged = True
    for side in (0, 1):
        fit = [part[half[1 - side]] for part, half in zip(groups, halves, strict=True)]
        pool = torch.cat(fit)
        centre = pool.mean()
        scale = pool.std().clamp_min(1e-12)
        attack = fit_logistic(
            _both_sides(pool, centre, scale),
            torch.arange(len(pool)) < len(fit[0]),
            ridge=1 / len(pool),
        )
        converged &= attack.converged
        prior = torch.log(torch.tensor(len(fit[0]) / len(fit[1])))
        held = [
            attack(_both_sides(part[half[side]], centre, scale)) - prior
            for part, half in zip(groups, halves, strict=True)
        ]
        hits.append(float(((held[0] > 0).double().mean() + (held[1] <= 0).double().mean()) / 2))
        readings.append(auc_reading("membership", *held))
        for part, half, values in zip(scored, halves, held, strict=True):
            part[half[side]] = values
    return _Halving(hits, readings, scored, converged)


def _both_sides(values: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    z = (values - centre) / scale
    return torch.stack([z, z.square()], 1)


def membership_scores(
    attack: str, members: Tensor, others: Tensor, split: str, *, rates: Sequence[float] = RATES
) -> list[Score]:
    """AUC and TPR at low FPR of an attack that scores each sample; lower is better, an AUC of 0.5
    and a TPR equal to the FPR are chance.

    Args:
        attack: name.
        members: `[m]` scores of forget samples, higher means member.
        others: `[r]` scores of samples that no model saw.
        split: which samples.
        rates: false-positive rates; each needs `r >= 10 / rate`, else its value is None.
    """
    name = f"{attack} AUC"
    n = len(members) + len(others)
    if min(len(members), len(others)) == 0:
        area = unmeasured(name, "a group is empty.", unit="AUC", better="lower", split=split, n=n)
    else:
        area = replace(auc_reading(name, members, others).score(split), n=n)
    low = (tpr_at_fpr(members, others, split, fpr=rate, attack=attack) for rate in rates)
    return [area, *low]


def tpr_at_fpr(
    members: Tensor, others: Tensor, split: str, *, fpr: float = 0.01, attack: str = "membership"
) -> Score:
    """Share of members above the score that at most `fpr` of the non-members exceed; lower is
    better, `fpr` is chance.

    The threshold is one of the non-members' scores, and members that tie with it are not counted.
    The interval also counts that the threshold is estimated: order statistics that enclose the true
    quantile with 97.5 %, and exact shares of members above either with 97.5 %. Wider than 95 %,
    never narrower.

    Args:
        members: `[m]` scores, higher means member.
        others: `[r]` scores of non-members; fewer than `10 / fpr` give value None.
        split: which samples.
        fpr: false-positive rate.
        attack: name.
    """
    name = f"{attack} TPR at {100 * fpr:g} % FPR"
    n = len(others)
    need = round(10 / fpr)
    if n < need or len(members) == 0:
        too_few = f"{n} non-members, {need} needed for a false-positive rate of {100 * fpr:g} %."
        reason = too_few if n < need else "no members."
        return unmeasured(name, reason, better="lower", split=split, n=len(members) + n)
    ordered = others.double().sort(descending=True).values
    from scipy.stats import binom  # slow to import, and not needed by every command

    few, many = int(binom.ppf(0.0125, n, fpr)), int(binom.ppf(0.9875, n, fpr))
    counts = [
        int((members.double() > ordered[place]).sum())
        for place in (max(few - 1, 0), int(n * fpr + 1e-9), min(many, n - 1))
    ]
    low = share_interval(counts[0], len(members), 0.975)[0] if few else 0.0
    high = share_interval(counts[2], len(members), 0.975)[1]
    return Score(
        name=name,
        value=counts[1] / len(members),
        low=low,
        high=high,
        better="lower",
        split=split,
        n=len(members) + n,
    )
