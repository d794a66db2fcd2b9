"""Random choices that follow features, made by a key: scores, codebooks and noise vectors.

The key seeds the generator. PyTorch's takes 32 bits of it: whoever can check a guess can try them
all, so the key keeps the choices from people who read the code, not from a search.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from unspan.erasers.linalg import Powers
from unspan.erasers.resampler import CODEBOOKS
from unspan.erasers.scores import affine_scores
from unspan.erasers.transport import balanced_offsets, mean_and_covariance

CODES = 64  # of a codebook
NOISE_VECTORS = 4096  # that all combinations of codes share
_BALANCED_ON = 5_000  # samples


def keyed_generator(key: bytes, method: str) -> torch.Generator:
    """The generator of a method's keyed choices; another key or method makes other choices.

    Args:
        key: secret of the request.
        method: its name.
    """
    seed = int.from_bytes(hashlib.sha256(key + method.encode()).digest()[:7], "big")
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Cloud:
    """Features that random choices follow, their covariance decomposed once for all of these.

    Attributes:
        rows: `[n, d]`.
        mean: `[d]`.
        power: of the covariance, shrunk to its diagonal.
    """

    rows: Tensor
    mean: Tensor
    power: Powers

    @classmethod
    def of(cls, z: Tensor) -> Cloud:
        """The cloud of features `[n, d]`."""
        mean, covariance = mean_and_covariance(z)
        return cls(z, mean, Powers(covariance))


def random_scores(cloud: Cloud, count: int, generator: torch.Generator) -> Tensor:
    """Affine scores `[count, d + 1]` along random directions of the whitened features.

    Each score has mean 0 and variance 1 over the features.
    """
    dim = len(cloud.mean)
    directions = torch.randn(dim, count, generator=generator, dtype=torch.float64)
    if count <= dim:
        directions = torch.linalg.qr(directions)[0]
    else:
        directions = directions / directions.norm(dim=0)
    weights = (cloud.power(-0.5) @ directions).mT
    return torch.cat([weights, -(weights @ cloud.mean)[:, None]], 1)


def balanced(rows: Tensor, z: Tensor, shares: Tensor, generator: torch.Generator) -> Tensor:
    """Affine scores with new offsets, so that each is the largest for its share of the features.

    Args:
        rows: `[K, d + 1]` affine scores.
        z: `[n, d]` features, of which at most 5,000 are used.
        shares: `[K]` positive numbers; their proportions count.
        generator: of the choice of features.
    """
    some = z[torch.randperm(len(z), generator=generator)[:_BALANCED_ON]]
    offsets = balanced_offsets(affine_scores(rows, some), shares.double() / shares.sum())
    return torch.cat([rows[:, :-1], rows[:, -1:] + offsets[:, None]], 1)


def draw_codebooks(cloud: Cloud, generator: torch.Generator) -> Tensor:
    """Three codebooks of 64 affine scores each, `[192, d + 1]`.

    The largest score of a codebook is a sample's code in it. All codes of a codebook are equally
    frequent among the features.
    """
    equal_shares = torch.ones(CODES)
    books = [
        balanced(random_scores(cloud, CODES, generator), cloud.rows, equal_shares, generator)
        for _ in range(CODEBOOKS)
    ]
    return torch.cat(books)


def draw_noise_vectors(cloud: Cloud, fraction: float, generator: torch.Generator) -> Tensor:
    """4,096 normal noise vectors `[T, d]` with the correlations of the features.

    Added to the features, they make a share `fraction` of the variance.
    """
    noise = torch.randn(NOISE_VECTORS, len(cloud.mean), generator=generator, dtype=torch.float64)
    return (fraction / (1 - fraction)) ** 0.5 * noise @ cloud.power(0.5)
