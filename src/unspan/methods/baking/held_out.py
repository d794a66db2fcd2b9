"""Samples that are not trained on: what a training costs, before it is used."""

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
    """Samples of retained classes that are not trained on, and which of them the original names.

    Attributes:
        samples: where they are.
        index: `[m]` their positions.
        before: `[m]` bool, which the original names by their label.
        apart: positions among the samples of the method that must not be trained on.
        unused: held-out samples were given, and none of them is of a retained class.
    """

    samples: Samples
    index: Tensor
    before: Tensor
    apart: Tensor
    unused: bool = False

    @classmethod
    def drawn(cls, context: TrainingContext, samples: Samples) -> HeldOut:
        """Held-out samples of the request, at most 1,000 at random; without any, a tenth of the
        retained samples, which the original was trained on.

        Args:
            context: with the original and the data.
            samples: those of the method.
        """
        unused = context.parts.get("holdout") is not None
        if unused:
            given = context.samples("holdout")
            kept = ~torch.isin(given.y, torch.tensor(context.forgotten, dtype=given.y.dtype))
            index = _some(context, kept.nonzero()[:, 0], _MOST)
            if len(index):
                nothing = torch.zeros(0, dtype=torch.long)
                return cls(given, index, _named(context.model, given, index), nothing)
        retained = (~samples.forget).nonzero()[:, 0]
        index = _some(context, retained, min(_MOST, int(_SHARE * len(retained))))
        return cls(samples, index, _named(context.model, samples, index), index, unused)

    def lost(self, model: nn.Module) -> tuple[float, float]:
        """Points of accuracy that a model loses: as measured, and the near end of the 95 %
        interval.
        """
        after = _named(model, self.samples, self.index)
        lost = int((self.before & ~after).sum())
        gained = int((after & ~self.before).sum())
        n = len(self.index)
        return 100 * (lost - gained) / max(n, 1), 100 * paired_bounds(lost, gained, n)[0]


def _some(context: TrainingContext, index: Tensor, count: int) -> Tensor:
    """At most `count` of the positions, at random, in order."""
    drawn = torch.randperm(len(index), generator=context.stream("held out"))[:count]
    return index[drawn].sort().values


def _named(model: nn.Module, samples: Samples, index: Tensor) -> Tensor:
    """Which samples a model names by their label, `[m]` bool."""
    hits = [torch.zeros(0, dtype=torch.bool)]
    with eval_mode(model):
        for batch in samples.minibatches(256, order=index):
            hits.append(class_scores(model, batch.x).argmax(1).cpu() == batch.y)
    return torch.cat(hits)
