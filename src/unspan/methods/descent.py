"""Plain descent on the cross-entropy of the retained data, which several methods share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import Pass, train
from unspan.training.samples import Minibatch, Samples
from unspan.training.settings import Training

Penalty = Callable[[int], Tensor]


def retained(
    context: TrainingContext,
    settings: Training,
    epoch: int,
    loss: Callable[[Minibatch], Tensor] | None = None,
) -> Pass:
    """One pass over the retained data in the order of its epoch."""
    return over(
        context,
        context.samples("retain"),
        settings.batch,
        ("retain", epoch),
        loss or (lambda batch: own_loss(context, batch)),
    )


def over(
    context: TrainingContext,
    samples: Samples,
    batch: int,
    order: Sequence[Any],
    loss: Callable[[Minibatch], Tensor],
) -> Pass:
    """One pass over samples in a random order named by `order`."""
    return Pass(
        samples.shuffled(batch, context.stream("order", *order)), loss, -(-len(samples) // batch)
    )


def own_loss(context: TrainingContext, batch: Minibatch) -> Tensor:
    """Cross-entropy of the model on a minibatch."""
    scores = context.scores(context.model, batch)
    return cross_entropy(scores, batch.y.to(scores.device))


def descend(
    context: TrainingContext,
    settings: Training,
    name: str,
    penalty: Penalty | None = None,
    after_step: Callable[[], None] | None = None,
    parameters: Sequence[nn.Parameter] | None = None,
) -> Outcome:
    """Train on the retained data; `penalty(epoch)` is added to every loss."""

    def plan(epoch: int) -> list[Pass]:
        extra = (
            None if penalty is None else (lambda batch: own_loss(context, batch) + penalty(epoch))
        )
        return [retained(context, settings, epoch, extra)]

    history = train(
        context, settings, plan, after_step=after_step, parameters=parameters, name=name
    )
    return Outcome(history=history)
