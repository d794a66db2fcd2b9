"""CMF: a head of class means, made anew in each epoch, so that the encoder cannot leave the
forgetting to the head.

Idea: methods that train can hide a class by moving the head alone. Here the head is no parameter:
it is computed from the features, and only the encoder learns.
Formula: `n(x) = x / |x|`. `m_k` is the mean of `n(f)` over class k, `mu` the mean over all samples,
and `w_k = n(m_k - mu)`. Scores are `tau n(n(f) - mu)' w_k`, without bias. Each epoch: compute m and
mu from all data with true labels, then train the encoder by the loss of `base`.
Needs: forget and retain samples with labels, and every class of the model among them. Cost: an
epoch of the base and one forward pass over all data, in each epoch.
Typical: SCRUB, SGD 5e-3, 4 epochs, batch 64; with random labels 2e-3 and batch 128; with NegGrad+
1e-4, batch 128, clip 1.
Fails: answers are more honest rather than more forgetful. The head always names a class that the
features still show, at any lr, and such a run is refused (exit 7). With tau 1 scores lie in -1 to
1, so the cross-entropy never falls to 0 and its gradients never end. Features are of length 1. A
probe that stops early reads less of them than one that is trained to the end.
Source: "CMF", AISTATS 2026, arXiv 2604.08271; formulas of the head, written anew.
Deviates: `mu` is the mean over samples; a paper that averages class means gives the same where
classes are of one size. Means are taken in evaluation mode, and once more after the last epoch. The
teacher of SCRUB has the class-mean head of the original. The model keeps its Linear layer, which
holds `tau w_k`, and a module before it that holds mu. Settings of the bases are their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from unspan.data.inputs import place
from unspan.erasers import UnitCentring
from unspan.errors import DataError, UsageError
from unspan.extraction import attach, detach, eval_mode, input_like, is_own_weight, read
from unspan.extraction.feature_layer import at_head_input
from unspan.methods.base import TrainedMethod
from unspan.methods.neggrad_plus import NegGradPlus
from unspan.methods.random_labels import RandomLabels
from unspan.methods.scrub import Scrub
from unspan.training.context import Outcome, TrainingContext
from unspan.training.loop import Pass, train
from unspan.training.settings import Training

_BATCH = 256  # samples a forward pass for the means


@dataclass(frozen=True, kw_only=True)
class CMF(TrainedMethod):
    """Settings of CMF.

    Attributes:
        base: whose loss trains the encoder: `scrub`, `random-labels` (with the retained data), or
            `neggrad-plus`.
        tau: scale of the scores.
        training: of the loop.
    """

    base: Literal["scrub", "random-labels", "neggrad-plus"] = "scrub"
    tau: float = 1.0
    training: Training = Training(lr=5e-3, epochs=4, batch=64)
    name: ClassVar[str] = "cmf"
    paper: ClassVar[str] = "CMF, AISTATS 2026, arXiv 2604.08271"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {
        "lr": (5e-3, 2e-3, 2e-2),
        "tau": (1.0, 10.0),
    }
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels", "retain"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def __post_init__(self) -> None:
        if self.base not in ("scrub", "random-labels", "neggrad-plus"):
            raise UsageError(
                f"base={self.base!r}: use scrub, random-labels or neggrad-plus, whose loss trains"
                " the encoder."
            )
        if self.tau <= 0:
            raise UsageError(f"tau={self.tau}: use a number above 0, for example 1.")

    def remedy(self, figures: Mapping[str, Any]) -> str:
        """The head is made of the features, so no step size hides what these show."""
        return (
            "The head of cmf is made anew of the features and names whatever these show, so a"
            " larger lr seldom helps: try base=random-labels or base=neggrad-plus, or choose a"
            " method that changes features and head (resample, retrain)"
        )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Put the class-mean head in place, and train the encoder below it."""
        head = context.head(changes=True)
        if not is_own_weight(context.model, head):
            raise UsageError(
                "CMF gives the head new weights, and this model uses them elsewhere too. Choose"
                " another method."
            )
        layer = at_head_input(context.feature_layer)
        attach(context.model, layer, UnitCentring(torch.zeros(layer.dim)))
        self._refit(context, head)
        passes = self._passes(context)

        def plan(epoch: int) -> list[Pass]:
            if epoch > 1:
                self._refit(context, head)
            return passes(epoch)

        own = [id(one) for one in head.parameters()]
        encoder = [
            one for one in context.model.parameters() if one.requires_grad and id(one) not in own
        ]
        history = train(context, self.training, plan, parameters=encoder, name=self.name)
        mean = self._refit(context, head)
        detach(context.model, layer)
        return Outcome(history=history, head_input=UnitCentring(mean))

    def _passes(self, context: TrainingContext) -> Callable[[int], list[Pass]]:
        """The passes of the base; SCRUB takes the model as it is now for its teacher."""
        if self.base == "scrub":
            return Scrub(training=self.training).plan(context)
        if self.base == "random-labels":
            return RandomLabels(use_retain=True, training=self.training).plan(context)
        return NegGradPlus(training=self.training).plan(context)

    def _refit(self, context: TrainingContext, head: nn.Linear) -> Tensor:
        """Give the head the class means of today's features; the mean of all, `[d]` float64."""
        layer = at_head_input(context.feature_layer)
        detach(context.model, layer)
        mean, weight = class_mean_head(*directions_of(context), context.classes)
        with torch.no_grad():
            head.weight.copy_(self.tau * weight)
            if head.bias is not None:
                head.bias.zero_()
        attach(context.model, layer, UnitCentring(mean))
        return mean


def directions_of(context: TrainingContext) -> tuple[Tensor, Tensor]:
    """Sums `[C, d]` float64 of the normalised features of each class, and their numbers `[C]`.

    They are of all data, with true labels, in evaluation mode.
    """
    samples, model = context.samples("forget", "retain"), context.model
    sums = torch.zeros(context.classes, context.feature_layer.dim, dtype=torch.float64)
    with eval_mode(model):
        for batch in samples.minibatches(_BATCH):
            inputs = place(batch.x, input_like(model, batch.x))
            z = read(model, context.feature_layer, inputs)[0].double().cpu()
            sums.index_add_(0, batch.y, normalize(z, dim=1))
    return sums, torch.bincount(samples.y, minlength=context.classes)


def class_mean_head(sums: Tensor, counts: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The mean direction mu `[d]` over samples, and the rows `w_k = n(m_k - mu)` `[C, d]`.

    Args:
        sums: `[C, d]` float64 of normalised features.
        counts: `[C]` samples.
        classes: C.

    Raises:
        DataError: a class has no samples, so that its mean is not known.
    """
    missing = [label for label in range(classes) if not counts[label]]
    if missing:
        raise DataError(
            f"CMF makes its head of the mean of every class, and the data have no sample of class"
            f" {', '.join(map(str, missing[:5]))}. Give the whole training data."
        )
    mean = sums.sum(0) / counts.sum()
    return mean, normalize(sums / counts[:, None] - mean, dim=1)
