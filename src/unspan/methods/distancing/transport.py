"""Optimal transport between the features of two minibatches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def transport_cost(here: Tensor, there: Tensor, epsilon: float) -> Tensor:
    """`<T, C>` with cosine costs and the entropic optimal plan T, which is held fixed in the
    gradient.

    Args:
        here: `[m, d]` features.
        there: `[n, d]` features of the forget samples.
        epsilon: of the entropy.
    """
    import ot

    cost = 1 - normalize(here, dim=1) @ normalize(there, dim=1).mT
    fixed = cost.detach().double()
    a, b = (
        torch.full((size,), 1 / size, dtype=torch.float64, device=cost.device)
        for size in cost.shape
    )
    plan = ot.bregman.sinkhorn_log(a, b, fixed, epsilon, numItermax=100, stopThr=1e-6, warn=False)
    return (plan.to(cost) * cost).sum()
