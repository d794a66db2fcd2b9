"""The energy distance of forget features from retained features of the same class, as a loss.

Source: Szekely and Rizzo (2013).
"""

from __future__ import annotations

import torch
from torch import Tensor

_SHRINK = 0.1  # of the covariance towards the variance of every feature


class FeatureMemory:
    """The latest retained features of each layer, with their classes."""

    def __init__(self, size: int):
        self.size = size
        self._held: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, layer: str, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Remember features `z` `[n, d]` of classes `y` `[n]`, and return all of the layer.

        The latest come first; at most `size` are kept, without gradients.
        """
        features, labels = z.detach(), y
        if layer in self._held:
            before, classes = self._held[layer]
            features = torch.cat([features, before])
            labels = torch.cat([labels, classes])
        self._held[layer] = (features[: self.size], labels[: self.size])
        return self._held[layer]


def energy_distance(
    forget: Tensor,
    targets: Tensor,
    retained: Tensor,
    labels: Tensor,
    supplementary: Tensor | None = None,
) -> Tensor:
    """Energy distance of the forget features from the retained ones of the same class.

    Features are whitened within classes first, and what does not depend on the forget features is
    left out.

    Args:
        forget: `[m, d]` features.
        targets: `[m]` their target classes.
        retained: `[n, d]` features that are followed.
        labels: `[n]` their classes.
        supplementary: as in `whitening_within_classes`.

    Returns:
        `[]`.
    """
    centre, factor = whitening_within_classes(retained, labels, supplementary)
    f = _whitened(forget, centre, factor)
    r = _whitened(retained, centre, factor)
    to_retained = mean_over_pairs(torch.cdist(f, r), targets[:, None] == labels)
    same = (targets[:, None] == targets).fill_diagonal_(False)
    return 2 * to_retained - mean_over_pairs(torch.cdist(f, f), same)


def _whitened(x: Tensor, centre: Tensor, factor: Tensor) -> Tensor:
    """Features `[n, d]` in units in which the covariance is 1, divided by the root of d."""
    return (
        torch.linalg.solve_triangular(factor, (x - centre).mT, upper=False).mT / x.shape[1] ** 0.5
    )


def mean_over_pairs(distances: Tensor, pairs: Tensor) -> Tensor:
    """Mean over rows of the mean distance to their partners, `[]`.

    Args:
        distances: `[m, n]`.
        pairs: `[m, n]` bool, who is a partner; rows without a partner are left out.
    """
    count = pairs.sum(1)
    return ((distances * pairs).sum(1) / count.clamp_min(1)).sum() / (count > 0).sum().clamp_min(1)


def whitening_within_classes(
    features: Tensor, labels: Tensor, supplementary: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and Cholesky factor `[d, d]` of the covariance within classes.

    The covariance is shrunk towards the variance of every feature, so that the units of the
    features decide nothing.

    Args:
        features: `[n, d]`.
        labels: `[n]` their classes.
        supplementary: `[m, d]` other features, whose variance counts for what the covariance is
            shrunk to: a feature that hardly varies in `features` alone is not blown up.
    """
    member = torch.nn.functional.one_hot(labels).to(features)
    means = (member.mT @ features) / member.sum(0)[:, None].clamp_min(1)
    rest = features - means[labels]
    variance = rest.detach().square().mean(0)
    if supplementary is not None and len(supplementary) > 1:
        variance = (variance + supplementary.var(0, correction=0)) / 2
    unit = variance.sqrt()
    unit = unit.where(unit > 0, torch.ones_like(unit))
    covariance = (rest / unit).mT @ (rest / unit) / len(rest)
    eye = torch.eye(len(covariance), dtype=features.dtype, device=features.device)
    spread = covariance + _SHRINK * eye
    # fails for what is not finite only: then the loss is not either, which the loop explains
    factor = torch.linalg.cholesky_ex(spread)[0]
    return features.mean(0), unit[:, None] * factor
