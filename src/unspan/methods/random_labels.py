"""RL (random labels): teach the forget samples wrong answers.

Idea: overwrite the association between sample and label by a random one.
Formula: `y' ~ uniform over classes other than y (and other than all forgotten classes)`. `min
CE(f(x), y')` on D_f, with `use_retain` also `CE(f(x), y)` on D_r in the same shuffled pass.
Needs: forget samples with labels; retain samples with `use_retain`. Cost: epochs over what it
reads.
Typical: SGD 0.013, 10 epochs (SalUn's README); Adam 1e-4, 3 epochs with the retained data
(bad-teaching's amnesiac variant).
Fails: without retained data the rest suffers; fixed labels are memorised as noise, labels redrawn
teach a flat answer.
Source: Golatkar et al., CVPR 2020; Graves et al., AAAI 2021; ESC lists it as forget-only, SalUn
replays D_r.
Deviates: the true label is never drawn; the releases draw it in 1 of C cases
(experiments/released).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import over
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import Pass, train
from unspan.training.samples import Minibatch
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class RandomLabels(TrainedMethod):
    """Settings of RL.

    Attributes:
        use_retain: replay the retained data.
        resample: when labels are drawn anew: `never`, each `epoch`, or each `batch`.
        training: of the loop.
    """

    use_retain: bool = False
    resample: Literal["never", "epoch", "batch"] = "never"
    training: Training = Training(lr=0.013, epochs=10, batchnorm="frozen")
    name: ClassVar[str] = "random-labels"
    paper: ClassVar[str] = "Golatkar et al., CVPR 2020; Graves et al., AAAI 2021"
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (0.013, 1e-3, 1e-4, 1e-5)}

    def __post_init__(self) -> None:
        if self.resample not in ("never", "epoch", "batch"):
            raise UsageError(f"resample={self.resample!r}: use never, epoch or batch.")

    @property
    def needs(self) -> frozenset[str]:
        """Retain data only when they are replayed."""
        return frozenset({"forget", "forget_labels"} | ({"retain"} if self.use_retain else set()))

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train on random labels."""
        history = train(context, self.training, self.plan(context), name=self.name)
        return Outcome(history=history)

    def draw(self, context: TrainingContext, y: Tensor, stream: torch.Generator) -> Tensor:
        """`[n]` wrong labels for forget samples with true labels y `[n]`."""
        return other_labels(y, context.classes, context.forgotten, stream)

    def plan(self, context: TrainingContext) -> Callable[[int], list[Pass]]:
        """The passes of an epoch; SalUn trains with the same ones."""
        samples = (
            context.samples("forget", "retain") if self.use_retain else context.samples("forget")
        )

        def plan(epoch: int) -> list[Pass]:
            stream = context.stream("labels", 0 if self.resample == "never" else epoch)
            targets = samples.y.clone()
            targets[samples.forget] = self.draw(context, samples.y[samples.forget], stream)

            def loss(batch: Minibatch) -> Tensor:
                y = targets[batch.index]
                if self.resample == "batch":
                    y = batch.y.clone()
                    y[batch.forget] = self.draw(context, batch.y[batch.forget], stream)
                scores = context.scores(context.model, batch)
                return cross_entropy(scores, y.to(scores.device))

            return [over(context, samples, self.training.batch, ("random labels", epoch), loss)]

        return plan


def other_labels(
    y: Tensor, classes: int, forgotten: tuple[int, ...], stream: torch.Generator
) -> Tensor:
    """`[n]` labels, uniform over the classes that are neither the sample's own nor forgotten.

    Args:
        y: `[n]` true labels.
        classes: C.
        forgotten: classes that are never drawn.
        stream: of randomness.

    Raises:
        UsageError: no class is left to draw from.
    """
    allowed = torch.ones(len(y), classes)
    allowed[:, list(forgotten)] = 0
    allowed.scatter_(1, y[:, None], 0)
    if bool((allowed.sum(1) == 0).any()):
        raise UsageError(
            "Random labels need a class that is neither the sample's own nor forgotten; there is"
            " none left."
        )
    return allowed.multinomial(1, generator=stream)[:, 0]
