"""Logistic regression run to convergence by L-BFGS, for wide features.

A Newton step over many features takes many products with the Hessian, or a large factor; L-BFGS
(Liu and Nocedal 1989) takes gradients alone. `benchmarks/linear.py` measures where each is faster.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from unspan.metrics.logistic import Problem
from unspan.metrics.minimum import Minimum, origin, penalty_of

_KEPT = 20  # pairs of steps and changes of the gradient


class _Reached(Exception):  # noqa: N818 - ends the optimiser, no error
    """The gradient is small enough."""


def minimise(
    problem: Problem, c: float, *, tolerance: float, limit: int, start: Tensor | None = None
) -> Minimum:
    """Minimise from `start` (else 0) until the gradient is `tolerance` of its norm at 0, or for
    `limit` gradients.

    Raises:
        DataError: the loss is not finite.
    """
    from scipy.optimize import minimize  # slow to import

    penalty = penalty_of(problem, c)
    chances = torch.empty(problem.classes, len(problem.labels))
    theta, value, gradient = origin(problem, penalty, chances)
    first = float(gradient.norm()) or 1.0
    end = Minimum(theta, value, float(gradient.norm()) / first, 0)
    theta = theta if start is None else start
    count = 0

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal end, count
        count += 1
        at = torch.from_numpy(flat).view(theta.shape)
        value, gradient = problem.evaluate(at, penalty, torch.float64, chances)
        share = float(gradient.norm()) / first
        if value <= end.objective or share <= end.gradient:
            end = Minimum(at.clone(), value, share, count)
        if share <= tolerance or count >= limit:
            raise _Reached
        return value, gradient.numpy().ravel()

    settings = {"maxiter": limit, "maxfun": limit, "maxcor": _KEPT, "ftol": 0.0, "gtol": 0.0}
    with suppress(_Reached):
        minimize(evaluate, theta.numpy().ravel(), jac=True, method="L-BFGS-B", options=settings)
    return end
