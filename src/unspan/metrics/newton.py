"""Logistic regression run to convergence: Newton steps, each solved by preconditioned conjugate
gradients.

Only the few gradients are float64, and the Hessian products, where rounding only costs a step, are
float32. L-BFGS (`metrics.quasi_newton`) takes over where features are wide. The problem is convex,
so both end in the same place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from unspan.metrics.logistic import Problem
from unspan.metrics.minimum import Minimum, origin, penalty_of

_CURVATURE = 4096  # rows, or 4 a feature, from which the preconditioner is estimated
_EXACT = 1e-3  # gradients below this share of the first are summed from float64 products
_REFRESH = 0.1  # the preconditioner is taken anew when the gradient has fallen to this share, and
# as much work went into products with the Hessian since as a new one costs


def minimise(
    problem: Problem,
    c: float,
    *,
    seed: int,
    tolerance: float,
    limit: int,
    start: Tensor | None = None,
) -> Minimum:
    """Minimise from `start` (else 0) until the gradient is `tolerance` of its norm at 0, or for
    `limit` products.

    Raises:
        DataError: the loss is not finite.
    """
    penalty = penalty_of(problem, c)
    chances = torch.empty(problem.classes, len(problem.labels))
    theta, value, gradient = origin(problem, penalty, chances)
    first = float(gradient.norm()) or 1.0
    exact = start is not None
    steps = spent = 0
    taken = float("inf")
    count = max(_CURVATURE, 4 * problem.features.shape[1])
    worth = problem.factor_worth(count)
    if start is not None:
        theta = start
        value, gradient = problem.evaluate(theta, penalty, torch.float64, chances)
    while steps < limit:
        share = float(gradient.norm()) / first
        if share <= tolerance and exact:
            break
        if share <= tolerance:  # small to float32: see whether it is
            exact = True
            value, gradient = problem.evaluate(theta, penalty, torch.float64, chances)
            continue
        if taken == float("inf") or (share <= _REFRESH * taken and spent >= worth):
            factor = problem.factor(chances, penalty, count, seed, shared=not theta.any())
            taken = share
            spent = 0
        product = partial(problem.product, penalty=penalty, chances=chances)
        reduction = min(0.3, max(share**0.5, 0.3 * tolerance / share))
        step, done = _conjugate(product, gradient, factor, reduction, limit - steps)
        steps += done
        spent += done
        was = exact
        exact = exact or share < _EXACT
        dtype = torch.float64 if exact else torch.float32
        evaluate = partial(problem.evaluate, penalty=penalty, dtype=dtype, chances=chances)
        found = _search(evaluate, theta, value, gradient, step)
        if found is not None:
            theta, value, gradient = found
        elif was:  # at the floor of float64
            break
        else:
            exact = True
            value, gradient = problem.evaluate(theta, penalty, torch.float64, chances)
    return Minimum(theta, value, float(gradient.norm()) / first, steps)


def _search(
    evaluate: Callable[[Tensor], tuple[float, Tensor]],
    theta: Tensor,
    value: float,
    gradient: Tensor,
    step: Tensor,
) -> tuple[Tensor, float, Tensor] | None:
    """The first of the lengths 1, 1/2, … with enough descent: point, value and gradient; None below
    1e-4.
    """
    slope = float((gradient * step).sum())
    length = 1.0
    while length > 1e-4:
        point = theta + length * step
        new, found = evaluate(point)
        if new <= value + 1e-4 * length * slope + 1e-6 * abs(
            value
        ):  # the last term: rounding of float32 sums
            return point, new, found
        length /= 2
    return None


def _conjugate(
    product: Callable[[Tensor], Tensor],
    gradient: Tensor,
    factor: Tensor,
    reduction: float,
    limit: int,
) -> tuple[Tensor, int]:
    """Solve `H step = -gradient` until the residual has fallen to `reduction`; the step and the
    products made.

    Steps keep the sum over classes at 0: along a change common to all classes only the penalty
    bends the objective, and gradient and products sum to 0 there but for rounding.
    """

    def towards(residual: Tensor) -> Tensor:
        if len(factor) == 1:  # one block for all classes: one solve, with a column for each
            found = torch.cholesky_solve(residual.mT, factor[0]).mT
        else:
            found = torch.cholesky_solve(residual[..., None], factor)[..., 0]
        return found - found.mean(0)

    step = torch.zeros_like(gradient)
    residual = gradient.mean(0) - gradient
    direction = best = towards(residual)
    dot = float((residual * best).sum())
    goal = reduction * float(residual.norm())
    for done in range(1, limit + 1):
        image = product(direction)
        image -= image.mean(0)
        bend = float((direction * image).sum())
        if not bend > 0:
            break
        step = step + dot / bend * direction
        residual = residual - dot / bend * image
        if float(residual.norm()) <= goal or done >= 200:
            break
        best = towards(residual)
        last = dot
        dot = float((residual * best).sum())
        direction = best + dot / last * direction
    return step, done
