"""SSD as released: the gradient of a mean over a batch is squared, so alpha depends on its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.extraction import eval_mode
from unspan.methods import SSD
from unspan.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class ReleasedSSD(SSD):
    """Settings of SSD; here `batch` does change the result."""

    name: ClassVar[str] = "ssd-released"

    def importance(self, context: TrainingContext, part: str) -> dict[str, Tensor]:
        weights = {name: one for name, one in context.model.named_parameters() if one.requires_grad}
        total = {name: torch.zeros_like(one) for name, one in weights.items()}
        batches = 0
        with eval_mode(context.model):
            for batch in context.samples(part).minibatches(self.batch):
                with torch.enable_grad():
                    scores = context.scores(context.model, batch)
                    loss = cross_entropy(scores, batch.y.to(scores.device))
                    slopes = torch.autograd.grad(loss, list(weights.values()))
                for name, slope in zip(weights, slopes, strict=True):
                    total[name] += slope.square()
                batches += 1
        return {name: sum_ / batches for name, sum_ in total.items()}
