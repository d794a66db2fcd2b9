"""CF-k: fine-tune the last k layers on the retained data and leave the rest as it is.

Idea: catastrophic forgetting, kept to the layers nearest to the output.
Formula: `min of E_{D_r} CE(f(x), y)` over the weights of the last k layers.
Needs: retain samples with labels. Cost: as finetune; the backward pass ends k layers down.
Typical: k 1 to 7 of a ResNet-20; here k 2, SGD 0.01, 10 epochs.
Fails: features before these layers stay the original's, so probes read the class there as before.
Source: Goel et al., "Towards adversarial evaluations for inexact machine unlearning", 2022 (arXiv
2201.06640).
Deviates: BatchNorm statistics are frozen everywhere. Layers are counted as in eu-k: Linear and
convolutions from the output, with the BatchNorm layers between them trained too. A model of k
layers or fewer is trained as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.methods.descent import descend
from unspan.methods.last_layers import above_cut, own_parameters, still_below, with_layers
from unspan.training.context import Outcome, TrainingContext
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class CFk(TrainedMethod):
    """Settings of CF-k.

    Attributes:
        k: layers that are trained, counted from the output.
        training: of the loop.
    """

    k: int = 2
    training: Training = Training(lr=0.01, epochs=10, batchnorm="frozen")
    name: ClassVar[str] = "cf-k"
    paper: ClassVar[str] = "Goel et al., Towards Adversarial Evaluations, 2022, arXiv 2201.06640"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (0.01, 0.03, 0.1), "k": (2, 3, 5)}
    needs: ClassVar[frozenset[str]] = frozenset({"retain"})
    stronger: ClassVar[tuple[str, ...]] = ("k", "lr")

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k={self.k}: train at least one layer.")

    def limits(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """No more layers than there are."""
        return {"k": figures["layers"]} if "layers" in figures else {}

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train the last layers."""
        above = above_cut(context, self.k)
        chosen = [one for one in own_parameters(context.model, above) if one.requires_grad]
        outcome = descend(still_below(context, above), self.training, self.name, parameters=chosen)
        return with_layers(outcome, context.model)
