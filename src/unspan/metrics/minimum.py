"""Where an optimiser of logistic regression starts and stops."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.logistic import Problem


@dataclass(frozen=True)
class Minimum:
    """Where the optimiser stopped.

    Attributes:
        theta: `[K, d + 1]` on standardised features, bias last.
        objective: mean loss plus penalty.
        gradient: norm of the gradient there, as a share of the norm at 0.
        iterations: gradients, or Hessian products, each about the work of one gradient.
    """

    theta: Tensor
    objective: float
    gradient: float
    iterations: int


def penalty_of(problem: Problem, c: float) -> float:
    """The penalty on the squared weights, for the inverse strength `c` of scikit-learn."""
    # two opposite rows are one weight vector
    return (2 if problem.classes == 2 else 1) / (c * float(problem.weights.sum()))


def origin(problem: Problem, penalty: float, chances: Tensor) -> tuple[Tensor, float, Tensor]:
    """Zero weights, with the objective and the gradient there.

    Raises:
        DataError: the loss is not finite.
    """
    theta = torch.zeros(problem.classes, problem.features.shape[1] + 1, dtype=torch.float64)
    value, gradient = problem.evaluate(theta, penalty, torch.float32, chances)
    if not torch.isfinite(gradient).all():
        raise DataError(
            "The loss of the linear probe is not finite: the features hold NaN, infinity or"
            " overflow."
        )
    return theta, value, gradient
