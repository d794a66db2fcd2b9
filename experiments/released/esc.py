"""ESC and ESC-T as the released code computes them, with its defects, for comparison only.

ESC (CVPR 2025, KU-VGI/ESC): features are read in training mode, so that BatchNorm drifts while they
are read. The complement of the removed span is taken within the thin SVD: with fewer samples than
dimensions only the forget span stays.
ESC-T: also read in training mode; the first step uses the gradient of `(U * M)ᵀ (U * M)`, since a
buffer is stored transposed.

    unspan erase ... --method python:experiments/released/esc.py:ReleasedESC --set rank=1
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unspan.erasers import LinearMap
from unspan.erasers.linalg import Spectrum, spectrum
from unspan.errors import UsageError
from unspan.methods import ESC, ESCT, Fit, FitContext
from unspan.methods.esc import read_all, report_of
from unspan.methods.esc_t import Gradient, Reduction, factor_gradient, mask_gradient
from unspan.models.frozen_norms import training_mode
from unspan.system.memory import require_square


@dataclass(frozen=True, kw_only=True)
class ReleasedESC(ESC):
    """Settings of ESC; the map is linear and no projection where samples are few."""

    name: ClassVar[str] = "esc-released"
    projects: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adaptive:
            raise UsageError("The released code of ESC reads all samples; leave adaptive out.")

    def check(self, dim: int) -> None:
        super().check(dim)
        require_square("ESC as released", dim, 2)

    def fit(self, context: FitContext) -> Fit:
        with read_in_training_mode(context):
            moments = read_all(context.forget)
        found = spectrum(moments)
        k = self.rank_of(found)
        return Fit(LinearMap(thin_complement(found, k)), report_of(found, k))


@dataclass(frozen=True, kw_only=True)
class ReleasedESCT(ESCT):
    """Settings of ESC-T."""

    name: ClassVar[str] = "esc-t-released"

    def gradient(self) -> Gradient:
        return FirstTransposed()

    def fit(self, context: FitContext) -> Fit:
        with read_in_training_mode(context):
            return super().fit(context)


class FirstTransposed:
    """Gradients of steps, of which the first that recognises a sample is of `Aᵀ A`."""

    def __init__(self) -> None:
        self.first = True

    def __call__(
        self,
        z: Tensor,
        y: Tensor,
        basis: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor,
        reduction: Reduction = "correct",
    ) -> Tensor | None:
        if not self.first:
            return mask_gradient(z, y, basis, mask, weight, bias, reduction)
        gradient = factor_gradient(z, y, (basis * mask).mT, weight, bias, reduction)
        if gradient is None:
            return None
        self.first = False
        return basis * gradient.mT


def thin_complement(found: Spectrum, k: int) -> Tensor:
    """`U_P U_Pᵀ` `[d, d]` from the thin SVD, which keeps the forget span only where n < d."""
    kept = found.basis[:, k : min(found.count, len(found.sigma))]
    return kept @ kept.mT


@contextmanager
def read_in_training_mode(context: FitContext) -> Iterator[None]:
    """Read the features of a model in training mode, but for norms that their owner froze."""
    if context.model is None:
        yield
        return
    training_mode(context.model, context.frozen_norms)
    yield
    context.model.eval()
