"""LFSSD (label-free SSD): shrink the weights on which the size of the outputs depends more for the
forget samples.

Idea: as ssd, with the size of the output in place of the loss, which needs no labels.
Formula: `F_S = E_{x in S} |d |f(x)|^2 / d theta|`, f the class scores. Where `F_{D_f} > alpha F_D`:
`theta <- min(lambda F_D / F_{D_f}, 1) theta`. D holds both the forget and the retained samples.
Needs: forget and retain samples; no labels. Cost: a gradient of every sample, once; no training.
Typical: chosen on validation data. Here alpha 2, near the root of that of ssd: sizes differ less
than their squares.
Fails: as ssd, and alpha is bounded as there.
Source: Foster et al., "Loss-free machine unlearning", 2024 (arXiv 2402.19308).
Deviates: absolute values are of the gradients of single samples, so no batch size enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan.methods.sample_gradients import mean_size
from unspan.methods.ssd import SSD
from unspan.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class LFSSD(SSD):
    """Settings of LFSSD, which are those of SSD with another default.

    Attributes:
        alpha: how many times more a weight must matter to the forget samples to be damped.
    """

    alpha: float = 2.0
    name: ClassVar[str] = "lfssd"
    paper: ClassVar[str] = "Foster et al., Loss-Free Machine Unlearning, 2024, arXiv 2402.19308"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "alpha": (2.0, 1.5, 3.0, 5.0),
        "dampening": (1.0, 0.1),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    labelled: ClassVar[bool] = False

    def importance(self, context: TrainingContext, part: str) -> dict[str, Tensor]:
        """How much the size of the output depends on each weight, by name, float32."""
        return mean_size(context, part, _energy, torch.abs, self.batch)


def _energy(scores: Tensor, y: Tensor) -> Tensor:
    return scores.square().sum()
