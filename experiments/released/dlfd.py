"""DLFD as released: the transport term is computed on unperturbed images, so it has no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from unspan.extraction import logits_of, read
from unspan.methods import DLFD
from unspan.methods.distancing.transport import transport_cost
from unspan.training.context import TrainingContext


@dataclass(frozen=True, kw_only=True)
class ReleasedDLFD(DLFD):
    """Settings of DLFD."""

    name: ClassVar[str] = "dlfd-released"

    def gain(
        self,
        context: TrainingContext,
        moved: Tensor,
        clean: Tensor,
        y: Tensor,
        there: Tensor,
        keep: float,
    ) -> Tensor:
        scores = logits_of(read(context.model, context.feature_layer, moved)[1])
        assert scores is not None
        features = read(context.model, context.feature_layer, clean)[0]
        cost = transport_cost(features.float(), there, self.epsilon)
        return self.weight * cost - keep * cross_entropy(scores.flatten(1).float(), y)
