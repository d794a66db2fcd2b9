"""Multinomial logistic regression run to convergence: Newton steps solved by preconditioned conjugate gradients.

Symbols: n samples, d features, K classes, x standardised features with a trailing 1, theta `[K, d + 1]` weights.
The objective is scikit-learn's, `sum(loss) + |W|^2 / 2C` with a free bias, divided by the sum of sample weights.
Standardisation is folded into the weights and features are read in slices: nothing is copied. L-BFGS would
need float64 in hundreds of line searches; here only the few gradients are float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.probes import CHUNK, shuffled

_CURVATURE = 4096  # rows, at least 4 a feature, from which the preconditioner is estimated
_EXACT = 1e-3  # gradients below this share of the first are summed from float64 products
_REFRESH = 0.1  # the preconditioner is taken anew when the gradient has fallen to this share


@dataclass(frozen=True)
class Problem:
    """The data of a fit.

    Attributes:
        features: `[n, d]` float32, only read.
        labels: `[n]` in 0 … K-1; anything where the weight is 0.
        weights: `[n]` float64 sample weights; 0 leaves a row out.
        classes: K.
        mean: `[d]` subtracted from the features.
        scale: `[d]` divides them.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    classes: int
    mean: Tensor
    scale: Tensor

    def plain(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Weight `[K, d]` and bias `[K]` for raw features."""
        weight = theta[:, :-1] / self.scale
        return weight, theta[:, -1] - weight @ self.mean

    def evaluate(self, theta: Tensor, penalty: float, dtype: torch.dtype, chances: Tensor | None = None) -> tuple[float, Tensor]:
        """Objective and its gradient `[K, d + 1]`: products in `dtype`, sums over slices in float64.

        `chances [K, n]`, when given, is filled with the class probabilities.
        """
        weight, bias = (part.to(dtype) for part in self.plain(theta))
        loss = 0.0

        def residual(rows: slice, x: Tensor) -> Tensor:
            nonlocal loss
            y, w = self.labels[rows].clamp_min(0)[None], self.weights[rows].to(dtype)
            scores = torch.addmm(bias[:, None], weight, x.mT)  # [K, rows]: reductions over K run along memory
            scores -= scores.amax(0)
            own = scores.gather(0, y)[0]
            total = scores.exp_().sum(0)
            loss += float(((total.log() - own).double() * w).sum())
            scores /= total
            if chances is not None:
                chances[:, rows] = scores
            return scores.scatter_add_(0, y, -torch.ones_like(w)[None]).mul_(w)

        gradient = self._mean(residual, dtype)
        gradient[:, :-1] += penalty * theta[:, :-1]
        return loss / float(self.weights.sum()) + penalty / 2 * float(theta[:, :-1].square().sum()), gradient

    def product(self, direction: Tensor, penalty: float, chances: Tensor) -> Tensor:
        """Hessian at the point of `chances`, times `direction [K, d + 1]`, in float32."""
        weight, bias = (part.float() for part in self.plain(direction))

        def residual(rows: slice, x: Tensor) -> Tensor:
            chance = chances[:, rows]
            change = torch.addmm(bias[:, None], weight, x.mT).mul_(chance)
            return change.addcmul_(chance, change.sum(0), value=-1).mul_(self.weights[rows].float())

        result = self._mean(residual, torch.float32)
        result[:, :-1] += penalty * direction[:, :-1]
        return result

    def _mean(self, residual: Callable[[slice, Tensor], Tensor], dtype: torch.dtype) -> Tensor:
        """Mean over samples of `residual ⊗ x`, slice by slice."""
        slope = torch.zeros(self.classes, self.features.shape[1], dtype=torch.float64)
        mass = torch.zeros(self.classes, dtype=torch.float64)
        for start in range(0, len(self.labels), CHUNK):
            rows = slice(start, start + CHUNK)
            x = self.features[rows].to(dtype)
            part = residual(rows, x)
            slope += part @ x
            mass += part.sum(1, dtype=torch.float64)
        return torch.cat([(slope - mass[:, None] * self.mean) / self.scale, mass[:, None]], 1) / float(self.weights.sum())

    def factor(self, theta: Tensor, penalty: float, rows: Tensor) -> Tensor:
        """Cholesky factors `[K or 1, d + 1, d + 1]` of the Hessian's class blocks, estimated from some rows.

        One shared block at 0, where all are equal, and where K of them would take more memory than the features.
        """
        x = ((self.features[rows].double() - self.mean) / self.scale).float()
        x = torch.cat([x, x.new_ones(len(x), 1)], 1)
        chance, w = (x @ theta.float().mT).softmax(1), self.weights[rows].float()
        spread = chance * (1 - chance) * (w / w.sum())[:, None]
        if not theta.any() or 2 * self.classes * x.shape[1] ** 2 > self.features.numel():
            spread = spread.mean(1, keepdim=True)
        blocks = torch.stack([(x * q[:, None]).mT @ x for q in spread.unbind(1)]).double()
        diagonal = blocks.diagonal(dim1=1, dim2=2)
        diagonal += 1e-5 * diagonal.mean(1, keepdim=True) + penalty + 1e-12
        return torch.linalg.cholesky(blocks)


@dataclass(frozen=True)
class Minimum:
    """Where the optimiser stopped.

    Attributes:
        theta: `[K, d + 1]` on standardised features, bias last.
        objective: mean loss plus penalty.
        gradient: norm of the gradient there, as a share of the norm at 0.
        iterations: Hessian products, each about the work of one gradient.
    """

    theta: Tensor
    objective: float
    gradient: float
    iterations: int


def minimise(problem: Problem, c: float, *, seed: int, tolerance: float, limit: int, start: Tensor | None = None) -> Minimum:
    """Minimise from `start` (else 0) until the gradient is `tolerance` of its norm at 0, or for `limit` products.

    Raises:
        DataError: the loss is not finite.
    """
    used = problem.weights.nonzero()[:, 0]
    rows = used[shuffled(len(used), seed)[: max(_CURVATURE, 4 * problem.features.shape[1])]]
    penalty = (2 if problem.classes == 2 else 1) / (c * float(problem.weights.sum()))  # two opposite rows are one weight vector
    theta = torch.zeros(problem.classes, problem.features.shape[1] + 1, dtype=torch.float64)
    chances = torch.empty(problem.classes, len(problem.labels))
    exact, steps, taken = start is not None, 0, float("inf")
    value, gradient = problem.evaluate(theta, penalty, torch.float32, chances)
    first = float(gradient.norm()) or 1.0
    if start is not None:
        theta = start
        value, gradient = problem.evaluate(theta, penalty, torch.float64, chances)
    while (share := float(gradient.norm()) / first) > tolerance and steps < limit:
        if share <= _REFRESH * taken:
            factor, taken = problem.factor(theta, penalty, rows), share
        reduction = min(0.3, max(share**0.5, 0.3 * tolerance / share))
        step, done = _conjugate(partial(problem.product, penalty=penalty, chances=chances), gradient, factor, reduction, limit - steps)
        steps, was, exact = steps + done, exact, exact or share < _EXACT
        found = _search(partial(problem.evaluate, penalty=penalty, dtype=torch.float64 if exact else torch.float32, chances=chances), theta, value, gradient, step)
        if found is not None:
            theta, value, gradient = found
        elif was:  # at the floor of float64
            break
        else:
            exact = True
            value, gradient = problem.evaluate(theta, penalty, torch.float64, chances)
    if not torch.isfinite(gradient).all():
        raise DataError("The loss of the linear probe is not finite: the features hold NaN, infinity or overflow.")
    return Minimum(theta, value, share, steps)


def _search(evaluate: Callable[[Tensor], tuple[float, Tensor]], theta: Tensor, value: float, gradient: Tensor, step: Tensor) -> tuple[Tensor, float, Tensor] | None:
    """The first of the lengths 1, 1/2, … with enough descent: point, value and gradient; None below 1e-4."""
    slope, length = float((gradient * step).sum()), 1.0
    while length > 1e-4:
        point = theta + length * step
        new, found = evaluate(point)
        if new <= value + 1e-4 * length * slope + 1e-6 * abs(value):  # the last term: rounding of float32 sums
            return point, new, found
        length /= 2
    return None


def _conjugate(product: Callable[[Tensor], Tensor], gradient: Tensor, factor: Tensor, reduction: float, limit: int) -> tuple[Tensor, int]:
    """Solve `H step = -gradient` until the residual has fallen to `reduction`; the step and the products made."""
    step, residual = torch.zeros_like(gradient), -gradient
    direction = towards = torch.cholesky_solve(residual[..., None], factor)[..., 0]
    dot, goal = float((residual * towards).sum()), reduction * float(residual.norm())
    for done in range(1, limit + 1):
        image = product(direction)
        bend = float((direction * image).sum())
        if not bend > 0:
            break
        step, residual = step + dot / bend * direction, residual - dot / bend * image
        if float(residual.norm()) <= goal or done >= 500:
            break
        towards = torch.cholesky_solve(residual[..., None], factor)[..., 0]
        dot, last = float((residual * towards).sum()), dot
        direction = towards + dot / last * direction
    return step, done
