"""Features as directions around a mean direction: what a head of class means reads."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from unspan.erasers.feature_map import FeatureMap, Layout


class UnitCentring(FeatureMap):
    """Directions of features, seen from a mean direction: `z -> n(n(z) - mean)`, n(x) = x / |x|.

    A feature of length 0 is taken for the mean of no direction, `n(-mean)`. It knows the axis of
    features only where that is the last one, as at the input of a linear head.

    Attributes:
        mean: `[d]` mean of directions.

    >>> import torch
    >>> centre = UnitCentring(torch.zeros(2))
    >>> [round(float(one), 6) for one in centre(torch.tensor([[3.0, 4.0]]))[0]]
    [0.6, 0.8]
    """

    idempotent = False
    mean: Tensor

    def __init__(self, mean: Tensor, layout: Layout = "last"):
        super().__init__()
        self.layout = layout
        self.register_buffer("mean", mean)

    def map_features(self, z: Tensor) -> Tensor:
        return normalize(normalize(z, dim=-1) - self.mean, dim=-1)
