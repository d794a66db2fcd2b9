"""Membership inference from losses: the published attack as published, and one that is balanced and
two-sided.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.errors import DataError
from unspan.metrics.binary_logistic import fit_logistic
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Score, auc_reading, share_interval


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

    name, size = "membership accuracy (published)", min(len(members), len(others))
    if size < 10 or not bool(members.isfinite().all() and others.isfinite().all()):
        note = (
            f"not measurable: {size} samples a side, 10 needed."
            if size < 10
            else "not measurable: the attack fails on infinite losses."
        )
        return Score(name=name, value=None, better="reference", split=split, n=2 * size, note=note)
    generator = torch.Generator().manual_seed(seed)
    x = (
        torch.cat(
            [
                part[torch.randperm(len(part), generator=generator)[:size]]
                for part in (members, others)
            ]
        )
        .double()
        .cpu()
        .numpy()[:, None]
    )
    y = (torch.arange(2 * size) < size).int().numpy()
    hits, steps, tested = [], 0, 0
    for fit, test in StratifiedShuffleSplit(n_splits=splits, random_state=seed).split(x, y):
        model = LogisticRegression().fit(x[fit], y[fit])
        hits.append(float(model.score(x[test], y[test])))
        steps, tested = max(steps, int(model.n_iter_[0])), len(test)
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
    fpr: float = 0.01,
    clip: float = 100.0,
) -> list[Score]:
    """Balanced accuracy, AUC and TPR at a low FPR of a two-sided loss attack; lower is better, 0.5
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
        fpr: false-positive rate; TPR is given only when `r >= 10 / fpr`.
        clip: losses beyond it are cut, in nats.

    Raises:
        DataError: a loss is NaN.
    """
    n, smaller = len(members) + len(others), min(len(members), len(others))
    labels = {"membership balanced accuracy": "share", "membership AUC": "AUC"}
    if smaller < 10:
        return [
            Score(
                name=name,
                value=None,
                unit=unit,
                better="lower",
                split=split,
                n=n,
                note=f"not measurable: {smaller} samples a side, 10 needed.",
            )
            for name, unit in labels.items()
        ] + [tpr_at_fpr(members, others, split, fpr=fpr)]
    groups = [part.double().clamp(-clip, clip) for part in (members, others)]
    if any(bool(part.isnan().any()) for part in groups):
        raise DataError("A loss is NaN: look for NaN in the class scores.")
    generator = torch.Generator().manual_seed(seed)
    hits, areas, ends, converged = [], [], [], True
    for number in range(splits):
        halves = [torch.randperm(len(part), generator=generator).chunk(2) for part in groups]
        scored = [torch.empty_like(part) for part in groups]
        for side in (0, 1):
            fit = [part[half[1 - side]] for part, half in zip(groups, halves, strict=True)]
            pool = torch.cat(fit)
            centre, scale = pool.mean(), pool.std().clamp_min(1e-12)
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
            reading = auc_reading("membership", *held)
            areas.append(reading.value)
            ends.append(reading.interval())
            for part, half, values in zip(scored, halves, held, strict=True):
                part[half[side]] = values
        if number == 0:
            rate = tpr_at_fpr(scored[0], scored[1], split, fpr=fpr)
    accuracy, area, trials = sum(hits) / len(hits), sum(areas) / len(areas), 2 * (smaller // 2)
    low, high = share_interval(accuracy * trials, trials)
    detail = {"halves": areas, "converged": converged, "clip": clip}
    return [
        Score(
            name="membership balanced accuracy",
            value=accuracy,
            low=low,
            high=high,
            better="lower",
            split=split,
            n=n,
            detail={"halves": hits, "converged": converged},
        ),
        Score(
            name="membership AUC",
            value=area,
            low=sum(e[0] for e in ends) / len(ends),
            high=sum(e[1] for e in ends) / len(ends),
            unit="AUC",
            better="lower",
            split=split,
            n=n,
            detail=detail,
        ),
        rate,
    ]


def _both_sides(values: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    z = (values - centre) / scale
    return torch.stack([z, z.square()], 1)


def tpr_at_fpr(members: Tensor, others: Tensor, split: str, *, fpr: float = 0.01) -> Score:
    """Share of members above the score that at most `fpr` of the non-members exceed; lower is
    better, `fpr` is chance.

    The interval also counts that the threshold is estimated: order statistics that enclose the true
    quantile with 97.5 %, and exact shares of members above either with 97.5 %. Wider than 95 %,
    never narrower.

    Args:
        members: `[m]` scores, higher means member.
        others: `[r]` scores of non-members; fewer than `10 / fpr` give value None.
        split: which samples.
        fpr: false-positive rate.
    """
    name, n, need = f"membership TPR at {100 * fpr:g} % FPR", len(others), round(10 / fpr)
    if n < need or len(members) == 0:
        note = (
            f"not measurable: {n} non-members, {need} needed for a false-positive rate of"
            f" {100 * fpr:g} %."
            if n < need
            else "not measurable: no members."
        )
        return Score(
            name=name, value=None, better="lower", split=split, n=len(members) + n, note=note
        )
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
