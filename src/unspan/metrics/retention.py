"""Knowledge Retention as published, from cached features, and the harmonic mean it is summed up by.

The probe is plain SGD with a small step for ten epochs and does not converge: features that an eraser made short
are learned too slowly, so a low value is no evidence that a linear attacker fails. Kept for comparison only.
Source: Lee et al., CVPR 2025, and their released evaluation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading, Score, share_interval

NAME = "KR (published probe, not converged)"


def published_probe(fit: Outputs, test: Outputs, seed: int = 0, *, lr: float = 1e-3, epochs: int = 10, batch: int = 64) -> tuple[Reading, list[Score]]:
    """Train a fresh head as published, and read it on all four splits.

    Weights start Xavier-normal, the bias at 0; cross-entropy on all fit rows, plain SGD, fresh order every epoch. The
    released code augments training images; cached features are those of evaluation transforms.

    Args:
        fit: all training samples, forgotten ones included, with labels.
        test: held-out samples.
        seed: of the start and the order; the global random state is not touched.
        lr: step.
        epochs: passes.
        batch: samples a step.

    Returns:
        The reading on forgotten test samples, and KR on forget and retain rows of both.
    """
    weight, bias, gradient = _descend(fit, seed, lr, epochs, batch)
    scores, hits = [], {}
    for split, part in (("train", fit), ("test", test)):
        right = torch.cat([torch.addmm(bias, x, weight.mT).argmax(1) == y for x, y in zip(part.features.split(8192), part.labels.split(8192), strict=True)])
        for kind, rows, better in (("forget", part.forget, "lower"), ("retain", ~part.forget, "higher")):
            hit = right[rows]
            hits[split, kind] = hit
            low, high = share_interval(float(hit.sum()), len(hit)) if len(hit) else (None, None)
            value = float(hit.double().mean()) if len(hit) else None
            scores.append(Score(name=NAME, value=value, low=low, high=high, better=better, split=f"{split} {kind}", n=len(hit), detail={"gradient_norm_at_stop": gradient}))  # type: ignore[arg-type]
    retain = float(hits["test", "retain"].double().mean()) if len(hits["test", "retain"]) else None
    return Reading(attack=NAME, unit="share", forget=hits["test", "forget"].double(), retain=retain, detail={"gradient_norm_at_stop": gradient}), scores


def _descend(fit: Outputs, seed: int, lr: float, epochs: int, batch: int) -> tuple[Tensor, Tensor, float]:
    """Weight `[C, d]`, bias `[C]`, and the norm of the full gradient at the end."""
    generator = torch.Generator().manual_seed(seed)
    classes, d = fit.classes(), fit.features.shape[1]
    weight = torch.randn(classes, d, generator=generator) * math.sqrt(2 / (classes + d))
    bias = torch.zeros(classes)
    for _ in range(epochs):
        for rows in torch.randperm(len(fit), generator=generator).split(batch):
            x = fit.features[rows]
            residual = torch.addmm(bias, x, weight.mT).softmax(1)
            residual[torch.arange(len(rows)), fit.labels[rows]] -= 1
            weight.addmm_(residual.mT, x, alpha=-lr / len(rows))
            bias.sub_(residual.sum(0), alpha=lr / len(rows))
    slope = torch.zeros_like(weight)
    for x, y in zip(fit.features.split(8192), fit.labels.split(8192), strict=True):
        residual = torch.addmm(bias, x, weight.mT).softmax(1)
        residual[torch.arange(len(y)), y] -= 1
        slope += residual.mT @ x
    return weight, bias, float(slope.norm()) / len(fit)


def harmonic_mean(forget_accuracy: float, retain_accuracy: float) -> float:
    """HM of forgetting and remaining accuracy, all in percent; 0 when both are at their worst.

    >>> round(harmonic_mean(8.9, 84.3), 2)
    87.57
    """
    gone = 100 - forget_accuracy
    return 0.0 if gone + retain_accuracy == 0 else 2 * gone * retain_accuracy / (gone + retain_accuracy)


def recovery_rate(probe_accuracy: float, original_accuracy: float) -> float:
    """Figure 1: what a probe reads of the forget samples over what the original model got right, in percent."""
    return 100 * probe_accuracy / original_accuracy
