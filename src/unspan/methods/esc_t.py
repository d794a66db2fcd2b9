"""ESC-T: ESC with a trained element-wise mask on the principal directions.

Idea: instead of whole directions, switch off the entries of U that let the head recognise the
forget data.
Formula: `A = U * M`, `z -> A Aᵀ z`. M starts at 1 and descends on `-CE` of the forget samples that
are still recognised, clipped to [0, 1]. The final mask is `M > tau`.
Needs: forget samples with labels, a linear head. Cost: one forward pass plus epochs on cached
features.
Typical: tau 0.7, lr 1e-3, at most 50 epochs, batch 64.
Fails: the map is not a projection and can amplify directions (its norm is reported); a converged
probe reads the class, as with ESC. Directions and steps are those of the raw features, so columns
of larger units decide.
Source: Lee et al., CVPR 2025, eq. 4-6 and the released defaults.
Deviates: see docs/paper-map.md; the released code is reproduced in experiments/released.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unspan.erasers import LinearMap
from unspan.erasers.linalg import Moments, spectrum
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.extraction.stream import FeatureStream
from unspan.methods.base import EraserMethod, Fit, FitContext
from unspan.system.memory import require_square

Reduction = Literal["correct", "batch"]
Gradient = Callable[..., Tensor | None]


@dataclass(frozen=True, kw_only=True)
class ESCT(EraserMethod):
    """Settings of ESC-T.

    Attributes:
        tau: a mask entry above it stays, strictly; the paper uses 0.7 to 0.8. None keeps the soft
            mask (Table 3).
        clip: keep the mask in [0, 1] while it is trained; off only for Table 3.
        lr: step of plain gradient descent on the mask.
        epochs: most passes over the cached features.
        batch: samples a step.
        reduction: `correct` averages the loss over the samples still recognised (released code),
            `batch` over all of the batch (eq. 4 read literally).
    """

    tau: float | None = 0.7
    clip: bool = True
    lr: float = 1e-3
    epochs: int = 50
    batch: int = 64
    reduction: Reduction = "correct"
    name: ClassVar[str] = "esc-t"
    paper: ClassVar[str] = "Lee et al., ESC: Erasing Space Concept, CVPR 2025, arXiv 2504.02199"
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"lr": (1e-3, 1e-2, 1e-1), "tau": (0.7, 0.8)}
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "forget_labels"})
    stronger: ClassVar[tuple[str, ...]] = ("epochs", "lr")
    one_process: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.tau is not None and not 0 <= self.tau < 1:
            raise UsageError(
                f"tau={self.tau}: use 0 <= tau < 1; the mask lies in [0, 1] and the paper uses 0.7"
                " to 0.8."
            )
        if not (self.lr > 0 and self.epochs >= 1 and self.batch >= 1):
            raise UsageError(
                f"lr={self.lr}, epochs={self.epochs}, batch={self.batch}: all must be positive."
            )
        if self.reduction not in ("correct", "batch"):
            raise UsageError(f"reduction='{self.reduction}' is not 'correct' or 'batch'.")

    def check(self, dim: int) -> None:
        """Refuse features so wide that `[d, d]` matrices do not fit."""
        require_square("ESC-T", dim, 6)

    def gradient(self) -> Gradient:
        """The function that gives the gradient of a step, as `mask_gradient` does."""
        return mask_gradient

    def fit(self, context: FitContext) -> Fit:
        """Cache the features, train the mask, threshold it, and measure again.

        Raises:
            UsageError: no linear head, or samples without labels.
            InconclusiveError: nothing was recognised to begin with, or the mask changed nothing.
            DataError: the mask would zero every feature.
        """
        if context.head is None:
            raise UsageError(
                "ESC-T trains against the model's linear head, and none was found; use method esc,"
                " or name the head with feature_layer=."
            )
        features, labels, moments = _cache(context.forget)
        basis = spectrum(moments).basis.float()
        weight, bias = (part.float() for part in context.head)
        start = _hits(features, labels, basis, weight, bias)
        if start == 0:
            raise InconclusiveError(
                "ESC-T: no forget sample is classified right to begin with: already not recognised."
                " Nothing was changed."
            )
        mask, history = self._train(features, labels, basis, weight, bias, context.seed)
        return self._finish(features, labels, basis, mask, weight, bias, history, start)

    def _train(
        self, z: Tensor, y: Tensor, basis: Tensor, weight: Tensor, bias: Tensor, seed: int
    ) -> tuple[Tensor, list[float]]:
        """Descend until no forget sample is recognised with the soft mask, or the epochs are used
        up.
        """
        mask, history = torch.ones_like(basis), []
        generator = torch.Generator().manual_seed(seed)
        gradient_of = self.gradient()
        for _ in range(self.epochs):
            for index in torch.randperm(len(z), generator=generator).split(self.batch):
                gradient = gradient_of(
                    z[index], y[index], basis, mask, weight, bias, self.reduction
                )
                if gradient is not None:
                    mask = mask - self.lr * gradient
                    mask = mask.clamp_(0, 1) if self.clip else mask
            history.append(_hits(z, y, basis * mask, weight, bias) / len(z))
            if history[-1] == 0:
                break
        return mask, history

    def _finish(
        self,
        z: Tensor,
        y: Tensor,
        basis: Tensor,
        mask: Tensor,
        weight: Tensor,
        bias: Tensor,
        history: list[float],
        start: int,
    ) -> Fit:
        kept = mask if self.tau is None else (mask > self.tau).to(basis.dtype)
        if bool((kept == 1).all()):
            raise InconclusiveError(
                f"ESC-T was a no-op: after {len(history)} epochs no mask entry fell to"
                f" tau={self.tau} (smallest {float(mask.min()):.3f}). Raise lr, epochs or tau."
            )
        if not bool(kept.any()):
            raise DataError(
                "ESC-T would zero all features: every mask entry fell below tau. Lower lr or tau."
            )
        factor = (basis * kept).double()
        after = _hits(z, y, basis * kept, weight, bias) / len(z)
        matrix = factor @ factor.mT
        report: dict[str, Any] = {
            "epochs": len(history),
            "stopped": "no sample recognised" if history[-1] == 0 else "epochs used up",
            "forget_accuracy_start": start / len(z),
            "forget_accuracy_soft_mask": history[-1],
            "forget_accuracy_after_threshold": after,
            "mask_kept": float(kept.count_nonzero() / kept.numel()),
            "map_norm": float(torch.linalg.matrix_norm(matrix, 2)),
        }
        warnings = []
        if after > max(history[-1], 0.05):
            warnings.append(
                f"thresholding brought forget accuracy from {history[-1]:.1%} back to {after:.1%};"
                " try another tau"
            )
        if report["map_norm"] > 1.05:
            warnings.append(
                f"the masked map is not a projection: norm {report['map_norm']:.2f}, some"
                " directions are amplified"
            )
        return Fit(LinearMap(matrix), report, tuple(warnings))


def _cache(stream: FeatureStream) -> tuple[Tensor, Tensor, Moments]:
    moments, rows, labels = Moments(stream.dim, keep_rows=False), [], []
    for features, batch_labels in stream:
        if batch_labels is None:
            raise UsageError(
                "ESC-T needs labels of the forget samples; give (input, label) pairs, or use method"
                " esc."
            )
        moments.update(features)
        rows.append(features.float())
        labels.append(batch_labels)
    return torch.cat(rows), torch.cat(labels), moments


def _hits(z: Tensor, y: Tensor, factor: Tensor, weight: Tensor, bias: Tensor) -> int:
    logits = torch.addmm(bias, z @ factor, (weight @ factor).mT)
    return int((logits.argmax(1) == y).sum())


def mask_gradient(
    z: Tensor,
    y: Tensor,
    basis: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor,
    reduction: Reduction = "correct",
) -> Tensor | None:
    """Gradient `[d, d]` of the penalised cross-entropy (eq. 4) with respect to the mask.

    With `A = U * M` it is U times `factor_gradient` at A, entry by entry.

    Args:
        z: features `[n, d]`.
        y: labels `[n]`.
        basis: U `[d, d]`.
        mask: M `[d, d]`.
        weight: head `[C, d]`.
        bias: head `[C]`.
        reduction: mean over the recognised samples (`correct`) or over the `batch`.

    Returns:
        The gradient, or None when no sample is recognised.

    Raises:
        DataError: the logits are not finite.
    """
    gradient = factor_gradient(z, y, basis * mask, weight, bias, reduction)
    return None if gradient is None else basis * gradient


def factor_gradient(
    z: Tensor,
    y: Tensor,
    factor: Tensor,
    weight: Tensor,
    bias: Tensor,
    reduction: Reduction = "correct",
) -> Tensor | None:
    """Gradient `[d, d]` of the penalised cross-entropy (eq. 4) at the factor A, in closed form.

    With logits `W A Aᵀ z + b` and `D` the gradient at the logits it is
    `zᵀ (D W A) + (D W)ᵀ (z A)`. Samples that are no longer recognised contribute nothing.
    Arguments, result and errors are those of `mask_gradient`.
    """
    inner, readout = z @ factor, weight @ factor
    logits = torch.addmm(bias, inner, readout.mT)
    right = logits.argmax(1) == y
    recognised = int(right.sum())
    if recognised == 0:
        return None
    if not math.isfinite(float(logits.sum())):
        raise DataError("ESC-T: logits became infinite or NaN; lower lr.")
    delta = F.one_hot(y, logits.shape[1]) - logits.softmax(1)
    delta *= right[:, None]
    delta /= recognised if reduction == "correct" else len(z)
    return torch.addmm((delta @ weight).mT @ inner, z.mT, delta @ readout)
