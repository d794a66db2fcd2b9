"""Linear guardedness (A5), in closed form: how much of the forget indicator an affine function of
the features holds.

`R^2 = s^T S^+ s / var z` with z the forget indicator, S the covariance of the features and s their
covariance with z. It is 0 exactly when both groups have the same mean feature, and then no affine
probe of forget against the rest beats a constant (Belrose et al. 2023, arXiv 2306.03819). A
multinomial probe can still read the class through the other classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.erasers.linalg import RANK_TOLERANCE, deviations
from unspan.errors import DataError
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import CHUNK
from unspan.metrics.score import Reading, Score, auc_reading


def guardedness(fit: Outputs, test: Outputs) -> list[Score]:
    """R^2 on the fit data (the exact statement) and R^2 of that same affine predictor on test data.

    Float64 throughout; memory `O(d^2)` beyond the features. Directions whose standard deviation is
    below 1e-5 of the largest, after scaling every column to deviation 1, are rounding noise of
    float32 features and are left out.

    Returns:
        Scores `linear guardedness R² (fit)` in [0, 1] and `linear guardedness R² (test)`, at most 1
        and below 0 where the predictor is worse than a constant. Without an interval: the first is
        not an estimate.

    Raises:
        DataError: the fit data are all forget or all retained samples.
    """
    weight, bias, inside, rank = affine(fit.features, fit.forget)
    z = test.forget.double()
    read = torch.cat([x.double() @ weight for x in test.features.split(CHUNK)]) + bias
    spread = float((z - z.mean()).square().sum())
    outside = 1 - float((z - read).square().sum()) / spread if spread else None
    note = (
        "0 if and only if no affine probe of forget against the rest beats a constant on these"
        " samples."
    )
    detail = {"rank": rank}
    return [
        Score(
            name="linear guardedness R² (fit)",
            value=inside,
            unit="1",
            better="lower",
            split="fit",
            n=len(fit),
            note=note,
            detail=detail,
        ),
        Score(
            name="linear guardedness R² (test)",
            value=outside,
            unit="1",
            better="lower",
            split="test",
            n=len(test),
            note="The affine predictor of the fit data, on test data.",
            detail=detail,
        ),
    ]


def affine_auc(fit: Outputs, test: Outputs) -> Reading:
    """AUC on test data of the best affine predictor of the forget indicator on the fit data, in
    closed form.

    It has no penalty and no iterations, so no scaling of the features can starve it.
    """
    weight, bias, inside, rank = affine(fit.features, fit.forget)
    read = torch.cat([x.double() @ weight for x in test.features.split(CHUNK)]) + bias
    return auc_reading(
        "affine predictor, forget against rest",
        read[test.forget],
        read[~test.forget],
        rank=rank,
        r2_fit=inside,
    )


def affine(features: Tensor, target: Tensor) -> tuple[Tensor, float, float, int]:
    """Least-squares predictor of a 0/1 target: weight `[d]`, bias, R² on these rows, rank of the
    features.

    Raises:
        DataError: the target is constant, or the features are not finite.
    """
    z = target.double()
    share = float(z.mean())
    if not 0 < share < 1:
        raise DataError(
            "Linear guardedness compares forget with retained samples; these data hold one of the"
            " two only."
        )
    mean = sum(
        (x.double().sum(0) for x in features.split(CHUNK)),
        torch.zeros(features.shape[1], dtype=torch.float64),
    ) / len(z)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    cross = torch.zeros_like(mean)
    for x, part in zip(features.split(CHUNK), z.split(CHUNK), strict=True):
        centred = x.double() - mean
        covariance.addmm_(centred.mT, centred)
        cross += (part - share) @ centred
    covariance, cross = covariance / len(z), cross / len(z)
    if not torch.isfinite(covariance).all():
        raise DataError("The features hold NaN, infinity or overflow.")
    scale = deviations(covariance, mean)
    values, vectors = torch.linalg.eigh(covariance / scale[:, None] / scale)
    kept = values > values[-1] * RANK_TOLERANCE**2
    part = vectors[:, kept].mT @ (cross / scale)
    weight = (vectors[:, kept] @ (part / values[kept])) / scale
    inside = float((part.square() / values[kept]).sum()) / (share * (1 - share))
    return weight, share - float(weight @ mean), inside, int(kept.sum())
