"""Retained samples that are not trained on: what a training costs, before it is used."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unspan.extraction import eval_mode
from unspan.metrics.paired import paired_bounds
from unspan.training.context import TrainingContext, class_scores
from unspan.training.samples import Samples

_SHARE = 0.1  # of the retained samples
_MOST = 1000


@dataclass(frozen=True)
class HeldOut:
    """Retained samples that are kept apart, and which of them the original names.

    Attributes:
        samples: all samples of the method.
        index: `[m]` positions of those kept apart.
        before: `[m]` bool, which the original names by their label.
    """

    samples: Samples
    index: Tensor
    before: Tensor

    @classmethod
    def drawn(cls, context: TrainingContext, samples: Samples) -> HeldOut:
        """A tenth of the retained samples at random, at most 1,000, asked of the original."""
        retained = (~samples.forget).nonzero()[:, 0]
        count = min(_MOST, int(_SHARE * len(retained)))
        drawn = torch.randperm(len(retained), generator=context.stream("held out"))[:count]
        index = retained[drawn].sort().values
        return cls(samples, index, _named(context.model, samples, index))

    def lost(self, model: nn.Module) -> tuple[float, float]:
        """Points of accuracy that a model loses: as measured, and the near end of the 95 %
        interval.
        """
        after = _named(model, self.samples, self.index)
        lost = int((self.before & ~after).sum())
        gained = int((after & ~self.before).sum())
        n = len(self.index)
        return 100 * (lost - gained) / max(n, 1), 100 * paired_bounds(lost, gained, n)[0]


def _named(model: nn.Module, samples: Samples, index: Tensor) -> Tensor:
    """Which samples a model names by their label, `[m]` bool."""
    hits = [torch.zeros(0, dtype=torch.bool)]
    with eval_mode(model):
        for batch in samples.minibatches(256, order=index):
            hits.append(class_scores(model, batch.x).argmax(1).cpu() == batch.y)
    return torch.cat(hits)
