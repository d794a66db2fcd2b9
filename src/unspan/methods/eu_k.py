"""EU-k: draw the last k layers anew, train them on the retained data, and leave the rest as it is.

Idea: exact unlearning of the layers nearest to the output, for the price of training them alone.
Formula: theta above the cut is drawn at random. `min of E_{D_r} CE(f(x), y)` over it.
Needs: retain samples with labels. Cost: epochs over the retained data; the backward pass ends k
layers down.
Typical: k 1, 3, 5 or 7 of a ResNet-20, 62 epochs, batch 64, SGD between 0.005 and 0.1, weight decay
5e-5.
Fails: features below the cut stay the original's, so probes read the class there as before.
Source: Goel et al., "Towards adversarial evaluations for inexact machine unlearning", 2022 (arXiv
2201.06640); settings of the release of Choi and Na, AAAI 2025.
Deviates: a layer is a Linear or a convolution, counted from the output, as released. The BatchNorm
layers between them start anew too; the release trained them on. Below the cut running statistics
stay as they are. The step size falls along a half cosine instead of a cycle. With k of all layers
everything is drawn anew, and the result is that of retrain with the same seed and settings.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import descend
from unspan.methods.last_layers import above_cut, own_parameters, still_below, with_layers
from unspan.models.redraw import redraw
from unspan.training.context import Outcome, TrainingContext
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class EUk(TrainedMethod):
    """Settings of EU-k.

    Attributes:
        k: layers that are drawn anew and trained, counted from the output.
        training: of the loop.
    """

    k: int = 3
    training: Training = Training(lr=0.05, epochs=62, batch=64, weight_decay=5e-5, cosine=True)
    name: ClassVar[str] = "eu-k"
    paper: ClassVar[str] = "Goel et al., Towards Adversarial Evaluations, 2022, arXiv 2201.06640"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (0.05, 0.1, 0.01), "k": (3, 5, 7)}
    needs: ClassVar[frozenset[str]] = frozenset({"retain"})
    stronger: ClassVar[tuple[str, ...]] = ("k",)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k={self.k}: draw at least one layer anew.")

    def limits(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """No more layers than there are."""
        return {"k": figures["layers"]} if "layers" in figures else {}

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Draw the last layers anew and train them.

        Raises:
            UsageError: one of them is frozen, so it would stay random.
        """
        above = above_cut(context, self.k)
        chosen = own_parameters(context.model, above)
        still = set(context.frozen) & set(above)
        if still or not all(one.requires_grad for one in chosen):
            raise UsageError(
                f"eu-k draws the last {self.k} layers anew and trains them, and some of them are"
                " frozen: call requires_grad_(True) on the model first, or lower k."
            )
        draw_anew(context, above)
        outcome = descend(still_below(context, above), self.training, self.name, parameters=chosen)
        return with_layers(outcome, context.model)


def draw_anew(context: TrainingContext, names: Collection[str]) -> None:
    """Give these modules the weights and buffers that `retrain` would begin with, in place."""
    fresh = copy.deepcopy(context.model)
    redraw(fresh, int(context.stream("weights").initial_seed() % 2**31))
    with torch.no_grad():
        for name in names:
            old, new = (model.get_submodule(name) for model in (context.model, fresh))
            for one, other in zip(
                [*old.parameters(recurse=False), *old.buffers(recurse=False)],
                [*new.parameters(recurse=False), *new.buffers(recurse=False)],
                strict=True,
            ):
                one.copy_(other)
