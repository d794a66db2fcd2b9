"""Erasers: linear maps on penultimate features, tensors in and tensors out.

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
    """`z -> A z` for any `[d, d]` matrix A: ESC-T's masked map, or a product of erasers."""

    idempotent = False
    map: Tensor

    def __init__(self, matrix: Tensor, layout: Layout = "last"):
        super().__init__()
        self.layout = layout
        self.register_buffer("map", matrix)

    def forward(self, z: Tensor) -> Tensor:
        if self.layout == "channels":
            return (self.map @ z.flatten(2)).view_as(z)
        if self.layout == "flat":
            return (z.flatten(1) @ self.map.mT).view_as(z)
        return z @ self.map.mT

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
    return LinearMap(then.matrix().double() @ first.matrix().double())


def placed(eraser: Eraser, layout: Layout, like: Tensor) -> Eraser:
    """A copy in the layout, dtype and device of the features it will meet."""
    state = next(iter(eraser.buffers()))
    return type(eraser)(state.to(like.device, like.dtype, copy=True), layout)
