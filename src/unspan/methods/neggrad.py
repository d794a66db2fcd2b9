"""NG (negative gradient): climb the loss of what must go.

Idea: undo learning by gradient ascent on the forget samples.
Formula: `min over theta of -CE(f(x), y)` over D_f.
Needs: forget samples with labels. Cost: a few epochs over the forget data.
Typical: SGD 1e-4, 5 epochs (Unlearn-Sparse GA); 1e-3 for one epoch elsewhere.
Fails: the loss has no ceiling, so everything collapses when it runs on; losses far above natural
ones mark the samples.
Source: Thudi et al., EuroS&P 2022 (ESC's NG); Golatkar et al., CVPR 2020.
Deviates: BatchNorm is frozen (statistics of one class would replace those of all). Training ends
once at most `training.stop_at` of the forget samples is recognised, and `ceiling` stops pushing
samples whose loss has reached it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import over
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import train
from unspan.training.samples import Minibatch
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class NegGrad(TrainedMethod):
    """Settings of NG.

    Attributes:
        ceiling: loss in nats beyond which a sample is left alone; None for no limit.
        training: of the loop.
    """

    ceiling: float | None = None
    training: Training = Training(lr=1e-4, epochs=5, batchnorm="frozen", stop_at=0.0)
    name: ClassVar[str] = "neggrad"
    paper: ClassVar[str] = "Thudi et al., EuroS&P 2022; Golatkar et al., CVPR 2020"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "lr": (1e-4, 3e-5, 3e-4, 1e-3),
        "ceiling": (None, 5.0),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if self.ceiling is not None and self.ceiling <= 0:
            raise UsageError(f"ceiling={self.ceiling}: use a positive number of nats, or None.")

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Ascend on the forget samples."""
        samples = context.samples("forget")

        def loss(batch: Minibatch) -> Tensor:
            scores = context.scores(context.model, batch)
            return ascent(scores, batch.y.to(scores.device), self.ceiling)

        history = train(
            context,
            self.training,
            lambda epoch: [over(context, samples, self.training.batch, ("forget", epoch), loss)],
            name="neggrad",
        )
        return Outcome(history=history)


def ascent(scores: Tensor, y: Tensor, ceiling: float | Tensor | None = None) -> Tensor:
    """`-CE`, the mean over samples; those at the ceiling, or at their own of several `[n]`, add a
    constant without gradient.
    """
    each = cross_entropy(scores, y, reduction="none")
    return -(each if ceiling is None else each.clamp_max(ceiling)).mean()
