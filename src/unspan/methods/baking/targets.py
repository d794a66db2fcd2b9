"""Which class each forget sample learns to look like, and in which order samples come."""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.errors import UsageError
from unspan.extraction import eval_mode
from unspan.training.context import TrainingContext
from unspan.training.samples import Samples


def target_classes(context: TrainingContext, samples: Samples) -> Tensor:
    """The class that each sample is trained on, `[n]`.

    A retained sample keeps its label. A forget sample gets the most likely class that has retained
    samples and is not its own.

    Raises:
        UsageError: no class is left.
    """
    labels = samples.y.clone()
    absent = torch.ones(context.classes, dtype=torch.bool)
    absent[samples.y[~samples.forget]] = False
    with eval_mode(context.model):
        for batch in samples.minibatches(256, order=samples.forget.nonzero()[:, 0]):
            scores = context.scores(context.model, batch).cpu().masked_fill(absent, -torch.inf)
            best = scores.scatter(1, batch.y[:, None], -torch.inf).max(1)
            if bool(best.values.isneginf().any()):
                raise UsageError(
                    "bake gives each forget sample a retained class that is not its own; there is"
                    " none left."
                )
            labels[batch.index] = best.indices
    return labels


def shuffled_repeats(index: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """`count` positions of `index`, all of them in a random order before any comes again."""
    rounds = -(-count // len(index))
    orders = [torch.randperm(len(index), generator=stream) for _ in range(rounds)]
    return index[torch.cat(orders)][:count]
