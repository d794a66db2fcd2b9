"""Features without scale and correlation: what an affine attacker sees does not depend on how the
features were stretched.

A penalised or early stopped probe can be starved by hiding the signal in directions of small
variance. In whitened coordinates every direction that float32 resolves has variance 1.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unspan.erasers.linalg import RANK_TOLERANCE
from unspan.metrics.linear import linear_probe
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import CHUNK, moments, stratified
from unspan.metrics.score import Reading

NAME = "linear probe, whitened (converged)"
ROWS = 20_000  # largest number of fit rows


def whitening(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and matrix `[d, r]`, float64: `(x - mean) @ matrix` has covariance I on these
    rows.

    Directions whose standard deviation is below 1e-5 of the largest, after scaling every column to
    deviation 1, are rounding noise of float32 features and are left out.
    """
    mean, scale = moments(features, torch.ones(len(features), dtype=torch.float64))
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for x in features.split(CHUNK):
        centred = (x.double() - mean) / scale
        covariance.addmm_(centred.mT, centred)
    values, vectors = torch.linalg.eigh(covariance / len(features))
    kept = values > values[-1].clamp_min(1e-300) * RANK_TOLERANCE**2
    return mean, vectors[:, kept] / values[kept].sqrt() / scale[:, None]


def whitened(one: Outputs, mean: Tensor, matrix: Tensor) -> Outputs:
    """The outputs with whitened features, `[n, r]` float32."""
    parts = [((x.double() - mean) @ matrix).float() for x in one.features.split(CHUNK)]
    return replace(one, features=torch.cat(parts))


def whitened_probe(fit: Outputs, test: Outputs, seed: int = 0) -> Reading:
    """What a converged linear probe reads in whitened coordinates; arguments as in
    `linear_probe`.
    """
    mean, matrix = whitening(fit.features)
    index = stratified(fit.labels, ROWS, seed)  # what is whitened is a copy
    known = whitened(fit.rows(index) if len(index) < len(fit) else fit, mean, matrix)
    found = linear_probe(known, whitened(test, mean, matrix), seed)
    return replace(
        found,
        attack=NAME,
        detail=found.detail | {"directions": matrix.shape[1], "fit rows": len(known)},
    )
