"""KR as published (A3): a fresh linear head trained for ten epochs of plain SGD. For comparison
with the literature.

ESC (CVPR 2025, arXiv 2504.02199) and its released `evaluation.py`: Xavier normal weight, zero bias,
cross-entropy, SGD with rate 1e-3 and neither momentum nor decay, batch 64, 10 epochs, true labels,
the whole training set. That does not converge where features are small, and erasing shrinks
features, so a low value says little: see `linear`.

Deviations: features are read once with evaluation transforms (the release augments and recomputes
them every epoch), and the head is trained apart from the model with a generator of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unspan.metrics.logistic import Problem
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import CHUNK, classes_of, share_reading
from unspan.metrics.score import Reading

RATE, BATCH, EPOCHS = 1e-3, 64, 10
NAME = "KR (published probe, not converged)"


def published_head(
    features: Tensor, labels: Tensor, classes: int, seed: int = 0, *, epochs: int = EPOCHS
) -> tuple[Tensor, Tensor]:
    """Weight `[K, d]` and bias `[K]` after the published training; labels must all be in 0 …
    K-1.
    """
    generator = torch.Generator().manual_seed(seed)
    dim = features.shape[1]
    head = torch.zeros(classes, dim + 1)
    head[:, :dim] = torch.randn(classes, dim, generator=generator) * (2 / (dim + classes)) ** 0.5
    one = torch.eye(classes)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH * BATCH):
            block = torch.cat([features[rows].float(), torch.ones(len(rows), 1)], 1)
            for x, y in zip(block.split(BATCH), one[labels[rows]].split(BATCH), strict=True):
                head.addmm_((torch.mm(x, head.mT).softmax(1) - y).mT, x, alpha=-RATE / len(x))
    return head[:, :dim].clone(), head[:, dim].clone()


def published_probe(fit: Outputs, test: Outputs, seed: int = 0) -> Reading:
    """KR: what the published probe reads of the forget test samples.

    `detail` holds the accuracies that tables print (percent: `D_f`, `D_r` on the fit rows, `D_ft`,
    `D_rt` on the test rows), HM and HM_t from them, and the gradient at the stop as a share of the
    gradient at zero weights.

    Args:
        fit: the whole training set, forget samples included; unlabelled rows are left out.
        test: the test set.
        seed: of the head's first weights and of the order of samples.
    """
    classes = classes_of(fit, test)
    if (fit.labels < 0).any():
        fit = fit.rows(fit.labels >= 0)
    weight, bias = published_head(fit.features, fit.labels, classes, seed)
    hits = [
        torch.cat(
            [torch.addmm(bias, x.float(), weight.mT).argmax(1) for x in part.features.split(CHUNK)]
        )
        == part.labels
        for part in (fit, test)
    ]
    detail: dict[str, Any] = {}
    for hit, part, names in zip(
        hits, (fit, test), (("D_f", "D_r", "HM"), ("D_ft", "D_rt", "HM_t")), strict=True
    ):
        forget = _percent(hit, part.forget & (part.labels >= 0))
        retain = _percent(hit, ~part.forget & (part.labels >= 0))
        both = forget is not None and retain is not None
        detail |= {
            names[0]: forget,
            names[1]: retain,
            names[2]: harmonic_mean(forget or 0.0, retain or 0.0) if both else None,
        }
    return share_reading(
        NAME, hits[1], test, gradient=_gradient(fit, classes, weight, bias), epochs=EPOCHS, **detail
    )


def _gradient(fit: Outputs, classes: int, weight: Tensor, bias: Tensor) -> float:
    dim = weight.shape[1]
    plain = Problem(
        fit.features,
        fit.labels,
        torch.ones(len(fit), dtype=torch.float64),
        classes,
        torch.zeros(dim).double(),
        torch.ones(dim).double(),
    )
    theta = torch.cat([weight, bias[:, None]], 1).double()
    end, first = (
        float(plain.evaluate(point, 0.0, torch.float32)[1].norm())
        for point in (theta, torch.zeros_like(theta))
    )
    return end / max(first, 1e-300)


def _percent(hit: Tensor, rows: Tensor) -> float | None:
    return 100 * float(hit[rows].double().mean()) if rows.any() else None


def harmonic_mean(forget_accuracy: float, retain_accuracy: float) -> float:
    """HM of `100 - A(D_f)` and `A(D_r)`, all in percent; 0 when both are 0. Computed per run, then
    averaged.

    >>> round(harmonic_mean(98.42, 98.29), 2)  # Original, CIFAR-10, All-CNN: the paper prints 3.11
    3.11
    """
    erased = 100 - forget_accuracy
    total = erased + retain_accuracy
    return 2 * erased * retain_accuracy / total if total else 0.0


def recovery_rate(probe_accuracy: float, original_accuracy: float) -> float | None:
    """Percent of the original model's accuracy on the forget set that a probe gets back (the
    paper's figure 1).

    None when the original model had none. Above 100 the probe reads more than the model did.
    """
    return 100 * probe_accuracy / original_accuracy if original_accuracy else None
