"""A ridge-penalised logistic regression with two outcomes, by Newton's method: for attackers with
few inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from unspan.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """A fitted attacker; `fit(x)` are log-odds `[n]` of the first outcome.

    Attributes:
        centre: `[p]` mean of the fit data.
        scale: `[p]` standard deviation of the fit data, 1 where a column is constant.
        weight: `[p]` on standardised columns.
        bias: log-odds at the centre.
        gradient: norm of the objective's gradient at the end, as a share of that at zero weights.
        steps: Newton steps taken.
        converged: the gradient fell below the tolerance.
    """

    centre: Tensor
    scale: Tensor
    weight: Tensor
    bias: float
    gradient: float
    steps: int
    converged: bool

    def __call__(self, x: Tensor) -> Tensor:
        return (x.double() - self.centre) / self.scale @ self.weight + self.bias

    def detail(self) -> dict[str, Any]:
        """Convergence, for a report."""
        return {"converged": self.converged, "steps": self.steps, "gradient": self.gradient}


def fit_logistic(
    x: Tensor, hit: Tensor, *, ridge: float = 1e-4, tolerance: float = 1e-8, steps: int = 100
) -> Logistic:
    """Minimise `mean log-loss + ridge / 2 * |weight|²` on standardised columns; the bias is not
    penalised.

    Newton's method with halved steps in float64: cost O(n p²) a step, so meant for p up to a few
    thousand. A ridge above 0 keeps the optimum finite when the outcomes separate. scikit-learn's
    `C` is `1 / (n * ridge)`.

    Args:
        x: `[n, p]` inputs, finite.
        hit: `[n]` bool outcomes.
        ridge: strength.
        tolerance: stop when the gradient norm is below this share of that at zero weights.
        steps: most Newton steps.

    Raises:
        DataError: one outcome is missing, or an input is not finite.
    """
    x, y = x.double(), hit.double()
    if not 0 < int(hit.sum()) < len(hit):
        raise DataError(
            f"An attack needs both kinds of samples to fit on; of {len(hit)} samples"
            f" {int(hit.sum())} are of the first kind."
        )
    if not bool(x.isfinite().all()):
        raise DataError("An attack cannot be fitted: an input is NaN or infinite.")
    centre, scale = _columns(x)
    design = torch.cat([(x - centre) / scale, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    penalty = torch.full((design.shape[1],), ridge, dtype=torch.float64)
    penalty[-1] = 0
    theta = torch.zeros_like(penalty)
    loss, gradient = _slope(design, y, penalty, theta)
    start = float(gradient.norm())
    done = 0
    while float(gradient.norm()) > tolerance * start and done < steps:
        step = torch.linalg.solve(_curvature(design, penalty, theta), gradient)
        slope = float(gradient @ step)
        for shrink in range(40):
            trial = theta - step * 0.5**shrink
            new, fresh = _slope(design, y, penalty, trial)
            if new <= loss - 1e-4 * 0.5**shrink * slope + 1e-15:
                break
        theta = trial
        loss = new
        gradient = fresh
        done += 1
    share = float(gradient.norm()) / max(start, 1e-300)
    return Logistic(
        centre=centre,
        scale=scale,
        weight=theta[:-1],
        bias=float(theta[-1]),
        gradient=share,
        steps=done,
        converged=share <= tolerance,
    )


def _columns(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `[p]` of the columns; 1 where a column is constant."""
    centre = x.mean(0)
    scale = x.std(0, unbiased=False)
    return centre, torch.where(scale > 1e-12 * (1 + centre.abs()), scale, torch.ones_like(scale))


def _curvature(design: Tensor, penalty: Tensor, theta: Tensor) -> Tensor:
    """Hessian `[p, p]` of the objective."""
    p = torch.sigmoid(design @ theta)
    spread = (design * (p * (1 - p))[:, None]).mT @ design / len(design)
    return spread + torch.diag(penalty + 1e-12)


def _slope(design: Tensor, y: Tensor, penalty: Tensor, theta: Tensor) -> tuple[float, Tensor]:
    """Objective and gradient."""
    z = design @ theta
    loss = (softplus(z) - y * z).mean() + 0.5 * (penalty * theta.square()).sum()
    return float(loss), design.mT @ (torch.sigmoid(z) - y) / len(y) + penalty * theta
