"""Finetune: go on training on the retained data and let the rest fade.

Idea: what is never rehearsed is forgotten by neglect.
Formula: `min over theta from the original of E_{D_r} CE(f(x), y)`.
Needs: retain samples with labels. Cost: epochs over the retained data.
Typical: SGD 0.01, momentum 0.9, 10 epochs (Unlearn-Sparse); small steps forget nothing.
Fails: the step size decides everything; at small ones the class stays named, at large ones all of
it moves.
Source: Warnecke et al., NDSS 2023, as the paper cites it; Golatkar et al., CVPR 2020; defaults of
OPTML Unlearn-Sparse.
Deviates: BatchNorm is a setting (`train` by default, as there; Golatkar's helper keeps it frozen).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from unspan.methods.base import TrainedMethod
from unspan.methods.descent import descend
from unspan.training.context import Outcome, TrainingContext
from unspan.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Finetune(TrainedMethod):
    """Settings of fine-tuning.

    Attributes:
        training: of the loop.
    """

    training: Training = Training(lr=0.01, epochs=10)
    name: ClassVar[str] = "finetune"
    paper: ClassVar[str] = "Warnecke et al., NDSS 2023; Golatkar et al., CVPR 2020"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (0.01, 0.03, 0.1, 0.003)}
    needs: ClassVar[frozenset[str]] = frozenset({"retain"})
    stronger: ClassVar[tuple[str, ...]] = ("lr", "epochs")

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Train on."""
        return descend(context, self.training, "finetune")
