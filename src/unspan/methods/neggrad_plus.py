"""NegGrad+: descend on what stays and climb on what goes, in one step.

Idea: the retained data hold the network together while the forget loss is raised.
Formula: `alpha CE(D_r) - (1 - alpha) CE(D_f)`, a minibatch of each a step, one pass over D_r an
epoch.
Needs: forget and retain samples with labels. Cost: epochs over the retained data, both minibatches
forward.
Typical: alpha 0.95, SGD 0.01, 10 epochs.
Single samples: alpha 0.5, Adam 1e-3, batches of 64, 60 steps or one epoch at most. With held-out
samples every forget sample has a ceiling of its own, drawn from the losses of the original on those
of its class. So losses spread as unseen ones do, and do not stand out by being all alike. Training
ends once losses no longer tell the two apart. Else the ceiling is 0.7 nats: even odds.
Fails: alpha near 1 forgets nothing, lower values diverge; the balance moves as the forget loss
grows. One ceiling for all leaves losses that are too much alike. A drawn one forgets whether a
sample is easy or hard.
Source: Kurmanji et al., NeurIPS 2023 (their baseline).
Deviates: forget minibatches are drawn anew in every round (the release caches them through
itertools.cycle), and `ceiling` limits the ascent (None there). The settings for single samples are
of this library (results/samples.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.errors import DataError, UsageError
from unspan.extraction import eval_mode
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import own_loss, retained
from unspan.methods.neggrad import ascent
from unspan.metrics.score import auc_reading
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import Pass, train
from unspan.training.samples import Minibatch
from unspan.training.settings import Training

_SINGLE_BATCH, _SINGLE_STEPS = 64, 60  # for single samples: so many steps, or one epoch
_EVEN_ODDS = 0.7  # nats, about ln 2
_CHANCE = 0.5  # AUC of telling samples from unseen ones
_LOOK = 256  # samples a forward pass


@dataclass(frozen=True, kw_only=True)
class NegGradPlus(TrainedMethod):
    """Settings of NegGrad+.

    Attributes:
        alpha: weight of the retained loss, in (0, 1).
        ceiling: loss in nats beyond which a forget sample is left alone; `held-out` draws one for
            each sample from the losses of the original on held-out samples of its class; None for
            no limit.
        stop_at_ceiling: end after the epoch in which the forget samples are no surer than held-out
            ones (`held-out`), or have the loss of the ceiling on average.
        training: of the loop.
    """

    alpha: float = 0.95
    ceiling: float | Literal["held-out"] | None = None
    stop_at_ceiling: bool = False
    training: Training = Training(lr=0.01, epochs=10)
    name: ClassVar[str] = "neggrad-plus"
    paper: ClassVar[str] = "Kurmanji et al., SCRUB, NeurIPS 2023 (their baseline)"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "alpha": (0.95, 0.99, 0.999),
        "lr": (0.01, 0.001),
    }
    search_single: ClassVar[dict[str, tuple[Any, ...]]] = {
        "lr": (1e-3, 3e-4, 3e-3),
        "ceiling": ("held-out", 0.3, 0.7, 2.0),
    }
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(f"alpha={self.alpha}: use a number between 0 and 1, for example 0.95.")

    @classmethod
    def for_single(cls, retained: int | None, has_holdout: bool) -> Mapping[str, Any]:
        """Adam, half of the weight on each side, and a ceiling; steps as the retained data give."""
        steps = max(1, -(-(retained or 0) // _SINGLE_BATCH))
        return {
            "alpha": 0.5,
            "ceiling": "held-out" if has_holdout else _EVEN_ODDS,
            "stop_at_ceiling": True,
            "lr": 1e-3,
            "epochs": -(-_SINGLE_STEPS // steps),
            "batch": _SINGLE_BATCH,
            "optimiser": "adam",
            "weight_decay": 0.0,
        }

    @property
    def needs(self) -> frozenset[str]:
        """Held-out samples only for a ceiling of their loss."""
        held = {"holdout"} if self.ceiling == "held-out" else set()
        return frozenset({"forget", "forget_labels", "retain"} | held)

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train on both losses."""
        unseen = unseen_rows(context) if self.ceiling == "held-out" else None
        ceilings = self._ceilings(context, unseen)

        def reached(epoch: int, row: dict[str, Any]) -> bool:
            if ceilings is None or not self.stop_at_ceiling:
                return False
            asked = losses(context, "forget")
            row["forget_loss"] = float(asked.mean())
            if unseen is None:
                return bool(row["forget_loss"] >= float(ceilings.mean()))
            row["auc"] = auc_reading("", -asked, -losses(context, "holdout", unseen)).value
            return bool(row["auc"] <= _CHANCE)

        plan = self.plan(context, ceilings)
        history = train(context, self.training, plan, after_epoch=reached, name="neggrad-plus")
        mean = None if ceilings is None else round(float(ceilings.mean()), 6)
        return Outcome({"ceiling": mean}, history=history)

    def _ceilings(self, context: TrainingContext, unseen: Tensor | None) -> Tensor | None:
        """The ceiling of every forget sample, `[n]` nats; None for no limit."""
        labels = context.samples("forget").y
        if unseen is not None:
            pool = losses(context, "holdout", unseen)
            classes = context.samples("holdout").y[unseen]
            return drawn_like(labels, pool, classes, context.stream("ceilings"))
        if self.ceiling is None:
            return None
        assert not isinstance(self.ceiling, str)
        return torch.full((len(labels),), float(self.ceiling))

    def plan(
        self, context: TrainingContext, ceilings: Tensor | None = None
    ) -> Callable[[int], list[Pass]]:
        """The passes of an epoch.

        Args:
            context: with the data.
            ceilings: of every forget sample, `[n]` nats; None for no limit.
        """
        forget = context.samples("forget")

        def plan(epoch: int) -> list[Pass]:
            others = forget.endless(
                max(1, self.training.batch // self.training.accumulate),
                context.stream("order", "forget", epoch),
            )

            def loss(batch: Minibatch) -> Tensor:
                other = next(others)
                scores = context.scores(context.model, other)
                most = None if ceilings is None else ceilings[other.index].to(scores)
                away = ascent(scores, other.y.to(scores.device), most)
                return self.alpha * own_loss(context, batch) + (1 - self.alpha) * away

            return [retained(context, self.training, epoch, loss)]

        return plan


def unseen_rows(context: TrainingContext) -> Tensor:
    """Positions of the held-out samples that are of the classes to forget.

    Raises:
        DataError: there is none.
    """
    labels = context.samples("holdout").y
    rows = torch.isin(labels, context.samples("forget").y).nonzero()[:, 0]
    if not len(rows):
        raise DataError(
            "No held-out sample is of the classes of the samples to forget: give others"
            " (--holdout), or a number of nats (--set ceiling=0.7)."
        )
    return rows


def drawn_like(labels: Tensor, values: Tensor, classes: Tensor, stream: torch.Generator) -> Tensor:
    """For every label one of the values of its class, at random; of all where its class has none.

    Args:
        labels: `[n]`.
        values: `[m]` to draw from.
        classes: `[m]` their labels.
        stream: of the draws.

    Returns:
        `[n]`.
    """
    found = torch.empty(len(labels), dtype=values.dtype)
    for label in labels.unique().tolist():
        own = (labels == label).nonzero()[:, 0]
        pool = values[classes == label] if bool((classes == label).any()) else values
        found[own] = pool[torch.randint(len(pool), (len(own),), generator=stream)]
    return found


def losses(context: TrainingContext, part: str, rows: Tensor | None = None) -> Tensor:
    """Cross-entropy `[n]` of the model on samples of a part, in nats, in evaluation mode."""
    found = []
    with eval_mode(context.model):
        for batch in context.samples(part).minibatches(_LOOK, order=rows):
            scores = context.scores(context.model, batch).cpu()
            found.append(cross_entropy(scores, batch.y, reduction="none"))
    return torch.cat(found)
