"""Linear probe run to convergence: multinomial logistic regression, L-BFGS in coordinates where the problem is round.

Symbols: n samples, d features, C classes. The objective is scikit-learn's, `c * sum(loss) + |W|² / 2` on standardised features
with a free bias. Standardisation is folded into the weights, so features are read in slices and never copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from unspan.errors import DataError
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading, auc_reading

_SLICE = 4096  # rows of a product: features and scores of a slice stay in the cache
_CONVERGED = 1e-4  # gradient norm as a share of that at 0
_GRID = (0.01, 1.0, 100.0)


@dataclass(frozen=True)
class Linear:
    """A fitted probe on raw features.

    Attributes:
        weight: `[C, d]` float64.
        bias: `[C]`.
        c: inverse penalty, chosen on a validation part.
        gradient: norm of the gradient at the end, as a share of that at 0.
        iterations: of L-BFGS in the last fit.
        objective: mean loss plus penalty, in nats.
    """

    weight: Tensor
    bias: Tensor
    c: float
    gradient: float
    iterations: int
    objective: float

    def scores(self, features: Tensor) -> Tensor:
        """`[n, C]` float32."""
        weight, bias = self.weight.float(), self.bias.float()
        return torch.cat([torch.addmm(bias, x, weight.mT) for x in features.split(_SLICE)])

    def detail(self) -> dict[str, Any]:
        """What shows that it converged."""
        return {"c": self.c, "iterations": self.iterations, "gradient_share": self.gradient, "converged": self.gradient <= _CONVERGED}


def fit_linear(features: Tensor, labels: Tensor, classes: int, *, c: Sequence[float] = _GRID, seed: int = 0, tolerance: float = 1e-5, limit: int = 1000) -> Linear:
    """Fit to convergence; with several `c`, a tenth of the rows chooses by log loss, then all rows are used.

    Args:
        features: `[n, d]` float32, only read.
        labels: `[n]` in 0 … C-1.
        classes: C.
        c: inverse penalties to try.
        seed: of the validation rows.
        tolerance: stop when the gradient norm is this share of that at 0.
        limit: most iterations.

    Raises:
        DataError: fewer than two classes, or a loss that is not finite.
    """
    if len(labels) == 0 or int(labels.min()) == int(labels.max()):
        raise DataError("A linear probe needs samples of at least two classes.")
    problem = _Problem(features, labels, classes)
    theta, choice = None, c[0]
    if len(c) > 1:
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        held, kept = order[: max(1, len(order) // 10)].sort().values, order[max(1, len(order) // 10) :].sort().values
        part, best = _Problem(features[kept], labels[kept], classes), np.inf
        start = None
        for one in sorted(c):
            start, *_ = part.minimise(one, max(tolerance, 1e-4), limit, start)
            weight, bias = part.plain(start)
            loss = float(torch.nn.functional.cross_entropy(features[held] @ weight.float().mT + bias.float(), labels[held]))
            if loss < best:
                best, choice, theta = loss, one, start
        del part
    theta, gradient, iterations, objective = problem.minimise(choice, tolerance, limit, theta)
    weight, bias = problem.plain(theta)
    return Linear(weight, bias, choice, gradient, iterations, objective)


class _Problem:
    """One data set: standardisation, and coordinates in which the Hessian at 0 is the identity."""

    def __init__(self, features: Tensor, labels: Tensor, classes: int):
        self.features, self.labels, self.classes = features, labels, classes
        n, d = features.shape
        total, second = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64)
        centre = features[:_SLICE].double().mean(0)
        for x in features.split(_SLICE):
            x = x.double() - centre
            total += x.sum(0)
            second.addmm_(x.mT, x)
        shift = total / n
        self.mean = centre + shift
        covariance = second / n - shift[:, None] * shift
        self.scale = covariance.diagonal().clamp_min(0).sqrt()
        self.scale = self.scale.where(self.scale > 1e-7 * self.mean.abs().clamp_min(1e-30), torch.ones_like(self.scale))
        self.correlation = covariance / self.scale[:, None] / self.scale

    def plain(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias on raw features, of `[C, d + 1]` on standardised ones."""
        weight = theta[:, :-1] / self.scale
        return weight, theta[:, -1] - weight @ self.mean

    def evaluate(self, theta: Tensor, penalty: float) -> tuple[float, Tensor]:
        """Mean loss plus penalty, and its gradient; products in float32, sums over slices in float64."""
        weight, bias = (part.float() for part in self.plain(theta))
        slope, mass, loss = torch.zeros(self.classes, self.features.shape[1], dtype=torch.float64), torch.zeros(self.classes, dtype=torch.float64), 0.0
        n = len(self.labels)
        for x, y in zip(self.features.split(_SLICE), self.labels.split(_SLICE), strict=True):
            scores = torch.addmm(bias[:, None], weight, x.mT)  # [C, rows]: reductions over classes run along memory
            scores -= scores.amax(0)
            own = scores.gather(0, y[None])[0]
            total = scores.exp_().sum(0)
            loss += float((total.log() - own).sum(dtype=torch.float64))
            scores /= total
            scores.scatter_add_(0, y[None], -torch.ones_like(own)[None])
            slope += scores @ x
            mass += scores.sum(1, dtype=torch.float64)
        gradient = torch.cat([(slope - mass[:, None] * self.mean) / self.scale, mass[:, None]], 1) / n
        gradient[:, :-1] += penalty * theta[:, :-1]
        return loss / n + penalty / 2 * float(theta[:, :-1].square().sum()), gradient

    def minimise(self, c: float, tolerance: float, limit: int, start: Tensor | None) -> tuple[Tensor, float, int, float]:
        """Theta, gradient share, iterations, objective."""
        penalty = 1 / (c * len(self.labels))
        curvature = self.correlation / self.classes + (penalty + 1e-7) * torch.eye(len(self.correlation), dtype=torch.float64)
        factor = torch.linalg.cholesky(curvature)  # theta = v L^-1, so that the Hessian in v is near the identity
        bias_scale = self.classes**0.5

        def theta_of(v: Tensor) -> Tensor:
            inner = torch.linalg.solve_triangular(factor.mT, v[:, :-1].mT, upper=True).mT
            return torch.cat([inner, v[:, -1:] * bias_scale], 1)

        def round_of(gradient: Tensor) -> Tensor:
            inner = torch.linalg.solve_triangular(factor, gradient[:, :-1].mT, upper=False).mT
            return torch.cat([inner, gradient[:, -1:] * bias_scale], 1)

        shape = (self.classes, self.features.shape[1] + 1)
        _, zero = self.evaluate(torch.zeros(shape, dtype=torch.float64), penalty)
        first = float(zero.norm())
        seen: dict[str, Any] = {"share": np.inf}

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            theta = theta_of(torch.from_numpy(flat.copy()).view(shape))
            value, gradient = self.evaluate(theta, penalty)
            if not np.isfinite(value):
                raise DataError("The linear probe's loss is not finite; features are too large or NaN.")
            share = float(gradient.norm()) / max(first, 1e-300)
            if share < seen["share"]:
                seen.update(share=share, theta=theta, value=value)
            if share <= tolerance:
                raise StopIteration
            seen["evaluations"] = seen.get("evaluations", 0) + 1
            return value, round_of(gradient).flatten().numpy()

        v = torch.zeros(shape, dtype=torch.float64) if start is None else torch.cat([start[:, :-1] @ factor, start[:, -1:] / bias_scale], 1)
        try:
            minimize(objective, v.flatten().numpy(), jac=True, method="L-BFGS-B", options={"maxiter": limit, "maxfun": limit, "maxcor": 20, "ftol": 0.0, "gtol": 0.0})
        except StopIteration:
            pass
        return seen["theta"], seen["share"], seen.get("evaluations", 0), seen["value"]


def linear_probe(fit: Outputs, test: Outputs, seed: int = 0) -> Reading:
    """What a linear classifier of all classes, trained to convergence on labelled features, reads of the forgotten samples.

    Args:
        fit: labelled outputs the attacker has, forgotten classes included.
        test: outputs he is judged on.
        seed: of the validation rows.
    """
    known = fit.labels >= 0
    features, labels = (fit.features, fit.labels) if bool(known.all()) else (fit.features[known], fit.labels[known])
    probe = fit_linear(features, labels, fit.classes(), seed=seed)
    hit = (probe.scores(test.features).argmax(1) == test.labels).double()
    retain = float(hit[~test.forget].mean()) if bool((~test.forget).any()) else None
    return Reading(attack="converged linear probe", unit="share", forget=hit[test.forget], retain=retain, detail=probe.detail() | {"fit_rows": len(labels)})


def linear_auc(fit: Outputs, test: Outputs, seed: int = 0) -> Reading:
    """AUC of a converged linear probe that is asked only whether a sample is of the forgotten ones."""
    probe = fit_linear(fit.features, fit.forget.long(), 2, seed=seed)
    margin = probe.scores(test.features)
    margin = margin[:, 1] - margin[:, 0]
    return auc_reading("linear probe, one against the rest (AUC)", margin[test.forget], margin[~test.forget], **probe.detail())
