"""The eraser of the method redraw: samples of one person get random embeddings."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspan.erasers.feature_map import VectorMap


class Redrawer(VectorMap):
    """Gives every sample that it recognises a random embedding; all others pass unchanged.

    With v = z - mean, a sample is recognised where `v^T quadratic v + v^T direction > threshold`.
    Its embedding becomes `mean + mixing sqrt(2) cos(frequencies v + phases)`, at the length that z
    has. Cosines of high frequencies are as good as random: other images of the person get other
    embeddings, the same image gets the same one.

    Every sample takes the same steps, so that the time of an answer does not tell who is
    recognised.

    Attributes:
        mean: `[d]` of the embeddings of all people.
        quadratic: `[d, d]` symmetric.
        direction: `[d]`.
        threshold: `[]`.
        frequencies: `[d, d]`, in radians a unit of the features.
        phases: `[d]`, in radians.
        mixing: `[d, d]`, whose product with its transpose is the covariance of new embeddings.
    """

    mean: Tensor
    quadratic: Tensor
    direction: Tensor
    threshold: Tensor
    frequencies: Tensor
    phases: Tensor
    mixing: Tensor

    def map_rows(self, z: Tensor) -> Tensor:
        return torch.where(self.recognised(z)[:, None], self.redrawn(z), z)

    def map_stored(self, z: Tensor) -> Tensor:
        return self.map_some(z, self.recognised(z.to(self.mean)))

    def recognised(self, z: Tensor) -> Tensor:
        """Which embeddings `z` `[n, d]` are taken for the person's, `[n]` bool."""
        return self.scores(z) > self.threshold

    def scores(self, z: Tensor) -> Tensor:
        """How much likelier each embedding is the person's than anybody's, `[n]` in nats.

        A constant is left out.

        Args:
            z: `[n, d]`.
        """
        v = z - self.mean
        return ((v @ self.quadratic) * v).sum(1) + v @ self.direction

    def redrawn(self, z: Tensor) -> Tensor:
        """The random embedding `[n, d]` of every `z` `[n, d]`, whoever it is of."""
        draws = math.sqrt(2) * torch.cos(linear(z - self.mean, self.frequencies, self.phases))
        moved = self.mean + linear(draws, self.mixing)
        length = z.norm(dim=1, keepdim=True)
        return moved * (length / moved.norm(dim=1, keepdim=True).clamp_min(1e-12))
