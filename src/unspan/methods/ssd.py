"""SSD (selective synaptic dampening): shrink the weights that matter more to the forget samples.

Idea: compare how much each weight matters to the forget samples and to all data; damp those that
matter to the former out of proportion.
Formula: `F_S = E_{x in S} (d log p(y|x) / d theta)^2`. Where `F_{D_f} > alpha F_D`: `theta <-
min(lambda F_D / F_{D_f}, 1) theta`. D holds both the forget and the retained samples.
Needs: forget and retain samples with labels. Cost: a gradient of every sample, once; no training.
Typical: lambda 1. alpha 10 for a ResNet-18, 5 (a class) to 25 (a subclass) for a ViT. Faces: alpha
50, lambda 0.1.
Fails: D holds the forget samples, so `F_{D_f} / F_D` stays below `|D| / |D_f|`, which is 10 for one
class of ten. At an alpha above that nothing is damped, which is an error here. Choose alpha on
validation data.
Source: Foster, Schoepf, Brintrup, AAAI 2024 (arXiv 2308.07707).
Deviates: gradients are per sample, so no batch size enters. The release squares the gradient of the
mean over a batch, which is smaller the larger the batch; alpha belongs to that size
(experiments/released).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.errors import InconclusiveError, UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.sample_gradients import mean_size
from unspan.training.context import Outcome, TrainingContext


@dataclass(frozen=True, kw_only=True)
class SSD(TrainedMethod):
    """Settings of SSD.

    Attributes:
        alpha: how many times more a weight must matter to the forget samples to be damped.
        dampening: lambda; the smaller, the more is taken off.
        batch: most samples whose gradients are held at once; it does not change the result.
    """

    alpha: float = 5.0
    dampening: float = 1.0
    batch: int = 64
    name: ClassVar[str] = "ssd"
    paper: ClassVar[str] = "Foster et al., Selective Synaptic Dampening, AAAI 2024"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "alpha": (5.0, 2.0, 10.0, 25.0),
        "dampening": (1.0, 0.1),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    stronger_when_lower: ClassVar[tuple[str, ...]] = ("alpha", "dampening")

    def __post_init__(self) -> None:
        if not (self.alpha > 0 and 0 < self.dampening < math.inf and self.batch >= 1):
            raise UsageError(
                f"alpha={self.alpha}, dampening={self.dampening}, batch={self.batch}: all must be"
                " positive."
            )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Measure what matters to whom, then damp.

        Raises:
            InconclusiveError: no weight matters enough more to the forget samples.
        """
        forget, retain = (self.importance(context, part) for part in ("forget", "retain"))
        sizes = [len(context.samples(part)) for part in ("forget", "retain")]
        share = sizes[0] / sum(sizes)
        damped = total = 0
        with torch.no_grad():
            for name, weight in context.model.named_parameters():
                if name not in forget:
                    continue
                whole = share * forget[name] + (1 - share) * retain[name]
                factor, selected = damping(forget[name], whole, self.alpha, self.dampening)
                weight.copy_(torch.where(selected, (weight * factor).to(weight.dtype), weight))
                damped += int(selected.sum())
                total += selected.numel()
        if damped == 0:
            raise InconclusiveError(
                f"{self.name}: no weight was damped. None matters more than alpha={self.alpha:g}"
                f" times as much to the forget samples as to all data; at {share:.1%} of the data"
                f" {1 / share:.3g} times is the most there can be. Lower alpha."
            )
        return Outcome({"share_damped": damped / total})

    def importance(self, context: TrainingContext, part: str) -> dict[str, Tensor]:
        """How much each weight matters to the samples of a part, by name, float32."""
        return mean_size(context, part, _loss, torch.square, self.batch)


def damping(forget: Tensor, whole: Tensor, alpha: float, dampening: float) -> tuple[Tensor, Tensor]:
    """Factors of the weights in (0, 1], and which weights are selected (bool).

    Args:
        forget: importance to the forget samples.
        whole: importance to all samples, of the same shape.
        alpha: as in `SSD`.
        dampening: as in `SSD`.
    """
    selected = forget > alpha * whole
    factor = (dampening * whole / forget).clamp_max(1)
    return torch.where(selected, factor, torch.ones_like(factor)), selected


def _loss(scores: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(scores, y)
