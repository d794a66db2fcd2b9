"""Plain descent on the cross-entropy of the retained data, which several methods share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unspan.training.context import Outcome, Work
from unspan.training.loop import Pass, Training, train
from unspan.training.samples import Minibatch, Samples

Penalty = Callable[[int], Tensor]


def retained(
    work: Work, settings: Training, epoch: int, loss: Callable[[Minibatch], Tensor] | None = None
) -> Pass:
    """One pass over the retained data in the order of its epoch."""
    return over(
        work,
        work.samples("retain"),
        settings.batch,
        ("retain", epoch),
        loss or (lambda batch: own_loss(work, batch)),
    )


def over(
    work: Work,
    samples: Samples,
    batch: int,
    order: Sequence[Any],
    loss: Callable[[Minibatch], Tensor],
) -> Pass:
    """One pass over samples in a random order named by `order`."""
    return Pass(
        samples.shuffled(batch, work.stream("order", *order)), loss, -(-len(samples) // batch)
    )


def own_loss(work: Work, batch: Minibatch) -> Tensor:
    """Cross-entropy of the model on a minibatch."""
    scores = work.scores(work.model, batch)
    return cross_entropy(scores, batch.y.to(scores.device))


def descend(
    work: Work,
    settings: Training,
    name: str,
    penalty: Penalty | None = None,
    after_step: Callable[[], None] | None = None,
    parameters: Sequence[nn.Parameter] | None = None,
) -> Outcome:
    """Train on the retained data; `penalty(epoch)` is added to every loss."""

    def plan(epoch: int) -> list[Pass]:
        extra = None if penalty is None else (lambda batch: own_loss(work, batch) + penalty(epoch))
        return [retained(work, settings, epoch, extra)]

    history = train(work, settings, plan, after_step=after_step, parameters=parameters, name=name)
    return Outcome({"samples": len(work.samples("retain")), "history": history})
