"""Exact linear guardedness: how much of "is it a forgotten sample" any affine function of the features explains.

Source: Belrose et al., *LEACE*, NeurIPS 2023: R² is 0 on the fit data exactly when the class means are equal, and then
no affine probe beats a constant there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Score

_CHUNK = 8192
_RANK = 1e-10  # eigenvalues below this share of the largest are noise of float32 features


def guardedness(fit: Outputs, test: Outputs) -> list[Score]:
    """R² of the best affine predictor of the forget indicator, on the data it was fitted on and on other data.

    `R² = s Σ⁺ s / var z` with s the covariance of features and indicator; closed form, float64, `[d, d]` memory.
    Lower means more forgotten; 0 on fit data is the exact guarantee, a value below 0 on test data is worse than a constant.

    Args:
        fit: outputs with forget and other rows.
        test: other samples.
    """
    mean, second, cross, share = _moments(fit.features, fit.forget)
    covariance, s = second - mean[:, None] * mean, cross - share * mean
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > _RANK * values[-1].clamp_min(1e-300)
    weight = vectors[:, kept] @ ((vectors[:, kept].mT @ s) / values[kept])
    variance = share * (1 - share)
    fitted = float(s @ weight / variance) if variance > 0 else 0.0
    error = sum(float((z - share - (x - mean) @ weight).square().sum()) for x, z in _parts(test.features, test.forget))
    spread = sum(float((z - share).square().sum()) for _, z in _parts(test.features, test.forget))
    rows = (("train", fitted, len(fit)), ("test", 1 - error / spread if spread > 0 else 0.0, len(test)))
    return [Score(name="linear guardedness R²", value=value, unit="1", better="lower", split=split, n=n, note="0 on fit data: no affine probe beats a constant there") for split, value, n in rows]


def _parts(features: Tensor, forget: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(x.double(), z.double()) for x, z in zip(features.split(_CHUNK), forget.split(_CHUNK), strict=True)]


def _moments(features: Tensor, forget: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mean `[d]`, second moment `[d, d]`, mean of x z `[d]` and mean of z, in two passes (centred first)."""
    n, d = features.shape
    mean = torch.zeros(d, dtype=torch.float64)
    for x in features.split(_CHUNK):
        mean += x.double().sum(0)
    mean /= n
    second, cross = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    for x, z in zip(features.split(_CHUNK), forget.split(_CHUNK), strict=True):
        centred = x.double() - mean
        second.addmm_(centred.mT, centred)
        cross += centred.mT @ z.double()
    share = float(forget.double().mean())
    return mean, second / n + mean[:, None] * mean, cross / n + share * mean, share
