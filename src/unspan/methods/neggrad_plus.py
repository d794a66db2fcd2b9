"""NegGrad+: descend on what stays and climb on what goes, in one step.

Idea: the retained data hold the network together while the forget loss is raised.
Formula: `alpha CE(D_r) - (1 - alpha) CE(D_f)`, a minibatch of each a step, one pass over D_r an
epoch.
Needs: forget and retain samples with labels. Cost: epochs over the retained data, both minibatches
forward.
Typical: alpha 0.95, SGD 0.01, 10 epochs.
Fails: alpha near 1 forgets nothing, lower values diverge; the balance moves as the forget loss
grows.
Source: Kurmanji et al., NeurIPS 2023 (their baseline).
Deviates: forget minibatches are drawn anew in every round (the release caches them through
itertools.cycle), and `ceiling` limits the ascent (None there).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import own_loss, retained
from unspan.methods.neggrad import ascent
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import Pass, train
from unspan.training.samples import Minibatch
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class NegGradPlus(TrainedMethod):
    """Settings of NegGrad+.

    Attributes:
        alpha: weight of the retained loss, in (0, 1).
        ceiling: loss in nats beyond which a forget sample is left alone; None for no limit.
        training: of the loop.
    """

    alpha: float = 0.95
    ceiling: float | None = None
    training: Training = Training(lr=0.01, epochs=10)
    name: ClassVar[str] = "neggrad-plus"
    paper: ClassVar[str] = "Kurmanji et al., SCRUB, NeurIPS 2023 (their baseline)"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "alpha": (0.95, 0.99, 0.999),
        "lr": (0.01, 0.001),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha={self.alpha}: use a number between 0 and 1, for example 0.95.")

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train on both losses."""
        history = train(context, self.training, self.plan(context), name="neggrad-plus")
        return Outcome(history=history)

    def plan(self, context: TrainingContext) -> Callable[[int], list[Pass]]:
        """The passes of an epoch."""
        forget = context.samples("forget")

        def plan(epoch: int) -> list[Pass]:
            others = forget.endless(
                max(1, self.training.batch // self.training.accumulate),
                context.stream("order", "forget", epoch),
            )

            def loss(batch: Minibatch) -> Tensor:
                other = next(others)
                scores = context.scores(context.model, other)
                return self.alpha * own_loss(context, batch) + (1 - self.alpha) * ascent(
                    scores, other.y.to(scores.device), self.ceiling
                )

            return [retained(context, self.training, epoch, loss)]

        return plan
