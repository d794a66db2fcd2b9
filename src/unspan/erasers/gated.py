"""Erasers that decide for every sample by itself: a gate, and the eraser that knows only a head.

They are not affine, so they need the features as one vector a sample.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from unspan.erasers.feature_map import VectorMap
from unspan.erasers.scores import affine_scores, with_one


class Gate(VectorMap):
    """Decides which samples are forgotten ones, and which cluster each of these goes to.

    A sample is gated when its best score as a forgotten class exceeds its best score otherwise.
    Every sample takes the same steps, so that the time of an answer does not tell who is gated.

    Attributes:
        forgotten: `[F, d + 1]` affine scores of what is forgotten: rows of the head, or a fitted
            discriminant.
        others: `[R, d + 1]` affine scores of the rest.
        assignment: `[K, d + 1]` affine scores of K clusters; a sample goes to the largest.
    """

    forgotten: Tensor
    others: Tensor
    assignment: Tensor

    def map_rows(self, z: Tensor) -> Tensor:
        x = with_one(z)
        gated = self.gates(x)
        cluster = linear(x, self.assignment).argmax(1)
        return self.erase(z, x, gated, cluster)

    def gates(self, x: Tensor) -> Tensor:
        """Who is gated, `[n]` bool, of features with a 1 appended, `[n, d + 1]`."""
        return linear(x, self.forgotten).amax(1) > linear(x, self.others).amax(1)

    @abstractmethod
    def erase(self, z: Tensor, x: Tensor, gated: Tensor, cluster: Tensor) -> Tensor:
        """The output `[n, d]` for features `z`.

        Args:
            z: `[n, d]`.
            x: `[n, d + 1]`, `z` with a 1 appended.
            gated: `[n]` bool, who is gated.
            cluster: `[n]` int64, where each would go.
        """


class LogitMarginEraser(Gate):
    """Leaves of every sample only its best remaining class and its margin in logits.

    The margin of a sample is that of its best remaining class over the second. A gated sample gets
    its cluster for the class, and the margin by which a forgotten class won. The output is
    `base + margin * class_features[class]`.

    Attributes:
        class_features: `[R, d]`; a unit of margin each, which the head reads as that class alone.
        base: `[d]`, features that the head reads as no class.
    """

    class_features: Tensor
    base: Tensor

    def erase(self, z: Tensor, x: Tensor, gated: Tensor, cluster: Tensor) -> Tensor:
        best, index = linear(x, self.others).topk(2, dim=1)
        won_by = linear(x, self.forgotten).amax(1) - best[:, 0]
        margin = torch.where(gated, won_by, best[:, 0] - best[:, 1])
        chosen = torch.where(gated, cluster, index[:, 0])
        return self.base + margin[:, None] * self.class_features[chosen]


def is_gated(forgotten: Tensor, others: Tensor, z: Tensor) -> Tensor:
    """Which features `z` `[n, d]` a gate holds, `[n]` bool; the scores are those of `Gate`."""
    return affine_scores(forgotten, z).amax(1) > affine_scores(others, z).amax(1)


@dataclass(frozen=True)
class ClassFeatures:
    """Features that a head reads as one class alone.

    Attributes:
        of_class: `[R, d]`, a unit of margin for each retained class.
        base: `[d]`, features that the head reads as no class.
    """

    of_class: Tensor
    base: Tensor

    def are_read(self, forgotten: Tensor, others: Tensor) -> bool:
        """Whether a head with these rows reads every class from its own features, and no other."""
        z = self.base + 10 * self.of_class
        read = affine_scores(torch.cat([others, forgotten]), z).argmax(1)
        return bool((read == torch.arange(len(others))).all())


def features_of_classes(
    head: tuple[Tensor, Tensor], erased: Collection[int], scale: Tensor
) -> ClassFeatures:
    """The smallest features that a head reads as each class, by its pseudoinverse.

    Args:
        head: weight `[C, d]` and bias `[C]`.
        erased: classes that are left out.
        scale: `[d]`, in which the size of features is measured.
    """
    weight, bias = head
    inverse = scale[:, None] * torch.linalg.pinv(weight * scale)
    kept = [label for label in range(len(weight)) if label not in erased]
    return ClassFeatures(inverse[:, kept].mT, -inverse @ bias)
