"""KR-converged (A4): what a linear probe reads when it is trained until it no longer moves.

The published probe stops long before; see `retention`. Here: multinomial logistic regression on
standardised features, strength of the penalty chosen on a tenth of the fit data, gradient norm at
the end reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unspan.erasers.linalg import one_thread
from unspan.errors import UsageError
from unspan.metrics import newton, quasi_newton
from unspan.metrics.logistic import Problem
from unspan.metrics.minimum import Minimum
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import (
    CHUNK,
    classes_of,
    moments,
    names_forgotten,
    share_reading,
    shuffled,
)
from unspan.metrics.score import Reading, auc_reading

PENALTIES = (0.01, 1.0, 100.0)
TOLERANCE = 1e-6
CONVERGED = 1e-4  # a gradient above this share of the first is reported as NOT CONVERGED
_CHOICE = 1e-4  # tolerance of the fits that only choose C
# numbers in features that gain little from threads; on one, C is chosen alike on every machine
_SMALL = 2**23
_WIDE = 1024  # features from which L-BFGS is faster, with fewer rows than `_ROWS` a feature
_ROWS = 4


@dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """A fitted linear probe on raw features.

    Attributes:
        weight: `[K, d]` float64.
        bias: `[K]` float64.
        c: inverse penalty, as in scikit-learn.
        objective: mean loss plus penalty.
        gradient: norm of the gradient at the end, as a share of the norm at zero weights.
        iterations: Hessian products of the last fit, each about the work of one gradient.
        losses: validation log loss of each C tried, in nats; empty when there was one C.
        theta: `[K, d + 1]` weights on standardised features, to start another fit from.
    """

    weight: Tensor
    bias: Tensor
    c: float
    objective: float
    gradient: float
    iterations: int
    losses: dict[float, float]
    theta: Tensor

    @property
    def converged(self) -> bool:
        """Whether the gradient fell to 1e-4 of what it was."""
        return self.gradient <= CONVERGED

    def scores(self, features: Tensor) -> Tensor:
        """Class scores `[n, K]`, float64."""
        return torch.cat(
            [torch.addmm(self.bias, x.double(), self.weight.mT) for x in features.split(CHUNK)]
        )

    def predict(self, features: Tensor) -> Tensor:
        """Labels `[n]`."""
        return self.scores(features).argmax(1)

    def detail(self) -> dict[str, Any]:
        """Settings and convergence for a report."""
        return {
            "C": self.c,
            "validation log loss": {str(c): loss for c, loss in self.losses.items()},
            "iterations": self.iterations,
            "gradient": self.gradient,
            "converged": self.converged,
        }


def fit_linear(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    c: Sequence[float] = PENALTIES,
    seed: int = 0,
    validation: Tensor | None = None,
    weights: Tensor | None = None,
    tolerance: float = TOLERANCE,
    limit: int = 2000,
    start: Tensor | None = None,
) -> LinearProbe:
    """Multinomial logistic regression, run to convergence, with C chosen by validation log loss.

    Memory beyond the features: `[K, n]` float32 and the preconditioner, at most as large as the
    features.

    Args:
        features: `[n, d]` float32; only read.
        labels: `[n]` in 0 … K-1; rows with a negative label are left out.
        classes: K, at least 2.
        c: inverse penalties to choose from, `sum(loss) + |W|^2 / 2C` on standardised features.
        seed: of the validation rows and of the rows that precondition.
        validation: `[n]` bool, the rows on which C is chosen; None takes a tenth by the seed.
        weights: `[n]` sample weights, None for 1.
        tolerance: gradient norm at the end, as a share of the norm at zero weights.
        limit: Hessian products after which a fit stops.
        start: `theta` of another probe to start from.

    Raises:
        UsageError: fewer than two classes, or no C.
        DataError: the features are not finite.
    """
    if classes < 2 or not c:
        raise UsageError(
            f"A linear probe needs two classes or more and at least one C; got {classes} classes,"
            f" C={tuple(c)}."
        )
    with one_thread() if features.numel() <= _SMALL else nullcontext():
        return _fitted(
            features, labels, classes, c, seed, validation, weights, tolerance, limit, start
        )


def _fitted(
    features: Tensor,
    labels: Tensor,
    classes: int,
    c: Sequence[float],
    seed: int,
    validation: Tensor | None,
    weights: Tensor | None,
    tolerance: float,
    limit: int,
    start: Tensor | None,
) -> LinearProbe:
    """As `fit_linear`, whose arguments these are."""
    used = (labels >= 0).double() if weights is None else weights.double() * (labels >= 0)
    if validation is None:
        validation = torch.zeros(len(labels), dtype=torch.bool)
        validation[shuffled(len(labels), seed)[: len(labels) // 10]] = True
    mean, scale = moments(features, used)
    whole = Problem(features, labels, used, classes, mean, scale)
    best = float(c[0])
    losses: dict[float, float] = {}
    if len(c) > 1:
        part, held = (
            Problem(features, labels, used * mask, classes, mean, scale)
            for mask in (~validation, validation)
        )
        losses, found = _validated(part, held, c, seed=seed, limit=limit, start=start)
        best = min(losses, key=losses.__getitem__)
        start = found[best]
    end = _minimise(whole, best, seed=seed, tolerance=tolerance, limit=limit, start=start)
    return _probe(whole, end, best, losses)


def _minimise(
    problem: Problem,
    c: float,
    *,
    seed: int,
    tolerance: float,
    limit: int,
    start: Tensor | None,
) -> Minimum:
    """By the method that is faster for this shape (`benchmarks/linear.py`); both end in the same
    place.
    """
    rows, features = problem.features.shape
    if features >= _WIDE and rows <= _ROWS * features:
        return quasi_newton.minimise(problem, c, tolerance=tolerance, limit=limit, start=start)
    return newton.minimise(problem, c, seed=seed, tolerance=tolerance, limit=limit, start=start)


def _probe(problem: Problem, end: Minimum, c: float, losses: dict[float, float]) -> LinearProbe:
    weight, bias = problem.plain(end.theta)
    return LinearProbe(
        weight=weight,
        bias=bias,
        c=c,
        objective=end.objective,
        gradient=end.gradient,
        iterations=end.iterations,
        losses=losses,
        theta=end.theta,
    )


def _validated(
    part: Problem,
    held: Problem,
    c: Sequence[float],
    *,
    seed: int,
    limit: int,
    start: Tensor | None,
) -> tuple[dict[float, float], dict[float, Tensor]]:
    """Log loss on held rows of a fit with each C, and the weights of each fit."""
    losses: dict[float, float] = {}
    found: dict[float, Tensor] = {}
    theta = start
    for one in sorted(map(float, c)):
        end = _minimise(part, one, seed=seed, tolerance=_CHOICE, limit=limit, start=theta)
        theta = end.theta
        found[one] = theta
        losses[one] = held.evaluate(theta, 0.0, torch.float32)[0]
    return losses, found


def linear_probe(fit: Outputs, test: Outputs, seed: int = 0, *, check: bool = False) -> Reading:
    """What a converged linear probe, trained with the true labels of all fit rows, reads of the
    forgotten samples.

    Args:
        fit: rows the probe is trained on.
        test: rows it is judged on.
        seed: of the validation rows.
        check: also run for twice the iterations; `detail["moved"]` is the largest change of an
            accuracy.
    """
    classes = classes_of(fit, test)
    probe = fit_linear(fit.features, fit.labels, classes, seed=seed)
    read = probe.predict(test.features)
    hit = read == test.labels
    detail = probe.detail()
    if check:
        longer = fit_linear(
            fit.features,
            fit.labels,
            classes,
            c=(probe.c,),
            seed=seed,
            tolerance=0.0,
            limit=max(probe.iterations, 1),
            start=probe.theta,
        )
        moved = (longer.predict(test.features) == test.labels).double() - hit.double()
        detail["moved"] = max(
            abs(float(moved[rows].mean())) for rows in (test.forget, ~test.forget) if rows.any()
        )
    named = names_forgotten(read, test)
    return share_reading("linear probe (converged)", hit, test, named, **detail)


def linear_auc(fit: Outputs, test: Outputs, seed: int = 0) -> Reading:
    """How well a converged linear score separates forgotten from retained test samples; labels are
    not used.
    """
    probe = fit_linear(fit.features, fit.forget.long(), 2, seed=seed)
    score = probe.scores(test.features) @ torch.tensor([-1.0, 1.0], dtype=torch.float64)
    return auc_reading(
        "linear probe, forget against rest",
        score[test.forget],
        score[~test.forget],
        **probe.detail(),
    )
