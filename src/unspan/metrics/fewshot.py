"""Few-shot relearning (A8): how many images of what was forgotten bring it back.

The attacker holds retained data and m labelled forget images of each forgotten class. Either their
mean becomes one more class mean (prototype), or a linear head is refitted on retained rows and the
m images, all classes weighing the same. Every reading is a mean over random draws of the m images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.linear import fit_linear
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import (
    CHUNK,
    classes_of,
    moments,
    names_forgotten,
    share_reading,
    stratified,
)
from unspan.metrics.score import Reading

SHOTS = (1, 5, 10, 50)
DRAWS, REFITS, RETAINED = 100, 5, 5000
_DRAWS_A_CHUNK = 20  # of the slice of features that one matrix product takes
PROTOTYPE, STANDARDISED, REFIT = (
    "few-shot prototype",
    "few-shot prototype, standardised",
    "few-shot head refit",
)


def fewshot(
    fit: Outputs, test: Outputs, seed: int = 0, *, shots: Sequence[int] = SHOTS
) -> list[Reading]:
    """The curves of all variants: one reading per variant and m, `detail["variant"]` and
    `detail["m"]` say which.

    An m beyond the number of forget fit images of a class is left out. Retained accuracy is that of
    the same attack.

    Args:
        fit: retained rows, and the forget rows from which images are drawn.
        test: rows to read.
        seed: of the draws; the same images are drawn for every model.
        shots: the values of m.

    Raises:
        DataError: there are no labelled forget or retained fit rows, or the request is not whole
            classes.
    """
    classes_of(fit, test)
    pools = _pools(fit)
    usable = [m for m in shots if m <= min(map(len, pools.values()))]
    return [*prototypes(fit, test, pools, usable, seed), *refits(fit, test, pools, usable, seed)]


def _pools(fit: Outputs) -> dict[int, Tensor]:
    """Positions of the forget rows of each forgotten class."""
    labelled = fit.labels >= 0
    forgotten = fit.labels[labelled & fit.forget].unique()
    kept = fit.labels[labelled & ~fit.forget].unique()
    if not len(forgotten) or not len(kept):
        raise DataError(
            "Few-shot relearning needs labelled forget and retained samples in the fit data."
        )
    if torch.isin(forgotten, kept).any():
        raise DataError(
            "Few-shot relearning is for whole classes; some classes here have both forget and"
            " retained samples."
        )
    return {int(c): (labelled & fit.forget & (fit.labels == c)).nonzero()[:, 0] for c in forgotten}


def _draws(pools: dict[int, Tensor], m: int, count: int, seed: int) -> Iterator[Tensor]:
    """Positions `[classes forgotten, m]`, `count` times; the images of a smaller m are among those
    of a larger one.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.stack(
            [pool[torch.randperm(len(pool), generator=generator)[:m]] for pool in pools.values()]
        )


def prototypes(
    fit: Outputs, test: Outputs, pools: dict[int, Tensor], shots: Sequence[int], seed: int
) -> Iterator[Reading]:
    """Nearest class mean, on features as they are and on features standardised by the retained
    rows.
    """
    rest = (~fit.forget & (fit.labels >= 0)).double()
    known = fit.labels[rest > 0].unique()
    means = class_means(fit.features, torch.where(rest > 0, fit.labels, -1), known)
    scale = moments(fit.features, rest)[1]
    for variant, unit in ((PROTOTYPE, torch.ones_like(scale)), (STANDARDISED, scale)):
        base = _nearest(test.features, means[None], unit)
        for m in shots:
            drawn = list(_draws(pools, m, DRAWS, seed))
            new = torch.stack([fit.features[rows].double().mean(1) for rows in drawn])
            told = _nearest(test.features, new, unit)
            forgotten = torch.tensor(list(pools))[told[1]]
            read = torch.where(told[0] < base[0], forgotten, known[base[1]])
            yield _reading(variant, m, read, test)


def class_means(features: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Mean feature `[c, d]` of each of the classes, float64, in one pass; rows of other labels are
    skipped.
    """
    total = torch.zeros(len(classes), features.shape[1], dtype=torch.float64)
    count = torch.zeros(len(classes), 1, dtype=torch.float64)
    for x, y in zip(features.split(CHUNK), labels.split(CHUNK), strict=True):
        one = (y[None] == classes[:, None]).double()
        total += one @ x.double()
        count += one.sum(1, keepdim=True)
    return total / count


def _nearest(features: Tensor, means: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest squared distance to the means of each draw, and which mean: `[draws, n]` both.

    Args:
        features: `[n, d]`.
        means: `[draws, c, d]`, of c classes.
        unit: `[d]`, of the distance.
    """
    draws, classes, _ = means.shape
    centre = means.mean((0, 1))
    to = ((means - centre) / unit).float().flatten(0, 1)
    least, which = [], []
    for x in features.split(max(CHUNK * _DRAWS_A_CHUNK // draws, 1)):
        at = (x - centre.float()) / unit.float()
        far = at.square().sum(1, keepdim=True) + to.square().sum(1) - 2 * at @ to.mT
        found = far.unflatten(1, (draws, classes)).min(2)
        least.append(found.values.T)
        which.append(found.indices.T)
    return torch.cat(least, 1), torch.cat(which, 1)


def refits(
    fit: Outputs, test: Outputs, pools: dict[int, Tensor], shots: Sequence[int], seed: int
) -> Iterator[Reading]:
    """A converged linear head (C = 1) on at most 5,000 retained rows and the m images, classes
    weighing the same.
    """
    classes = classes_of(fit, test)
    rest = stratified(torch.where(fit.forget, -1, fit.labels), RETAINED, seed)
    for m in shots:
        read = []
        gradient = 0.0
        start = None
        for rows in _draws(pools, m, REFITS, seed):
            index = torch.cat([rest, rows.flatten()])
            labels = fit.labels[index]
            counts = torch.bincount(labels, minlength=classes)
            weights = len(labels) / ((counts > 0).sum() * counts[labels]).double()
            probe = fit_linear(
                fit.features[index],
                labels,
                classes,
                c=(1.0,),
                seed=seed,
                weights=weights,
                tolerance=1e-4,
                start=start,
            )
            read.append(probe.predict(test.features))
            gradient = max(gradient, probe.gradient)
            start = probe.theta
        yield _reading(
            REFIT, m, torch.stack(read), test, gradient=gradient, converged=gradient <= 1e-4
        )


def _reading(variant: str, m: int, read: Tensor, test: Outputs, **detail: float) -> Reading:
    """Mean over draws of the labels read `[draws, n]`, with the range of the forget accuracy."""
    hits = read == test.labels
    each = hits[:, test.forget & (test.labels >= 0)].double().mean(1)
    return share_reading(
        f"{variant}, m={m}",
        hits.double().mean(0),
        test,
        names_forgotten(read, test).double().mean(0),
        variant=variant,
        m=m,
        draws=len(hits),
        range=[float(each.min()), float(each.max())],
        **detail,
    )


def shots_to(curve: Sequence[Reading], target: float) -> int | None:
    """The smallest measured m of one variant's curve at which at least `target` (a share) is read;
    None if none is.

    For "shots to half of the original", give half of the original model's accuracy on the forget
    class.
    """
    return min(
        (int(reading.detail["m"]) for reading in curve if reading.value >= target), default=None
    )
