"""Retrain: the same network from fresh random weights, on the retained data only.

Idea: the reference of every comparison: what the model would be had it never seen the request.
Formula: `min over theta from a random start of E_{D_r} CE(f(x), y)`.
Needs: retain samples with labels. Cost: a whole training.
Typical: SGD 0.01, momentum 0.9, batch 64, 50 epochs for All-CNN on CIFAR-10 (the paper's code
base).
Fails: nothing is forgotten that other copies, backups or a pretrained start still hold; a
pretrained start is not kept here.
Source: the definition; settings of Lee et al., CVPR 2025 (KU-VGI/ESC).
Deviates: no checkpoint is chosen on test accuracy, as the released training does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import descend
from unspan.models.redraw import redraw
from unspan.training.context import Outcome, TrainingContext
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Retrain(TrainedMethod):
    """Settings of retraining.

    Attributes:
        training: of the loop.
    """

    training: Training = Training(lr=0.01, epochs=50, batch=64)
    name: ClassVar[str] = "retrain"
    paper: ClassVar[str] = "the definition; settings of Lee et al., CVPR 2025"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {}
    needs: ClassVar[frozenset[str]] = frozenset({"retain"})
    stronger: ClassVar[tuple[str, ...]] = ("epochs",)

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Draw new weights and train.

        Raises:
            UsageError: a weight is frozen, so it would stay random.
        """
        if any(not one.requires_grad for one in context.model.parameters()):
            raise UsageError(
                "retrain draws all weights anew and trains them, and some of this model are frozen:"
                " call model.requires_grad_(True) first."
            )
        redraw(context.model, int(context.stream("weights").initial_seed() % 2**31))
        return descend(context, self.training, "retrain")
