"""Affine erasers: they fold into the weights of a layer, and commute with average pooling."""

from __future__ import annotations

import torch
from torch import Tensor

from unspan.erasers.feature_map import FeatureMap, Layout


class Projection(FeatureMap):
    """Removes the span of U and keeps everything orthogonal to it: `z -> z - U Uᵀ z`.

    Attributes:
        basis: U, `[d, k]` orthonormal columns. ESC's `U_P U_Pᵀ` is `I - U Uᵀ`, also when n < d.

    >>> erase = Projection(torch.tensor([[1.0], [0.0]]))
    >>> erase(torch.tensor([[3.0, 4.0]])).tolist()
    [[0.0, 4.0]]
    """

    idempotent = True
    basis: Tensor

    def __init__(self, basis: Tensor, layout: Layout = "last"):
        super().__init__()
        self.layout = layout
        self.register_buffer("basis", basis)

    def map_features(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            return z - (self.basis @ (self.basis.mT @ z.flatten(2))).view_as(z)
        if self.layout == "flat":
            return z - ((z.flatten(1) @ self.basis) @ self.basis.mT).view_as(z)
        return z - (z @ self.basis) @ self.basis.mT

    def matrix(self) -> Tensor:
        """The map as `[d, d]`, acting on column vectors."""
        eye = torch.eye(len(self.basis), dtype=self.basis.dtype, device=self.basis.device)
        return eye - self.basis @ self.basis.mT


class LinearMap(FeatureMap):
    """Any affine map `z -> A z + b`: ESC-T's masked map (without b), LEACE, a product of erasers.

    In the `channels` layout b is exact where a mean over positions follows, as with average
    pooling.

    Attributes:
        map: A, `[d, d]`.
        offset: b, `[d]`, or None.
    """

    idempotent = False
    map: Tensor
    offset: Tensor | None

    def __init__(self, matrix: Tensor, layout: Layout = "last", offset: Tensor | None = None):
        super().__init__()
        self.layout = layout
        self.register_buffer("map", matrix)
        self.register_buffer("offset", offset)

    def map_features(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            flat = self.map @ z.flatten(2)
            return (flat if self.offset is None else flat + self.offset[:, None]).view_as(z)
        flat = z.flatten(1) if self.layout == "flat" else z
        out = flat @ self.map.mT
        return (out if self.offset is None else out + self.offset).view_as(z)

    def matrix(self) -> Tensor:
        """The map as `[d, d]`, acting on column vectors."""
        return self.map
