"""Exact, additive second moments of features."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

import torch
from torch import Tensor

from unspan.system.memory import is_wide, require_square

# grid of a row: 2^-22 of its power-of-two bin, finer than the noise of a float32 forward pass
_BITS = 22
# row magnitudes share a bin within a factor 2^4, so one or two bins serve a whole data set
_BIN = 4
_CARRY = 2.0**40  # an exact sum is hi * 2^40 + lo with 0 <= lo < 2^40
# rows per matrix product: 2^40 + 2 * 256 * 2^44 stays below 2^53, so every partial sum is an
# integer
_CHUNK = 256


class State(NamedTuple):
    """What adds up: `bins` is `{exponent: [hi, lo, sum]}`, `rows` is `{exponent: grid rows}`."""

    samples: int
    bins: dict[int, list[Tensor]]
    rows: dict[int, Tensor]
    filled: Tensor  # entries of each column that are not 0, `[d]`


class Moments:
    """Exact, additive second moments of feature rows.

    Each row is rounded to a power-of-two grid chosen from that row alone, and integer outer
    products are summed without rounding. The result is therefore bitwise the same for every batch
    size, sample order and
    split over processes. Memory: 2 * 8 * d^2 bytes per magnitude bin, whatever the number of rows.
    Where that is much (`is_wide`), the grid rows themselves are kept as long as they are at most d:
    4 * n * d bytes.

    >>> z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    >>> whole, parts = Moments(3), Moments(3)
    >>> whole.update(z)
    >>> for row in z.flip(0):
    ...     parts.update(row[None])
    >>> bool((whole.second() == parts.second()).all())
    True
    """

    def __init__(self, dim: int, *, keep_rows: bool | None = None):
        self.dim = dim
        self.count = 0
        self._filled = torch.zeros(dim, dtype=torch.float64)
        self._rows: dict[int, list[Tensor]] | None = (
            {} if (is_wide(dim) if keep_rows is None else keep_rows) else None
        )  # exponent -> grid rows, float32, in which they are exact
        self._bins: dict[int, list[Tensor]] = {}  # exponent -> [hi [d, d], lo [d, d], sum [d]]
        self._waiting: dict[
            int, list[Tensor]
        ] = {}  # exponent -> grid rows not multiplied yet, fewer than a chunk

    def update(self, features: Tensor) -> None:
        """Add feature rows `[n, d]` (finite, any floating dtype and device)."""
        rows = features.detach().to("cpu", torch.float64)
        self.count += len(rows)
        self._filled += rows.count_nonzero(0)
        peak = rows.abs().amax(1) if len(rows) else rows.new_zeros(0)
        exponents = -(-torch.frexp(peak).exponent // _BIN) * _BIN
        exponents[peak == 0] = torch.iinfo(exponents.dtype).min
        for exponent in exponents.unique().tolist():
            if exponent > torch.iinfo(exponents.dtype).min:
                self._add(
                    exponent,
                    torch.ldexp(
                        rows[exponents == exponent], torch.tensor(_BITS - exponent)
                    ).round_(),
                )
        self._multiply_if_many()

    def _multiply_if_many(self) -> None:
        """From d rows on, their products are smaller than they are."""
        if self._rows is None or self.count <= self.dim:
            return
        require_square(f"The moments of more than {self.dim} samples", self.dim, 4)
        kept, self._rows = self._rows, None
        for exponent, parts in kept.items():
            for part in parts:
                self._add(exponent, part.double())

    def _add(self, exponent: int, grid: Tensor) -> None:
        if self._rows is not None:
            self._rows.setdefault(exponent, []).append(grid.float())
            return
        waiting = self._waiting.setdefault(exponent, [])
        waiting.append(grid)
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
            ]
        hi, lo, total = self._bins[exponent]
        total += grid.sum(0)
        for chunk in grid.split(_CHUNK):
            lo.addmm_(chunk.mT, chunk)
            _carry(hi, lo)

    def merge(self, state: State) -> None:
        """Add the `state()` of another accumulator, of another process or part of the data."""
        self.count += state.samples
        self._filled += state.filled
        if state.bins and self._rows is not None:
            kept, self._rows = self._rows, None
            for exponent, parts in kept.items():
                self._add(exponent, torch.cat(parts).double())
        for exponent, parts in state.bins.items():
            mine = self._bins.setdefault(exponent, [torch.zeros_like(part) for part in parts])
            for own, part in zip(mine, parts, strict=True):
                own += part
            _carry(mine[0], mine[1])
        for exponent, rows in state.rows.items():
            self._add(exponent, rows if self._rows is not None else rows.double())
        self._multiply_if_many()

    def state(self) -> State:
        """The additive content."""
        for exponent in list(self._waiting):
            self._flush(exponent)
        kept = self._rows or {}
        rows = {key: torch.cat(kept[key]) for key in kept}
        return State(self.count, self._bins, rows, self._filled)

    def rows(self) -> Tensor | None:
        """The rows on their grids `[n, d]`, sorted by hash; None where only sums are kept."""
        if self._rows is None:
            return None
        kept = self.state().rows
        scaled = [_ordered(kept[key]).double() * 2.0 ** (key - _BITS) for key in sorted(kept)]
        return torch.cat(scaled) if scaled else torch.zeros(0, self.dim, dtype=torch.float64)

    def second(self) -> Tensor:
        """Sum of outer products `z zᵀ`, `[d, d]`."""
        rows = self.rows()
        if rows is not None:
            require_square("The second moments", self.dim, 1)
            return rows.mT @ rows
        result = torch.zeros(self.dim, self.dim, dtype=torch.float64)
        bins = self.state().bins
        for exponent in sorted(bins):
            hi, lo, _ = bins[exponent]
            result.add_(torch.add(lo, hi, alpha=_CARRY), alpha=2.0 ** (2 * (exponent - _BITS)))
        return result

    def mean(self) -> Tensor:
        """Mean feature, `[d]`."""
        total = torch.zeros(self.dim, dtype=torch.float64)
        _, bins, rows, _ = self.state()
        for exponent in sorted(rows):
            total.add_(rows[exponent].double().sum(0), alpha=2.0 ** (exponent - _BITS))
        for exponent in sorted(bins):
            total.add_(bins[exponent][2], alpha=2.0 ** (exponent - _BITS))
        return total / max(self.count, 1)

    def filled(self) -> Tensor:
        """Which columns hold anything but zeros, `[d]` bool."""
        return self._filled > 0


def _carry(hi: Tensor, lo: Tensor) -> None:
    whole = torch.floor(lo / _CARRY)
    hi += whole
    lo.sub_(whole, alpha=_CARRY)


def _ordered(rows: Tensor) -> Tensor:
    """Rows in an order that does not depend on how they came."""
    digests = [sha256(row.numpy().tobytes()).digest() for row in rows]
    return rows[sorted(range(len(rows)), key=digests.__getitem__)]
