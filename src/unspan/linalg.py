"""Second moments of features and their principal directions: pure tensors, float64 on the CPU.

Symbols: n samples, d feature dimension, k removed directions. `U` has orthonormal columns in
descending order of singular value; features are not centred (ESC, CVPR 2025, eq. 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from unspan.errors import DataError, UsageError

# grid of a row: 2^-22 of its power-of-two bin, finer than the noise of a float32 forward pass
_BITS = 22
# row magnitudes share a bin within a factor 2^4, so one or two bins serve a whole data set
_BIN = 4
_CARRY = 2.0**40  # an exact sum is hi * 2^40 + lo with 0 <= lo < 2^40
# rows per matrix product: 2^40 + 2 * 256 * 2^44 stays below 2^53, so every partial sum is an
# integer
_CHUNK = 256
# singular values below this share of the largest are noise of float32 features
RANK_TOLERANCE = 1e-5
_CONSTANT = 1e-6  # deviations below this share of the mean are rounding of float32


class Moments:
    """Exact, additive second moments of feature rows.

    Each row is rounded to a power-of-two grid chosen from that row alone, and integer outer
    products are summed without rounding. The result is therefore bitwise the same for every batch
    size, sample order and
    split over processes. Memory: 2 * 8 * d^2 bytes per magnitude bin, whatever the number of rows.

    >>> z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    >>> whole, parts = Moments(3), Moments(3)
    >>> whole.update(z)
    >>> for row in z.flip(0):
    ...     parts.update(row[None])
    >>> bool((whole.second() == parts.second()).all())
    True
    """

    def __init__(self, dim: int):
        self.dim = dim
        self.count = 0
        # exponent -> [hi [d, d], lo [d, d], sum [d], entries that are not 0 [d]]
        self._bins: dict[int, list[Tensor]] = {}
        # exponent -> grid rows not multiplied yet, fewer than a chunk
        self._waiting: dict[int, list[Tensor]] = {}
        self._filled: dict[int, Tensor] = {}

    def update(self, features: Tensor) -> None:
        """Add feature rows `[n, d]` (finite, any floating dtype and device)."""
        rows = features.detach().to("cpu", torch.float64)
        self.count += len(rows)
        peak = rows.abs().amax(1) if len(rows) else rows.new_zeros(0)
        exponents = -(-torch.frexp(peak).exponent // _BIN) * _BIN
        exponents[peak == 0] = torch.iinfo(exponents.dtype).min
        for exponent in exponents.unique().tolist():
            if exponent > torch.iinfo(exponents.dtype).min:
                self._add(exponent, rows[exponents == exponent])

    def _add(self, exponent: int, rows: Tensor) -> None:
        waiting = self._waiting.setdefault(exponent, [])
        waiting.append(torch.ldexp(rows, torch.tensor(_BITS - exponent)).round_())
        filled = rows.count_nonzero(0).double()
        self._filled[exponent] = self._filled.get(exponent, 0.0) + filled
        if sum(map(len, waiting)) >= _CHUNK:
            self._flush(exponent)

    def _flush(self, exponent: int) -> None:
        """Multiply the waiting rows, a chunk at a time, so that the d^2 work of a carry is rare."""
        grid = torch.cat(self._waiting.pop(exponent))
        if exponent not in self._bins:
            zeros = grid.new_zeros
            self._bins[exponent] = [
                zeros(self.dim, self.dim),
                zeros(self.dim, self.dim),
                zeros(self.dim),
                zeros(self.dim),
            ]
        hi, lo, total, filled = self._bins[exponent]
        total += grid.sum(0)
        filled += self._filled.pop(exponent)
        for chunk in grid.split(_CHUNK):
            lo.addmm_(chunk.mT, chunk)
            _carry(hi, lo)

    def merge(self, state: tuple[int, dict[int, list[Tensor]]]) -> None:
        """Add the `state()` of another accumulator (another process, or another part of the
        data).
        """
        count, bins = state
        self.count += count
        for exponent, parts in bins.items():
            mine = self._bins.setdefault(exponent, [torch.zeros_like(part) for part in parts])
            for own, part in zip(mine, parts, strict=True):
                own += part
            _carry(mine[0], mine[1])

    def state(self) -> tuple[int, dict[int, list[Tensor]]]:
        """The additive content: `(count, {exponent: [hi, lo, sum, entries that are not 0]})`."""
        for exponent in list(self._waiting):
            self._flush(exponent)
        return self.count, self._bins

    def second(self) -> Tensor:
        """Sum of outer products `z zᵀ`, `[d, d]`."""
        result = torch.zeros(self.dim, self.dim, dtype=torch.float64)
        _, bins = self.state()
        for exponent in sorted(bins):
            hi, lo, *_ = bins[exponent]
            result.add_(torch.add(lo, hi, alpha=_CARRY), alpha=2.0 ** (2 * (exponent - _BITS)))
        return result

    def mean(self) -> Tensor:
        """Mean feature, `[d]`."""
        total = torch.zeros(self.dim, dtype=torch.float64)
        _, bins = self.state()
        for exponent in sorted(bins):
            total.add_(bins[exponent][2], alpha=2.0 ** (exponent - _BITS))
        return total / max(self.count, 1)

    def filled(self) -> Tensor:
        """Which columns hold anything but zeros, `[d]` bool."""
        _, bins = self.state()
        held = torch.zeros(self.dim, dtype=torch.float64)
        for parts in bins.values():
            held += parts[3]
        return held > 0


def _carry(hi: Tensor, lo: Tensor) -> None:
    whole = torch.floor(lo / _CARRY)
    hi += whole
    lo.sub_(whole, alpha=_CARRY)


@dataclass(frozen=True)
class Spectrum:
    """Principal directions of a forget set.

    Attributes:
        basis: `[d, d]` orthonormal columns, descending; the largest entry of each column is
            positive.
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
        """`|cos(u_1, mean)|`; near 1 the first direction is the mean feature, which other classes
        share.
        """
        return float((self.basis[:, 0] @ self.mean).abs() / self.mean.norm().clamp_min(1e-300))


def spectrum(moments: Moments) -> Spectrum:
    """Eigenvectors of the second moments, which are the left singular vectors of the feature
    matrix.

    Raises:
        DataError: no rows, or every feature is zero.
    """
    if moments.count == 0:
        raise DataError("The forget set is empty: no sample was read.")
    second = moments.second()
    values, vectors = eigh(second)
    sigma = values.flip(0).clamp_min(0).sqrt()
    if sigma[0] == 0:
        raise DataError(
            "All features of the forget set are zero; wrong layer? Choose another with tap=."
        )
    basis = vectors.flip(1)
    # else a dead unit carries what was removed, as a number that only looks like 0
    dead = second.diagonal() == 0
    basis = basis.masked_fill(dead[:, None] & (basis.abs() <= 1e-12), 0.0)
    peak = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    size = second.diagonal().sqrt()
    small = int((moments.filled() & (size <= sigma[0] * RANK_TOLERANCE)).sum())
    return Spectrum(basis * peak.sign(), sigma, moments.count, moments.mean(), small)


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


def _percent(dim: int) -> str:
    """The smallest p with k = 1, rounded up to what is printed."""
    return f"{math.ceil(Fraction(1_000_000, dim)) / 10_000:g}"


def asked_rank(found: Spectrum, *, p: float | None, rank: int | None, energy: float | None) -> int:
    """The number of directions that exactly one of p (percent of d), rank, or energy share asks
    for.

    Raises:
        UsageError: the setting is impossible for this d.
    """
    dim = len(found.sigma)
    if rank is not None:
        return check_rank(dim, rank)
    if energy is not None:
        return _rank_from_energy(found, energy)
    return rank_from_percent(dim, 1.5 if p is None else p)


def choose_rank(found: Spectrum, *, p: float | None, rank: int | None, energy: float | None) -> int:
    """The number of directions to remove: those asked for, or fewer where the others lie in
    columns too small beside the largest to be told from its rounding.

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
    """Sine of the largest principal angle between two spans `[d, k]` with orthonormal columns (1 if
    k differs).
    """
    if a.shape != b.shape:
        return 1.0
    a, b = a.double(), b.double()
    return float(torch.linalg.matrix_norm(b - a @ (a.mT @ b), 2).clamp(max=1.0))


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues in ascending order and eigenvectors of a symmetric matrix, on one thread:
    threaded LAPACK is not bitwise repeatable.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        values, vectors = torch.linalg.eigh(matrix)
    finally:
        torch.set_num_threads(threads)
    return values, vectors


def deviations(covariance: Tensor, mean: Tensor) -> Tensor:
    """Standard deviation of every column `[d]`, infinite for columns that are constant to float32.

    Whatever is divided by them does not depend on the units of the columns.

    Args:
        covariance: `[d, d]`.
        mean: `[d]`.
    """
    scale = covariance.diagonal().clamp_min(0).sqrt()
    return scale.where(scale > _CONSTANT * mean.abs(), torch.full_like(scale, torch.inf))


def root(matrix: Tensor, power: float) -> Tensor:
    """Symmetric positive semidefinite `[d, d]` to a power; eigenvalues below 1e-9 of the largest
    count as that.
    """
    values, vectors = eigh((matrix + matrix.mT) / 2)
    return vectors * values.clamp_min(1e-9 * values[-1].clamp_min(1e-300)) ** power @ vectors.mT
