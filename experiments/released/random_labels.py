"""Random labels as released: drawn over all classes, the true one included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unspan.methods import RandomLabels
from unspan.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class ReleasedRandomLabels(RandomLabels):
    """Settings of RL."""

    name: ClassVar[str] = "random-labels-released"

    def draw(self, context: TrainingContext, y: Tensor, stream: torch.Generator) -> Tensor:
        return torch.randint(context.classes, (len(y),), generator=stream)
