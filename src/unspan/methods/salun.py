"""SalUn: random labels, but only for the weights that matter to the forget samples.

Idea: weights on which the forget loss depends most are salient; train only those.
Formula: `m = 1[|sum over D_f of grad CE| among the largest share rho of all weights]`. `theta =
theta_0 + m (theta - theta_0)`, trained with random labels on D_f and true ones on D_r.
Needs: forget and retain samples with labels. Cost: one backward pass over D_f and epochs over both.
Typical: rho 0.5, SGD 0.013, 10 epochs (random 10 % of CIFAR-10, ResNet-18).
Fails: results hinge on the step size (many open reports of numbers that do not reproduce).
Source: Fan et al., "SalUn", ICLR 2024; OPTML Unlearn-Saliency.
Deviates: weights outside the mask are bit for bit the original's after every step. The release
masked gradients only, so weight decay and momentum moved them. Exactly the share rho is trained,
also where gradients are equal. BatchNorm statistics are not weights and follow
`training.batchnorm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unspan.errors import UsageError
from unspan.extraction import eval_mode
from unspan.methods.base import TrainedMethod
from unspan.methods.random_labels import RandomLabels
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import train
from unspan.training.samples import Samples
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class SalUn(TrainedMethod):
    """Settings of SalUn.

    Attributes:
        rho: share of the weights that is trained, in (0, 1].
        training: of the loop.
    """

    rho: float = 0.5
    training: Training = Training(lr=0.013, epochs=10)
    name: ClassVar[str] = "salun"
    paper: ClassVar[str] = "Fan et al., SalUn, ICLR 2024"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (0.013, 0.003, 0.03), "rho": (0.5, 0.3)}
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "rho")

    def limits(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """A share of 1 trains every weight."""
        return {"rho": 1.0}

    def __post_init__(self) -> None:
        if not 0 < self.rho <= 1:
            raise UsageError(f"rho={self.rho}: use a share above 0 and at most 1, for example 0.5.")

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Find the mask, then train under it."""
        chosen = [one for one in context.model.parameters() if one.requires_grad]
        masks = saliency(context, context.samples("forget"), chosen, self.rho, self.training.batch)
        start = [one.detach().clone() for one in chosen]

        def hold() -> None:
            with torch.no_grad():
                for one, mask, first in zip(chosen, masks, start, strict=True):
                    one.copy_(torch.where(mask, one, first))

        inner = RandomLabels(use_retain=True, training=self.training)
        history = train(
            context,
            self.training,
            inner.plan(context),
            parameters=chosen,
            after_step=hold,
            name=self.name,
        )
        kept = sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
        return Outcome({"share_trained": kept}, history=history)


def saliency(
    context: TrainingContext,
    forget: Samples,
    parameters: list[nn.Parameter],
    rho: float,
    batch: int,
) -> list[Tensor]:
    """Masks of the share `rho` of all weights with the largest gradient of the summed forget loss,
    in evaluation mode.
    """
    total = [torch.zeros_like(one) for one in parameters]
    with eval_mode(context.model), torch.enable_grad():
        for one in forget.minibatches(batch):
            scores = context.scores(context.model, one)
            grads = torch.autograd.grad(
                cross_entropy(scores, one.y.to(scores.device), reduction="sum"),
                parameters,
                allow_unused=True,
            )
            for sum_, grad in zip(total, grads, strict=True):
                if grad is not None:
                    sum_ += grad
    sizes = torch.cat([one.abs().flatten() for one in total])
    mask = torch.zeros(len(sizes), dtype=torch.bool, device=sizes.device)
    mask[sizes.topk(round(rho * len(sizes))).indices] = True
    return [
        part.view_as(one)
        for part, one in zip(mask.split([one.numel() for one in total]), total, strict=True)
    ]
