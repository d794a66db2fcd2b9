"""KLoM: how far margins of unlearned networks are from those of retrained ones, by sample.

It needs many networks of both kinds, about a hundred for small values to mean something. One audit
does not have them.

Source: Georgiev et al., "Attribute-to-Delete", 2024, arXiv 2410.23232; 2602.16400. Constants are
those of the release. Mended: the release leaves the largest value of the joint range out of all
bins, so that networks whose margins all lie at the clip score 0 against any others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.errors import DataError

CLIP = 100.0  # of a margin
BINS = 20
FLOOR = 1e-5  # of a bin of the retrained networks; ln(1 / FLOOR) is the largest divergence
_DRAWS = 2000  # samples of the null


@dataclass(frozen=True, kw_only=True)
class MarginDivergence:
    """KL divergences of margins.

    Attributes:
        each: `[n]` divergence of each sample, in nats, 0 to 11.51.
        mean: over samples.
        tail: 95th percentile over samples.
        null_mean: the mean that equal distributions would get with as many networks.
        null_tail: their 95th percentile.
        models: numbers of unlearned and of retrained networks.
    """

    each: Tensor
    mean: float
    tail: float
    null_mean: float
    null_tail: float
    models: tuple[int, int]


def klom(unlearned: Tensor, retrained: Tensor) -> MarginDivergence:
    """`KL(unlearned || retrained)` of the margins of every sample, with 20 bins over both.

    Read it beside its null: networks of one distribution do not score 0, since few of them fill
    bins unevenly.

    Args:
        unlearned: `[M, n]` margins (`lira.scaled_logits`) in M networks that unlearned, each from
            an original and with a seed of its own.
        retrained: `[N, n]` in N networks that were trained without the samples.

    Raises:
        DataError: shapes do not fit, or a value is NaN.
    """
    shapes = [list(one.shape) for one in (unlearned, retrained)]
    if any(len(one) != 2 or 0 in one for one in shapes) or shapes[0][1] != shapes[1][1]:
        raise DataError(f"KLoM needs [M, n] and [N, n] margins; got {shapes[0]} and {shapes[1]}.")
    if bool(unlearned.isnan().any() or retrained.isnan().any()):
        raise DataError("KLoM needs margins that are numbers.")
    each = divergences(unlearned, retrained)
    counts = (len(unlearned), len(retrained))
    null = null_divergences(*counts)
    return MarginDivergence(
        each=each,
        mean=float(each.mean()),
        tail=float(each.quantile(0.95)),
        null_mean=float(null.mean()),
        null_tail=float(null.quantile(0.95)),
        models=counts,
    )


def divergences(unlearned: Tensor, retrained: Tensor) -> Tensor:
    """`[n]` float64 divergences in nats of `[M, n]` from `[N, n]` margins."""
    p, q = (_clipped(one) for one in (unlearned, retrained))
    low = torch.minimum(p.amin(0), q.amin(0))
    width = torch.maximum(p.amax(0), q.amax(0)) - low
    shares = [_histogram(one, low, width) for one in (p, q)]
    ratio = shares[0] / shares[1].clamp_min(FLOOR)
    return torch.special.xlogy(shares[0], ratio).sum(0)


def null_divergences(unlearned: int, retrained: int, seed: int = 0) -> Tensor:
    """`[2000]` divergences of samples whose margins are normal in both kinds of networks alike.

    Args:
        unlearned: networks of the first kind.
        retrained: of the second.
        seed: of the draws.
    """
    stream = torch.Generator().manual_seed(seed)
    drawn = [
        torch.randn(count, _DRAWS, generator=stream, dtype=torch.float64)
        for count in (unlearned, retrained)
    ]
    return divergences(*drawn)


def _clipped(margins: Tensor) -> Tensor:
    return margins.double().clamp(-CLIP, CLIP)


def _histogram(values: Tensor, low: Tensor, width: Tensor) -> Tensor:
    """Share `[20, n]` of `[M, n]` values in each bin; the last one holds its upper end."""
    place = (values - low) / width.clamp_min(torch.finfo(values.dtype).tiny) * BINS
    index = place.floor().long().clamp(0, BINS - 1)
    counts = torch.zeros(BINS, values.shape[1], dtype=torch.float64)
    counts.scatter_add_(0, index, torch.ones_like(values))
    return counts / len(values)
