"""Multinomial logistic regression as an optimisation problem: objective, gradient, Hessian
products, preconditioner.

Symbols: n samples, d features, K classes, x standardised features with a trailing 1, theta `[K, d +
1]` weights. The objective is scikit-learn's, `sum(loss) + |W|^2 / 2C` with a free bias, divided by
the sum of sample weights. Standardisation is folded into the weights and features are read in
slices, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.metrics.probes import CHUNK


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

    def evaluate(
        self, theta: Tensor, penalty: float, dtype: torch.dtype, chances: Tensor | None = None
    ) -> tuple[float, Tensor]:
        """Objective and its gradient `[K, d + 1]`: products in `dtype`, sums over slices in
        float64.

        `chances [K, n]`, when given, is filled with the class probabilities.
        """
        weight, bias = (part.to(dtype) for part in self.plain(theta))
        loss = 0.0

        def residual(rows: slice, x: Tensor) -> Tensor:
            nonlocal loss
            y = self.labels[rows].clamp_min(0)[None]
            w = self.weights[rows].to(dtype)
            scores = torch.addmm(
                bias[:, None], weight, x.mT
            )  # [K, rows]: reductions over K run along memory
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
        return (
            loss / float(self.weights.sum()) + penalty / 2 * float(theta[:, :-1].square().sum()),
            gradient,
        )

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
        return torch.cat(
            [(slope - mass[:, None] * self.mean) / self.scale, mass[:, None]], 1
        ) / float(self.weights.sum())

    def factor_worth(self, count: int) -> float:
        """Products with the Hessian that take about as long as `factor` with so many rows.

        Its own products are denser, so that a number in them costs a quarter.
        """
        dim = self.features.shape[1]
        return count * dim * self._blocks(False) / (8 * len(self.labels) * self.classes)

    def _blocks(self, shared: bool) -> int:
        """One block for all classes, or one a class where they take less memory than features."""
        size = 2 * self.classes * (self.features.shape[1] + 1) ** 2
        return 1 if shared or size > self.features.numel() else self.classes

    def factor(
        self, chances: Tensor, penalty: float, count: int, seed: int, shared: bool
    ) -> Tensor:
        """Cholesky factors `[K or 1, d + 1, d + 1]` of the Hessian's class blocks where `chances`
        were found.

        Estimated from `count` rows, drawn in proportion to how undecided they are (near separation
        few others bend the objective). One block for all classes if `shared`, or where K of them
        would take more memory than the features.
        """
        doubt = self.weights * (1 - chances.square().sum(0)).clamp_min(0)
        odds = 0.9 * doubt / doubt.sum().clamp_min(1e-300) + 0.1 * self.weights / self.weights.sum()
        rows = (
            odds.multinomial(count, replacement=True, generator=torch.Generator().manual_seed(seed))
            .sort()
            .values
        )
        x = ((self.features[rows].double() - self.mean) / self.scale).float()
        x = torch.cat([x, x.new_ones(len(x), 1)], 1)
        worth = self.weights[rows] / (odds[rows] * count * self.weights.sum())
        spread = (chances[:, rows] * (1 - chances[:, rows]) * worth).float()
        if self._blocks(shared) == 1:
            spread = spread.mean(0, keepdim=True)
        blocks = torch.stack([(x * q[:, None]).mT @ x for q in spread]).double()
        diagonal = blocks.diagonal(dim1=1, dim2=2)
        diagonal += 1e-5 * diagonal.mean(1, keepdim=True) + penalty + 1e-12
        return torch.linalg.cholesky(blocks)
