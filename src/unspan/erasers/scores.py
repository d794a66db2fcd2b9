"""Affine scores of features: one row of weights and an offset for each class or cluster."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear, pad


def affine_scores(rows: Tensor, z: Tensor) -> Tensor:
    """The score `[n, K]` of every feature vector `z` `[n, d]` in every row.

    Args:
        rows: `[K, d + 1]`, the offset last.
        z: `[n, d]`.
    """
    return linear(with_one(z), rows)


def head_rows(head: tuple[Tensor, Tensor]) -> Tensor:
    """A head of weight `[C, d]` and bias `[C]` as the rows `[C, d + 1]` of `affine_scores`."""
    return torch.cat([head[0], head[1][:, None]], 1)


def with_one(z: Tensor) -> Tensor:
    """Features with a 1 appended, `[n, d + 1]`, so that an offset is one more weight."""
    return pad(z, (0, 1), value=1.0)


def undo_scale(rows: Tensor, scale: Tensor) -> Tensor:
    """Rows `[K, d + 1]` that score features as `rows` score features divided by `scale` `[d]`."""
    return torch.cat([rows[:, :-1] / scale, rows[:, -1:]], 1)


def apply_scale(rows: Tensor, scale: Tensor) -> Tensor:
    """Rows `[K, d + 1]` that score features divided by `scale` `[d]` as `rows` score features."""
    return torch.cat([rows[:, :-1] * scale, rows[:, -1:]], 1)
