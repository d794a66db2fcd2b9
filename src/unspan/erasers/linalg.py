"""Second moments of features and their principal directions: pure tensors, float64 on the CPU.

Symbols: n samples, d feature dimension, k removed directions. `U` has orthonormal columns in
descending order of singular value; features are not centred (ESC, CVPR 2025, eq. 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from unspan.erasers.moments import Moments
from unspan.errors import DataError, UsageError
from unspan.system.memory import require_square

# singular values below this share of the largest are noise of float32 features
RANK_TOLERANCE = 1e-5
DEFAULT_PERCENT = Fraction("1.5")  # of the directions; p of the paper's tables
_CONSTANT = 1e-6  # deviations below this share of the mean are rounding of float32


@dataclass(frozen=True)
class Spectrum:
    """Principal directions of a forget set.

    Attributes:
        basis: `[d, d]` orthonormal columns, descending; the largest entry of each column is
            positive. `[d, n]` where features are wide and fewer than d rows were read.
        sigma: `[d]` singular values of the feature matrix.
        count: n, the rows behind it.
        mean: `[d]` mean feature.
        small: columns that are not zero, and so small that their direction is below the noise of
            the largest.
    """

    basis: Tensor
    sigma: Tensor
    count: int
    mean: Tensor
    small: int = 0

    @property
    def rank(self) -> int:
        """Directions whose singular value is above the noise of float32 features."""
        return int((self.sigma > self.sigma[0] * RANK_TOLERANCE).sum())

    def gap(self, k: int) -> float:
        """`(sigma_k - sigma_{k+1}) / sigma_1`; near 0 the k directions are not unique."""
        return float((self.sigma[k - 1] - self.sigma[k]) / self.sigma[0])

    def cos_mean(self) -> float:
        """`|cos(u_1, mean)|`, the likeness of the first direction and the mean feature.

        Near 1 the first direction is one that other classes share.
        """
        return float((self.basis[:, 0] @ self.mean).abs() / self.mean.norm().clamp_min(1e-300))


def spectrum(moments: Moments) -> Spectrum:
    """Principal directions of features: left singular vectors of the feature matrix.

    They are found as eigenvectors of the second moments.

    Raises:
        DataError: no rows, or every feature is zero.
    """
    if moments.count == 0:
        raise DataError("The forget set is empty: no sample was read.")
    vectors, sigma = _principal(moments)
    if sigma[0] == 0:
        raise DataError(
            "All features of the forget set are zero; wrong layer? Choose another with"
            " feature_layer=."
        )
    # else a dead unit carries what was removed, as a number that only looks like 0
    dead = ~moments.filled()
    basis = vectors.masked_fill(dead[:, None] & (vectors.abs() <= 1e-12), 0.0)
    peak = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    size = (vectors * sigma[: vectors.shape[1]]).norm(dim=1)  # of every column
    small = int((moments.filled() & (size <= sigma[0] * RANK_TOLERANCE)).sum())
    return Spectrum(basis * peak.sign(), sigma, moments.count, moments.mean(), small)


def _principal(moments: Moments) -> tuple[Tensor, Tensor]:
    """Left singular vectors and all d singular values of the feature matrix, descending."""
    rows = moments.rows()
    if rows is None:
        require_square("The spectrum of the forget features", moments.dim, 4)
        values, vectors = eigh(moments.second())
        return vectors.flip(1), values.flip(0).clamp_min(0).sqrt()
    with one_thread():
        vectors, found, _ = torch.linalg.svd(rows.mT, full_matrices=False)
    return vectors, torch.nn.functional.pad(found, (0, moments.dim - len(found)))


def rank_from_percent(dim: int, p: float) -> int:
    """`k = floor(d * p / 100)`, exact in decimals.

    Raises:
        UsageError: p is not a percentage, or k would be 0 or d.
    """
    if not (isinstance(p, (int, float)) and math.isfinite(p) and 0 <= p <= 100):
        raise UsageError(
            f"p={p} is not a percentage; for d={dim} use {_percent(dim)} <= p < 100 (1 <= k <="
            f" {dim - 1})."
        )
    k = math.floor(dim * Fraction(str(p)) / 100)
    if k == 0:
        raise UsageError(
            f"k would be 0: nothing would be erased; for d={dim} p must be >= {_percent(dim)} (k ="
            " 1), or give rank=1 (--rank 1)."
        )
    if k >= dim:
        raise UsageError(
            f"p={p} would erase all {dim} directions; use p < 100 so that 1 <= k <= {dim - 1}."
        )
    return k


def default_rank(dim: int) -> int:
    """The `k` of the paper's p = 1.5, and at least one direction.

    Raises:
        UsageError: d = 1, of which one direction is all.
    """
    return check_rank(dim, max(1, math.floor(dim * DEFAULT_PERCENT / 100)))


def _percent(dim: int) -> str:
    """The smallest p with k = 1, rounded up to what is printed."""
    return f"{math.ceil(Fraction(1_000_000, dim)) / 10_000:g}"


def asked_rank(found: Spectrum, *, p: float | None, rank: int | None, energy: float | None) -> int:
    """The number of directions k that the settings ask for; `default_rank` without a setting.

    Args:
        found: of the forget set.
        p: percent of the d directions.
        rank: k itself.
        energy: share of the squared norm that k directions hold.

    Raises:
        UsageError: the setting is impossible for this d.
    """
    dim = len(found.sigma)
    if rank is not None:
        return check_rank(dim, rank)
    if energy is not None:
        return _rank_from_energy(found, energy)
    return default_rank(dim) if p is None else rank_from_percent(dim, p)


def choose_rank(found: Spectrum, *, p: float | None, rank: int | None, energy: float | None) -> int:
    """The number of directions to remove: those asked for, or as many as can be told from rounding.

    Fewer are removed where the others lie in columns that are much smaller than the largest.

    Raises:
        UsageError: the setting is impossible for this d.
        DataError: more directions asked for than the forget set spans.
    """
    dim = len(found.sigma)
    k = asked_rank(found, p=p, rank=rank, energy=energy)
    if found.rank < k <= min(found.count, found.rank + found.small):
        return found.rank
    if k > found.rank:
        raise DataError(
            f"k={k} directions asked for, but the rank is {found.rank} ({found.count} samples); use"
            f" rank <= {min(found.rank, dim - 1)}."
        )
    return k


def check_rank(dim: int, rank: int) -> int:
    """Return rank when `1 <= rank <= d - 1`, else raise UsageError."""
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank < dim:
        raise UsageError(f"rank={rank} is impossible; for d={dim} use 1 <= rank <= {dim - 1}.")
    return rank


def _rank_from_energy(found: Spectrum, energy: float) -> int:
    dim = len(found.sigma)
    if not (isinstance(energy, (int, float)) and 0 < energy < 1):
        raise UsageError(f"energy={energy} is not a share; use 0 < energy < 1, for example 0.9.")
    share = found.sigma.square().cumsum(0) / found.sigma.square().sum()
    k = int((share < energy).sum()) + 1
    if k >= dim:
        raise UsageError(
            f"energy={energy} needs all {dim} directions; use energy <="
            f" {float(share[dim - 2]):.6g}."
        )
    return k


def union(bases: Iterable[Tensor]) -> Tensor:
    """Orthonormal basis `[d, K]` of the sum of spans; independent of the order of the arguments."""
    stacked = torch.cat([basis.double() for basis in bases], 1)
    left, sigma, _ = torch.linalg.svd(stacked, full_matrices=False)
    return left[:, sigma > 1e-6].contiguous()


def sin_theta(a: Tensor, b: Tensor) -> float:
    """Sine of the largest principal angle between two spans; 1 if their dimensions differ.

    Args:
        a: `[d, k]` orthonormal columns.
        b: the same.
    """
    if a.shape != b.shape:
        return 1.0
    a, b = a.double(), b.double()
    return float(torch.linalg.matrix_norm(b - a @ (a.mT @ b), 2).clamp(max=1.0))


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues in ascending order and eigenvectors of a symmetric matrix `[d, d]`.

    On one thread, since threaded LAPACK is not bitwise repeatable.
    """
    with one_thread():
        values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


@contextmanager
def one_thread() -> Iterator[None]:
    """LAPACK on one thread, put back afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def deviations(covariance: Tensor, mean: Tensor) -> Tensor:
    """Standard deviation of every column `[d]`, infinite for columns that are constant to float32.

    Whatever is divided by them does not depend on the units of the columns.

    Args:
        covariance: `[d, d]`.
        mean: `[d]`.
    """
    scale = covariance.diagonal().clamp_min(0).sqrt()
    return scale.where(scale > _CONSTANT * mean.abs(), torch.full_like(scale, torch.inf))


class Powers:
    """Powers of a symmetric positive semidefinite matrix `[d, d]`, all of one eigendecomposition.

    Eigenvalues below 1e-9 of the largest count as that.

    >>> roots = Powers(torch.diag(torch.tensor([4.0, 9.0], dtype=torch.float64)))
    >>> roots(0.5).diagonal().tolist(), [round(1 / float(x)) for x in roots(-0.5).diagonal()]
    ([2.0, 3.0], [2, 3])
    """

    def __init__(self, matrix: Tensor):
        values, self._vectors = eigh((matrix + matrix.mT).div_(2))
        self._values = values.clamp_min(1e-9 * values[-1].clamp_min(1e-300))

    def __call__(self, power: float) -> Tensor:
        """The matrix `[d, d]` to this power."""
        return self._vectors * self._values**power @ self._vectors.mT


def root(matrix: Tensor, power: float) -> Tensor:
    """One power of a symmetric positive semidefinite matrix `[d, d]`; see `Powers`."""
    return Powers(matrix)(power)
