"""Erasers: affine maps on penultimate features, tensors in and tensors out.

An eraser is an `nn.Module` so that it moves, casts, copies and saves with the model that carries it.
`layout` says which axis of the tensor it meets holds the d features:

- `last`: `[..., d]` (pooled features, tokens)
- `channels`: `[n, d, ...]` (a feature map; exact because average pooling commutes with the map)
- `flat`: `[n, ...]` with d numbers per sample
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from unspan import linalg

Layout = Literal["last", "channels", "flat"]


class Projection(nn.Module):
    """`z -> z - U Uᵀ z`: the span of U is removed, everything orthogonal to it stays.

    Attributes:
        basis: `[d, k]` orthonormal columns. ESC's `U_P U_Pᵀ` is `I - U U ᵀ`, exact also when n < d.

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

    def forward(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            return z - (self.basis @ (self.basis.mT @ z.flatten(2))).view_as(z)
        if self.layout == "flat":
            return z - ((z.flatten(1) @ self.basis) @ self.basis.mT).view_as(z)
        return z - (z @ self.basis) @ self.basis.mT

    def matrix(self) -> Tensor:
        """The map as `[d, d]`, acting on column vectors."""
        eye = torch.eye(len(self.basis), dtype=self.basis.dtype, device=self.basis.device)
        return eye - self.basis @ self.basis.mT


class LinearMap(nn.Module):
    """`z -> A z + b` for any `[d, d]` matrix A: ESC-T's masked map (b absent), LEACE, or a product of erasers.

    In the `channels` layout b is exact where what follows is a mean over positions, as with average pooling.
    """

    idempotent = False
    map: Tensor
    offset: Tensor | None

    def __init__(self, matrix: Tensor, layout: Layout = "last", offset: Tensor | None = None):
        super().__init__()
        self.layout = layout
        self.register_buffer("map", matrix)
        self.register_buffer("offset", offset)

    def forward(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            flat = self.map @ z.flatten(2)
            return (flat if self.offset is None else flat + self.offset[:, None]).view_as(z)
        flat = z.flatten(1) if self.layout == "flat" else z
        out = flat @ self.map.mT
        return (out if self.offset is None else out + self.offset).view_as(z)

    def matrix(self) -> Tensor:
        """The map as `[d, d]`, acting on column vectors."""
        return self.map


Eraser = Projection | LinearMap


def compose(first: Eraser | None, then: Eraser) -> Eraser:
    """The eraser of two requests: the union of spans for projections, else the product in order."""
    if first is None:
        return then
    if isinstance(first, Projection) and isinstance(then, Projection):
        return Projection(linalg.union([first.basis, then.basis]))
    matrix, shifts = then.matrix().double(), [one.offset if isinstance(one, LinearMap) else None for one in (first, then)]
    parts = [] if shifts[0] is None else [matrix @ shifts[0].double()]
    parts += [] if shifts[1] is None else [shifts[1].double()]
    return LinearMap(matrix @ first.matrix().double(), offset=sum(parts[1:], parts[0]) if parts else None)


def placed(eraser: Eraser, layout: Layout, like: Tensor) -> Eraser:
    """A copy in the layout, dtype and device of the features it will meet."""
    if isinstance(eraser, Projection):
        return Projection(eraser.basis.to(like.device, like.dtype, copy=True), layout)
    offset = None if eraser.offset is None else eraser.offset.to(like.device, like.dtype, copy=True)
    return LinearMap(eraser.map.to(like.device, like.dtype, copy=True), layout, offset)
